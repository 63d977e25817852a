"""Bytes of weights on each accelerator, and over how many they are split."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.hardware.architectures import architectures
from gatehouse.domain.hardware.dimensions import dimensions_of
from gatehouse.domain.hardware.fit import SHORTEST_USEFUL, fit
from gatehouse.domain.hardware.weights import estimated_bytes
from gatehouse.domain.runtimes.releases import Release
from unit.domain.hardware.fits import GIB, NEW, OLD, granite, granite_fp8_bytes, profile, summary
from vllmruns import Run, runs

DETAILS = (
    "audio_hidden",
    "audio_layers",
    "expert_layer_offset",
    "expert_layer_period",
    "global_head_dim",
    "hidden_size_per_layer_input",
    "mamba_d_state",
    "mamba_dt_rank",
    "mamba_n_heads",
    "num_mem_blocks",
    "tower_hidden",
    "tower_inner",
    "tower_layers",
    "total_intermediate_size",
)


def label(run: Run) -> str:
    return f"{run.name}-{run.version}"


class TestWeights:
    def test_too_large(self) -> None:
        found = fit(summary(weights_bytes=40 * GIB), profile())
        assert (found.verdict, found.finding.reason, found.max_model_len) == ("DoesNotFit", "WeightsTooLarge", None)

    def test_no_room_for_a_useful_length(self) -> None:
        found = fit(summary(weights_bytes=int(19.1 * GIB)), profile())
        assert (found.verdict, found.finding.reason) == ("DoesNotFit", "ContextTooLong")
        assert f"{SHORTEST_USEFUL:,}" in found.finding.found

    def test_only_short_texts_start_below_what_just_fits(self) -> None:
        found = fit(summary(weights_bytes=int(18.85 * GIB)), profile(), arguments=["--enforce-eager"])
        assert (found.verdict, found.finding.reason) == ("Tight", "FitsShortTexts")
        assert found.max_model_len == found.safe_max_model_len
        assert 0 < (found.max_model_len or 0) < SHORTEST_USEFUL < (found.largest_max_model_len or 0)

    def test_a_head_that_is_tied_and_layers_that_predict_further_are_not_loaded(self) -> None:
        tied = granite(details={"tie_word_embeddings": 1})
        stored = {"head_bytes": GIB // 2, "unloaded_bytes": GIB // 4}
        found = fit(summary(tied, weights_bytes=8 * GIB, **stored), profile())
        assert found.weights_bytes == 8 * GIB - 3 * GIB // 4
        assert fit(summary(weights_bytes=8 * GIB, **stored), profile()).weights_bytes == 8 * GIB - GIB // 4

    def test_fp32_is_loaded_in_half_precision(self) -> None:
        config = granite(quantization=None, dtype="float32")
        found = fit(summary(config, weights_bytes=16 * GIB, dtypes={"F32": 4 * GIB}), profile())
        assert found.weights_bytes == 8 * GIB


class TestTensorParallelism:
    @pytest.mark.parametrize(
        ("changes", "count", "size", "kv_bytes"),
        [
            ({"vocab_size": 49_152}, 16, 16, 20_480),
            ({}, 1, 1, 163_840),
            ({}, 2, 2, 81_920),
            ({}, 8, 8, 20_480),
            ({}, 16, 16, 20_480),
            ({}, 3, 2, 81_920),
            ({"num_attention_heads": 24, "num_key_value_heads": 8, "hidden_size": 3072}, 6, 4, 40_960),
            ({"num_attention_heads": 25, "num_key_value_heads": 5, "hidden_size": 3200}, 4, 1, 102_400),
            ({"intermediate_size": 12_801}, 2, 1, 163_840),
        ],
    )
    def test_heads_are_split_and_kv_heads_copied(
        self, changes: dict[str, Any], count: int, size: int, kv_bytes: int
    ) -> None:
        found = fit(summary(granite(**changes)), profile(count=count))
        assert found.tensor_parallel_size == size
        assert found.kv_cache_bytes_per_token == kv_bytes
        share = -(-granite_fp8_bytes()[0] // size)
        assert share <= (found.weights_bytes or 0) <= share * 1.1
        assert any("not used" in warning for warning in found.warnings) == (size < count)


ANY_CONFIG = st.builds(
    ModelConfig,
    architecture=st.sampled_from(sorted(architectures())),
    num_hidden_layers=st.integers(1, 200),
    hidden_size=st.integers(1, 4096),
    intermediate_size=st.integers(1, 4096),
    num_attention_heads=st.just(8),
    num_key_value_heads=st.just(4),
    vocab_size=st.just(1000),
    details=st.dictionaries(st.sampled_from(DETAILS), st.integers(0, 4096)),
)


class TestConfigurationsAlone:
    """Weights of which only config.json is known, of every architecture."""

    @given(config=ANY_CONFIG, size=st.sampled_from([1, 2, 4, 8]), release=st.sampled_from([OLD, NEW]))
    def test_shares_are_no_less_than_the_whole(self, config: ModelConfig, size: int, release: Release) -> None:
        model = dimensions_of(config)
        whole = estimated_bytes(model, release, tensor_parallel_size=1)
        share = estimated_bytes(model, release, tensor_parallel_size=size)
        assert (whole is None) == (share is None)
        if whole is not None and share is not None:
            assert whole >= 2 * (config.hidden_size or 0) * 1000  # its embedding at least
            assert 0 < share <= whole
            assert share * size >= whole

    @pytest.mark.parametrize("run", [run for run in runs() if run.error is None and run.size == 1], ids=label)
    def test_one_more_layer_never_takes_less(self, run: Run) -> None:
        more = dataclasses.replace(run.model.config, num_hidden_layers=(run.model.layers or 0) + 1, layer_types={})
        same = dataclasses.replace(run.model.config, layer_types={})
        found = [estimated_bytes(dimensions_of(each), run.release, tensor_parallel_size=1) for each in (same, more)]
        if None not in found and run.model.text is not None and not run.model.text.cross:
            assert found[0] < found[1]
