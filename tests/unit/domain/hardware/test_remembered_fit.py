"""The fit that a decision remembers is the one that its own facts make, whatever was decided before."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.hardware_profile import HardwareProfile, HardwareProfileSpec
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.hardware.fit import fit
from gatehouse.domain.version.lifecycle import decide

SUMMARIES: dict[str, list[Any]] = {
    "format": ["safetensors", "gguf"],
    "files": [6, 7],
    "total_bytes": [8_400_000_000, 9_000_000_000],
    "parameters": [8_170_000_000, None],
    "weights_bytes": [8_375_000_000, 30_000_000_000, None],
    "dtypes": [{"F8_E4M3": 7_900_000_000, "BF16": 270_000_000}, {"BF16": 4_000_000_000}, {"BF16": 2**70}],
    "model_file": [None, "a.gguf"],
    "unsafe_files": [(), ("a.py",)],
    "notes": [(), ("a note",)],
    "head_bytes": [0, 400_000_000],
    "unloaded_bytes": [0, 500_000_000],
}
CONFIGS: dict[str, list[Any]] = {
    "architecture": ["GraniteForCausalLM", "NobodyKnowsForCausalLM", None],
    "num_hidden_layers": [40, 80],
    "num_attention_heads": [32, 6],
    "max_position_embeddings": [131_072, 2048, None],
    "layer_types": [{}, {"full_attention": 40}],
    "lengths": [{}, {"n_positions": 512}],
    "details": [{}, {"tie_word_embeddings": 1}],
    "dtype": [None, "bfloat16"],
}
SPECS: dict[str, list[Any]] = {
    "memory": ["23034Mi", "81559Mi"],
    "computeCapability": ["8.9", "7.5"],
    "count": [1, 4],
    "model": ["L4", "A100"],
}
UTILIZATIONS = ["0.90", "0.50"]
CACHES = ["auto", "fp8"]
SERVINGS: dict[str, list[Any]] = {
    "maxModelLen": [None, 1024, 100_000],
    "extraArgs": [[], ["--max-num-seqs=8"], ["--enforce-eager"]],
}


def one_of_each(table: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in table.items()})


def test_the_table_has_every_field_of_a_summary() -> None:
    assert {*SUMMARIES, "config"} == {each.name for each in fields(ArtifactSummary)}


@given(
    summaries=one_of_each(SUMMARIES),
    config=st.none() | one_of_each(CONFIGS).map(lambda said: ModelConfig(**said)),
    accelerator=one_of_each(SPECS),
    utilization=st.sampled_from(UTILIZATIONS),
    cache=st.sampled_from(CACHES),
    serving=one_of_each(SERVINGS),
    image=st.sampled_from(["vllm/vllm-openai:v0.11.0", "vllm/vllm-openai:v0.33.0"]),
)
def test_a_decision_has_the_fit_of_its_own_facts(
    *,
    summaries: dict[str, Any],
    config: ModelConfig | None,
    accelerator: dict[str, Any],
    utilization: str,
    cache: str,
    serving: dict[str, Any],
    image: str,
) -> None:
    summary = ArtifactSummary(**summaries, config=config)
    spec = HardwareProfileSpec.model_validate(
        {
            "accelerator": {"vendor": "NVIDIA", **accelerator},
            "serving": {"gpuMemoryUtilization": utilization, "kvCacheDtype": cache},
        }
    )
    said = {name: value for name, value in serving.items() if value is not None}
    decided = decide(
        worlds.facts(
            version=worlds.version(serving=said),
            registry=worlds.registry(serving={"vllmImage": image}),
            profile=HardwareProfile(spec=spec),
            artifact=worlds.record(summary=summary),
        )
    )
    assert decided.fit == fit(
        summary,
        spec,
        vllm_image=image,
        requested_max_model_len=serving["maxModelLen"],
        arguments=serving["extraArgs"],
    )
