"""What encoders of images and sound take while vLLM measures its memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import ModelConfig, parse_config
from gatehouse.domain.hardware.dimensions import dimensions_of
from gatehouse.domain.hardware.fit import fit, fit_config
from gatehouse.domain.hardware.overhead import EncoderMemory, Overhead, encoder_memory
from unit.domain.hardware.fits import GIB, NEW, OLD, OLD_IMAGE, granite, shipped, summary
from vllmruns import configurations

GEMMA = "google__gemma-3-27b-it"
MISTRAL = "mistralai__Mistral-Small-3.1-24B-Instruct-2503"


def config(name: str) -> ModelConfig:
    return configurations()[name][1].config


def memory(name: str, *, chunk: int = 8192, tp: int = 1, release: Any = NEW) -> EncoderMemory | None:
    return encoder_memory(dimensions_of(config(name)), release, tensor_parallel_size=tp, chunk=chunk)


class TestBounds:
    def test_siglip(self) -> None:
        """32 images of 256 tokens make 8,192; each has 64 by 64 patches, whose feed-forward layer is the widest."""
        patch = 2 * (2 * 1152 + 2 * 4304)
        assert memory(GEMMA) == EncoderMemory(32 * (64 * 64 * patch + 6 * 3 * 896**2), 32 * 256 * 5376 * 2)

    def test_pixtral(self) -> None:
        """An image of 1,540 pixels has 110 by 110 patches, four of which make a token: two images in 8,192 tokens."""
        patches, patch = 110 * 110, 2 * 16 * 1024
        peak = 2 * (patches * patch + 6 * 3 * 1540**2)
        kept = 2 * 55 * 55 * 5120 * 2
        assert memory(MISTRAL) == EncoderMemory(peak, kept)
        assert memory(MISTRAL, release=OLD) == EncoderMemory(peak + (2 * patches) ** 2 * 2, kept)

    def test_an_item_larger_than_a_chunk_is_seen_whole(self) -> None:
        small, large = memory(MISTRAL, chunk=1), memory(MISTRAL, chunk=3025)
        assert small == large
        assert small is not None
        assert small.kept == 55 * 55 * 5120 * 2

    def test_whisper_hears_thirty_seconds(self) -> None:
        found = memory("openai__whisper-large-v3-turbo(sizes)")
        assert found is not None
        assert found.kept == 5 * 1500 * 1280 * 2
        assert found.peak < GIB

    @pytest.mark.parametrize(
        "name", ["Qwen__Qwen2.5-VL-3B-Instruct", "zai-org__GLM-4.1V-9B", "google__gemma-3n-E4B-it"]
    )
    def test_none_where_config_json_does_not_say_how_large_images_are(self, name: str) -> None:
        assert memory(name) is None

    def test_nothing_without_an_encoder(self) -> None:
        model = dimensions_of(granite())
        assert encoder_memory(model, NEW, tensor_parallel_size=1, chunk=8192) == EncoderMemory(0, 0)

    def test_tensor_parallelism_divides_the_feed_forward_layer_alone(self) -> None:
        alone, split = memory(GEMMA), memory(GEMMA, tp=4)
        assert alone is not None
        assert split is not None
        assert alone.peak / 4 < split.peak < alone.peak
        assert alone.kept == split.kept

    @given(chunk=st.integers(1, 10**6), more=st.integers(0, 10**6), name=st.sampled_from([GEMMA, MISTRAL]))
    def test_a_larger_chunk_never_takes_less(self, chunk: int, more: int, name: str) -> None:
        small, large = memory(name, chunk=chunk), memory(name, chunk=chunk + more)
        assert small is not None
        assert large is not None
        assert small.peak <= large.peak
        assert small.kept <= large.kept

    @pytest.mark.parametrize(
        ("image", "patch"), [(0, 14), (14, 0), (13, 14), (None, 14), (896, None), ("large", 14), (-1, 1)]
    )
    def test_odd_sizes_have_no_bound(self, image: Any, patch: Any) -> None:
        said = {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "vision_config": {"hidden_size": 8, "intermediate_size": 8, "image_size": image, "patch_size": patch},
        }
        model = dimensions_of(parse_config(json.dumps(said).encode()))
        assert encoder_memory(model, NEW, tensor_parallel_size=1, chunk=8192) is None


class TestOverhead:
    @given(
        sequences=st.integers(1, 1024),
        vocabulary=st.integers(0, 10**6),
        forward=st.integers(0, 2**34),
        peak=st.integers(0, 2**34),
        kept=st.integers(0, 2**30),
    )
    def test_the_larger_of_two_moments(
        self, sequences: int, vocabulary: int, forward: int, peak: int, kept: int
    ) -> None:
        bare = Overhead(7, vocabulary, forward).of(sequences)
        assert Overhead(7, vocabulary, forward, EncoderMemory(peak, kept)).of(sequences) == max(bare + kept, 7 + peak)

    def test_few_sequences_leave_the_encoder_as_the_largest(self) -> None:
        h100 = shipped("nvidia-h100-80gb").spec
        found = fit_config(config(GEMMA), h100, vllm_image=OLD_IMAGE, arguments=["--max-num-seqs=64"])
        bound = memory(GEMMA, release=OLD)
        assert bound is not None
        assert found.overhead_bytes == OLD.base_bytes[0] + bound.peak

    def test_an_image_that_fits_is_not_warned_of(self) -> None:
        h100 = shipped("nvidia-h100-80gb").spec
        found = fit_config(config(GEMMA), h100)
        assert found.warnings == ("the weights are estimated from config.json",)

    def test_what_is_not_computed_is_said(self) -> None:
        qwen = config("Qwen__Qwen2.5-VL-3B-Instruct")
        found = fit(summary(qwen, weights_bytes=7 * GIB, dtypes={"BF16": 1}), shipped("nvidia-l4").spec)
        assert any("the memory for images or sound is unknown" in warning for warning in found.warnings)
