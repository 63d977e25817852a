"""Properties of every fit, whatever the model and the machine."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import ModelConfig, RopeScaling
from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.hardware.architectures import architectures
from gatehouse.domain.hardware.fit import (
    Fit,
    fit,
)
from gatehouse.domain.hardware.kv_cache import CacheLayout, CacheTerm
from gatehouse.domain.hardware.overhead import MARGIN
from unit.domain.hardware.fits import (
    FP8,
    GIB,
    granite,
    layout,
    profile,
    summary,
)


def counts(largest: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(1, largest)


CONFIGS = st.builds(
    ModelConfig,
    architecture=st.sampled_from([*architectures(), "OtherForCausalLM", None]),
    model_type=st.sampled_from(["granite", "gemma2", "gemma3", "jamba", "qwen3_next", "whisper", None]),
    details=st.dictionaries(
        st.sampled_from(["mamba_d_state", "mamba_n_heads", "num_kv_shared_layers", "attention_chunk_size", "n_groups"]),
        st.integers(0, 1_000_000),
    ),
    num_hidden_layers=counts(10_000),
    hidden_size=counts(1_000_000),
    num_attention_heads=counts(10_000),
    num_key_value_heads=counts(10_000),
    head_dim=counts(100_000),
    intermediate_size=counts(100_000_000),
    max_position_embeddings=counts(10_000_000_000),
    dtype=st.sampled_from(["bfloat16", "float16", "float32", None]),
    sliding_window=counts(10_000_000_000),
    use_sliding_window=st.none() | st.booleans(),
    sliding_window_pattern=st.none() | st.integers(1, 10_000) | st.just("LLG"),
    kv_lora_rank=counts(1_000_000),
    qk_rope_head_dim=counts(100_000),
    rope_scaling=st.none()
    | st.builds(
        RopeScaling,
        kind=st.sampled_from(["yarn", "linear", "llama3", None]),
        factor=st.none() | st.floats(min_value=0, max_value=1e9, exclude_min=True),
        original_max_position_embeddings=counts(10_000_000_000),
    ),
    quantization=st.none() | st.just(FP8) | st.just(Quantization(method="awq", bits=4)),
)


REASONABLE = st.builds(
    granite,
    architecture=st.sampled_from(["GraniteForCausalLM", "MistralForCausalLM", "Gemma2ForCausalLM"]),
    num_hidden_layers=st.integers(1, 120),
    num_attention_heads=st.sampled_from([8, 16, 24, 32, 64]),
    num_key_value_heads=st.sampled_from([1, 2, 4, 8]),
    head_dim=st.sampled_from([64, 128, 256]),
    max_position_embeddings=st.integers(1, 1_000_000),
    sliding_window=st.sampled_from([None, 512, 4096]),
    intermediate_size=st.just(14336),
)


MEMORY = st.integers(0, 2**21).map(lambda mebibytes: f"{mebibytes}Mi")


WEIGHTS = st.integers(0, 300 * GIB)


REQUESTS = st.none() | st.integers(1, 2_000_000)


RANK = {"DoesNotFit": 0, "Tight": 1, "Fits": 2}


GOAL = 32_768


def judged(found: Fit) -> tuple[int, int]:
    """The verdict, and the length up to where more of it would be bought with fewer sequences."""
    return RANK[found.verdict], min(GOAL, found.safe_max_model_len or 0) * 9 // 10


class TestProperties:
    @given(
        config=st.none() | CONFIGS,
        weights=st.none() | st.integers(0, 2**70),
        memory=MEMORY,
        count=st.integers(1, 64),
        capability=st.sampled_from([None, "6.1", "7.5", "8.0", "8.9", "10.0"]),
        request=REQUESTS,
    )
    def test_absurd_models_never_crash_it(
        self,
        *,
        config: ModelConfig | None,
        weights: int | None,
        memory: str,
        count: int,
        capability: str | None,
        request: int | None,
    ) -> None:
        model = replace(summary(), config=config, weights_bytes=weights, dtypes={"F32": 10, "BF16": 3})
        found = fit(
            model, profile(memory=memory, count=count, computeCapability=capability), requested_max_model_len=request
        )
        figures = (
            found.weights_bytes,
            found.kv_cache_bytes_per_token,
            found.max_model_len,
            found.safe_max_model_len,
            found.largest_max_model_len,
        )
        assert all(figure is None or figure >= 0 for figure in figures)
        assert 1 <= found.tensor_parallel_size <= count
        assert found.verdict in {"DoesNotFit", "Unknown"} or found.max_model_len
        assert all(len(warning) <= 512 for warning in found.warnings)

    @given(config=REASONABLE, weights=WEIGHTS, memory=MEMORY, request=REQUESTS)
    def test_a_verdict_satisfies_its_inequality(
        self, config: ModelConfig, weights: int, memory: str, request: int | None
    ) -> None:
        machine = profile(memory=memory)
        found = fit(summary(config, weights_bytes=weights), machine, requested_max_model_len=request)
        usable = int(memory[:-2]) * 2**20 * 0.9
        if found.verdict == "DoesNotFit":
            return
        assert found.max_model_len is not None
        large = int(memory[:-2]) * 0.98 >= 70 * 1024
        need = weights + layout(config, chunk=8192 if large else 2048).cost(found.max_model_len)
        margin = 0 if found.finding.reason == "FitsWithoutMargin" else MARGIN
        assert need + (found.overhead_bytes or 0) + margin <= usable
        assert found.max_model_len <= (config.max_position_embeddings or 0)
        assert request in (None, found.max_model_len)

    @given(config=REASONABLE, weights=WEIGHTS, memory=MEMORY)
    def test_what_a_refusal_offers_is_accepted_with_a_margin(
        self, config: ModelConfig, weights: int, memory: str
    ) -> None:
        model, machine = summary(config, weights_bytes=weights), profile(memory=memory)
        refused = fit(model, machine, requested_max_model_len=1_000_000)
        if refused.verdict != "DoesNotFit":
            return
        if refused.max_model_len is None:
            assert fit(model, machine).verdict == "DoesNotFit"
            return
        assert fit(model, machine, requested_max_model_len=refused.max_model_len).verdict == "Fits"
        beyond = fit(model, machine, requested_max_model_len=(refused.largest_max_model_len or 0) + 256)
        assert beyond.verdict in {"DoesNotFit", "Tight"}

    @given(config=REASONABLE, weights=WEIGHTS, less=st.integers(0, 2**20), more=st.integers(0, 2**20), request=REQUESTS)
    def test_more_memory_never_fits_worse(
        self, config: ModelConfig, weights: int, less: int, more: int, request: int | None
    ) -> None:
        """With the batch of one class of accelerators: vLLM takes a larger one from 70 GiB on."""
        model = summary(config, weights_bytes=weights)
        batch = ["--max-num-batched-tokens=2048"]
        small = fit(model, profile(memory=f"{less}Mi"), requested_max_model_len=request, arguments=batch)
        large = fit(model, profile(memory=f"{less + more}Mi"), requested_max_model_len=request, arguments=batch)
        assert all(a <= b for a, b in zip(judged(small), judged(large), strict=True))

    @given(
        config=REASONABLE,
        weights=WEIGHTS,
        memory=MEMORY,
        few=st.integers(1, 16),
        more=st.integers(0, 16),
        request=REQUESTS,
    )
    def test_more_accelerators_never_fit_worse(
        self, *, config: ModelConfig, weights: int, memory: str, few: int, more: int, request: int | None
    ) -> None:
        """But for what tensor parallelism takes itself: 0.42 GiB, and what every accelerator has of the weights."""
        model, batch = summary(config, weights_bytes=weights), ["--max-num-batched-tokens=2048"]
        small = fit(model, profile(memory=memory, count=few), requested_max_model_len=request, arguments=batch)
        room = f"{int(memory[:-2]) + 2048}Mi"
        large = fit(model, profile(memory=room, count=few + more), requested_max_model_len=request, arguments=batch)
        assert all(a <= b for a, b in zip(judged(small), judged(large), strict=True))

    @given(config=REASONABLE, weights=WEIGHTS, memory=MEMORY, request=REQUESTS)
    def test_a_smaller_cache_element_never_fits_worse(
        self, config: ModelConfig, weights: int, memory: str, request: int | None
    ) -> None:
        model = summary(config, weights_bytes=weights)
        wide = fit(model, profile(memory=memory), requested_max_model_len=request)
        narrow = fit(model, profile(memory=memory, serving={"kvCacheDtype": "fp8"}), requested_max_model_len=request)
        assert all(a <= b for a, b in zip(judged(wide), judged(narrow), strict=True))

    @given(
        st.builds(
            CacheLayout,
            fixed=st.integers(0, 10**9),
            terms=st.lists(
                st.builds(
                    CacheTerm,
                    bytes=st.integers(0, 10**7),
                    block=st.sampled_from([16, 64, 832]),
                    cap=st.none() | st.integers(0, 10**5),
                    extra=st.integers(0, 1),
                ),
                max_size=3,
            ).map(tuple),
        ),
        st.integers(-(10**12), 10**12),
        st.integers(0, 10**7),
    )
    @settings(max_examples=300)
    def test_the_longest_sequence_is_the_longest(self, given_layout: CacheLayout, budget: int, limit: int) -> None:
        longest = given_layout.longest(budget, limit=limit)
        assert 0 <= longest <= limit
        assert longest == 0 or given_layout.cost(longest) <= budget
        assert longest == limit or given_layout.cost(longest + 1) > budget
