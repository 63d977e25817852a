"""The table of one model over profiles, lengths, tensor parallel sizes and sequences; and how far a fit is off."""

from __future__ import annotations

import pytest

from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.hardware.calibration import StartLog, differing_start, held_against, parse_start_log
from gatehouse.domain.hardware.fit import SHORTEST_USEFUL, Fit, fit, fit_config
from gatehouse.domain.hardware.scenarios import Choices, Machine, Scenario, scenarios
from unit.domain.hardware.fits import granite, shipped, summary
from unit.domain.hardware.vllm_logs import LOGS
from vllmruns import configurations

GIB = 2**30
PROFILES = ("nvidia-t4", "nvidia-l4", "nvidia-a100-80gb", "nvidia-h100-80gb")


def machine(name: str) -> Machine:
    return Machine(name=name, spec=shipped(name).spec)


def config(name: str) -> ModelConfig:
    return configurations()[name][1].config


QWEN, LLAMA = config("Qwen__Qwen3-32B"), config("meta-llama__Meta-Llama-3.1-70B")


@pytest.mark.parametrize("name", PROFILES)
def test_a_row_is_what_the_operator_would_say(name: str) -> None:
    [row] = scenarios(summary(), [machine(name)], Choices(lengths=(8192,), sizes=(1,)))
    assert row.found == fit(summary(), machine(name).spec, requested_max_model_len=8192)
    [row] = scenarios(granite(), [machine(name)], Choices(lengths=(8192,), sizes=(1,), sequences=(16,)))
    assert row.found == fit_config(
        granite(), machine(name).spec, requested_max_model_len=8192, arguments=["--max-num-seqs=16"]
    )


def test_every_choice_has_its_row() -> None:
    choices = Choices(lengths=(1024, 4096), sizes=(1, 2), sequences=(16, 256))
    rows = scenarios(summary(), [machine(name) for name in PROFILES], choices)
    asked = [(row.machine.name, row.requested, row.found.sequences, row.size) for row in rows]
    assert asked == [
        (name, length, sequences, size)
        for name in PROFILES
        for length in (1024, 4096)
        for sequences in (16, 256)
        for size in (1, 2)
    ]


def test_a_machine_is_grown_until_the_model_fits() -> None:
    rows = scenarios(LLAMA, [machine("nvidia-h100-80gb")], Choices())
    assert [(row.size, row.fits) for row in rows] == [(1, False), (2, True)]
    assert [row.size for row in scenarios(LLAMA, [machine("nvidia-t4")], Choices())] == [1, 2, 4, 8]


def test_a_size_that_does_not_divide_the_model_does_not_fit() -> None:
    [row] = scenarios(QWEN, [machine("nvidia-h100-80gb")], Choices(sizes=(3,)))
    assert (row.found.verdict, row.found.finding.reason, row.fits) == ("DoesNotFit", "NotSplit", False)
    assert row.found.finding.remedy == "use --tensor-parallel-size 2"
    assert row.free_bytes is None


def test_what_lies_on_the_memory_adds_up() -> None:
    for name in PROFILES:
        for row in scenarios(summary(), [machine(name)], Choices()):
            found = row.found
            if row.free_bytes is None:
                continue
            parts = (found.weights_bytes or 0, found.overhead_bytes or 0, found.graph_bytes[1], row.cache_bytes or 0)
            assert sum(parts) + row.free_bytes == found.usable_bytes
            assert found.kv_cache_tokens == found.safe_max_model_len
            assert row.free_bytes >= GIB // 2


def test_where_nothing_fits_the_cache_is_that_of_the_shortest_useful_length() -> None:
    asked = scenarios(QWEN, [machine("nvidia-h100-80gb")], Choices(lengths=(40_960,), sizes=(1,)))[0]
    assert (asked.found.verdict, asked.found.kv_cache_tokens) == ("DoesNotFit", 40_960)
    assert asked.free_bytes is not None
    assert asked.free_bytes < 0
    tight = scenarios(summary(weights_bytes=19 * GIB), [machine("nvidia-l4")], Choices(sizes=(1,)))[0]
    assert tight.found.kv_cache_tokens in {None, SHORTEST_USEFUL, tight.found.safe_max_model_len}


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1,000"):
        scenarios(summary(), [machine("nvidia-l4")], Choices(lengths=tuple(range(1, 300))))


