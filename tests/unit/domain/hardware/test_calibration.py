"""What vLLM prints when it starts, in both releases, and what is no log of vLLM's."""

from __future__ import annotations

import io
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.hardware.calibration import LONGEST_LINE, StartLog, lines_of, parse_start_log
from unit.domain.hardware.vllm_logs import LOGS

GIB = 2**30


def parsed(text: str | bytes) -> StartLog:
    return parse_start_log(io.BytesIO(text.encode() if isinstance(text, str) else text))


def test_a_start_of_0_11_0() -> None:
    found = parsed((LOGS / "0.11.0.log").read_bytes())
    assert found == StartLog(
        release="0.11.0",
        weights=int(Fraction("61.0347") * GIB),
        available=int(Fraction("4.45") * GIB),
        tokens=18_208,
        at_once=Fraction("1.14"),
        at_once_tokens=16_000,
        graphs_captured=int(Fraction("0.31") * GIB),
        max_model_len=16_000,
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        gpu_memory_utilization="0.9",
    )


def test_a_start_of_0_33_0_has_the_most_weights_and_the_least_cache_of_all_ranks() -> None:
    found = parsed((LOGS / "0.33.0.log").read_bytes())
    assert found == StartLog(
        release="0.33.0",
        weights=int(Fraction("30.53") * GIB),
        available=int(Fraction("37.61") * GIB),
        tokens=308_096,
        at_once=Fraction("9.40"),
        at_once_tokens=32_768,
        graphs=int(Fraction("0.78") * GIB),
        graphs_captured=int(Fraction("0.71") * GIB),
        max_model_len=32_768,
        max_num_seqs=128,
        tensor_parallel_size=2,
        pipeline_parallel_size=1,
    )


REFUSED_0_11_0 = (
    "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (4.45 GiB)."
)
REFUSED_0_33_0 = (
    "ValueError: To serve at least one request with the model's max seq len (131072), 16.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (4.45 GiB). Based on the available memory, ..."
)


@pytest.mark.parametrize("line", [REFUSED_0_11_0, REFUSED_0_33_0])
def test_a_start_that_was_refused_says_what_it_needed(line: str) -> None:
    found = parsed(line)
    assert (found.needed_tokens, found.needed) == (131_072, 16 * GIB)
    assert found.tells


def test_memory_for_the_cache_may_be_less_than_nothing() -> None:
    assert parsed("Available KV cache memory: -2.5 GiB").available == -5 * GIB // 2


def test_the_last_start_counts() -> None:
    first, second = (LOGS / "0.33.0.log").read_bytes(), (LOGS / "0.11.0.log").read_bytes()
    assert parsed(first + second) == parsed(second)


def test_arguments_are_read_as_whole_names() -> None:
    found = parsed("non-default args: {'my_max_model_len': 1, 'max_model_len': 8192, 'max_num_seqs': 7.5}")
    assert (found.max_model_len, found.max_num_seqs) == (8192, None)
    assert parsed("max_model_len=5 beside no arguments").max_model_len is None
    assert parsed("non-default args: {'enforce_eager': True}").enforce_eager
    assert parsed("non-default args: {'kv_cache_dtype': 'fp8_e5m2'}").kv_cache_dtype == "fp8_e5m2"
    assert parsed("LLM engine (v0.33.0) with config: kv_cache_dtype=fp8, a=1").kv_cache_dtype == "fp8"
    assert parsed("non-default args: {'kv_cache_dtype': 'secret'}").kv_cache_dtype is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Model loading took 12 seconds",
        "Model loading took 1234567890123 GiB",
        "Available KV cache memory: -GiB",
        "GPU KV cache size: many tokens",
        "\0\xff" * 1000,
    ],
)
def test_what_is_no_such_line_tells_nothing(text: str) -> None:
    assert not parsed(text).tells


@given(st.binary(max_size=4096))
def test_any_bytes_are_read(data: bytes) -> None:
    assert isinstance(parsed(data), StartLog)


@given(st.lists(st.sampled_from(["Model loading took ", "9" * 40, " GiB", "1,", "'max_model_len': ", "(", "\n", "-"])))
def test_any_pieces_of_lines_are_read(pieces: list[str]) -> None:
    found = parsed("".join(pieces))
    assert found.weights is None or found.weights < 10**9 * GIB


def test_long_lines_come_in_pieces_and_a_long_log_ends() -> None:
    assert [len(line) for line in lines_of(io.BytesIO(b"x" * 100), longest=40)] == [40, 40, 20]
    assert sum(len(line) for line in lines_of(io.BytesIO(b"x" * 100), most=50, longest=40)) == 80
    start = b"Model loading took 1.00 GiB\n"
    assert parse_start_log(io.BytesIO(start + b"x\n" * 100), most=len(start)).truncated
    assert not parse_start_log(io.BytesIO(start), most=2**20).truncated


@pytest.mark.parametrize("piece", [b"Model loading took ", b"max seq len (", b"1,", b"non-default args: {", b"0."])
def test_a_hostile_line_takes_no_more_than_its_length(piece: bytes) -> None:
    hostile = (piece * (LONGEST_LINE // len(piece) + 1))[:LONGEST_LINE] * 32
    start = time.process_time()
    parsed(hostile)
    assert time.process_time() - start < 2