def test_each_row_is_data() -> None:
    [row] = scenarios(summary(), [machine("nvidia-l4")], Choices(sizes=(1,)))
    wire = row.wire()
    assert wire["profile"] == "nvidia-l4"
    assert wire["maxNumSeqs"] == row.found.sequences
    assert wire["usableBytes"] - wire["weightsBytes"] - wire["overheadBytes"] - wire["kvCacheBytes"] == (
        wire["freeBytes"] + wire["cudaGraphBytes"]["most"]
    )


# How far a fit is off


def logged(release: str) -> StartLog:
    with (LOGS / f"{release}.log").open("rb") as opened:
        return parse_start_log(opened)


def calibrated(release: str, *, size: int, length: int, sequences: int) -> dict[str, float]:
    choices = Choices(
        lengths=(length,),
        sizes=(size,),
        sequences=(sequences,),
        vllm_image=f"vllm/vllm-openai:v{release}",
    )
    [row] = scenarios(QWEN, [machine("nvidia-h100-80gb")], choices)
    return {term.name: term.off / GIB for term in held_against(row.found, logged(release))}


def test_the_terms_of_0_11_0() -> None:
    off = calibrated("0.11.0", size=1, length=16_000, sequences=1024)
    assert set(off) == {"weights", "overhead", "memory for the cache", "cache of 16,000 tokens"}
    assert off["weights"] == pytest.approx(0, abs=0.05)
    assert off["overhead"] == pytest.approx(0.19, abs=0.02)
    # What is too much in one term is missing in the other.
    assert off["memory for the cache"] == pytest.approx(-off["weights"] - off["overhead"], abs=0.001)
    assert off["cache of 16,000 tokens"] == pytest.approx(0, abs=0.02)


def test_the_terms_of_0_33_0_have_its_cuda_graphs() -> None:
    off = calibrated("0.33.0", size=2, length=32_768, sequences=128)
    assert set(off) == {
        "weights",
        "overhead",
        "CUDA graphs (0.40 to 2.00 GiB)",
        "memory for the cache",
        "cache of 32,768 tokens",
    }
    assert off["CUDA graphs (0.40 to 2.00 GiB)"] == 0
    assert off["memory for the cache"] == pytest.approx(-off["weights"] - off["overhead"], abs=0.001)


def test_a_refused_start_is_held_against_what_it_needed() -> None:
    known = Fit(
        verdict="Fits", kv_cache_tokens=1000, kv_cache_bytes=2 * GIB, finding=Finding(reason="", found="", expected="")
    )
    [term] = held_against(known, StartLog(needed=GIB, needed_tokens=1000))
    assert (term.off, term.percent, term.derived) == (GIB, 100.0, False)
    assert held_against(known, StartLog(needed=GIB, needed_tokens=999)) == ()


def test_tokens_count_where_no_sequence_does() -> None:
    known = Fit(verdict="Fits", kv_cache_bytes_per_token=1024, finding=Finding(reason="", found="", expected=""))
    [term] = held_against(known, StartLog(available=GIB, tokens=2**20))
    assert (term.computed, term.measured) == (2**20, 2**20)
    assert held_against(known, StartLog(available=-GIB, tokens=5)) == ()


def test_it_is_said_where_vllm_was_started_otherwise() -> None:
    [row] = scenarios(summary(), [machine("nvidia-l4")], Choices(lengths=(8192,), sizes=(1,), sequences=(16,)))
    said = differing_start(
        row.found,
        StartLog(max_model_len=4096, max_num_seqs=16, tensor_parallel_size=2, gpu_memory_utilization="0.95"),
        length=row.requested,
        utilization="0.90",
    )
    assert len(said) == 3
    assert differing_start(row.found, StartLog(), length=8192, utilization="0.90") == []
    assert isinstance(row, Scenario)
