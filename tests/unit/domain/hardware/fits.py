"""Models and machines for the tests of the hardware fit and the serving template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gatehouse.api.hardware_profile import HardwareProfile, HardwareProfileSpec
from gatehouse.domain.artifact.model_config import ModelConfig, Quantization
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.hardware.dimensions import dimensions_of
from gatehouse.domain.hardware.kv_cache import CacheLayout, cache_layout
from gatehouse.domain.runtimes.releases import release_of

GIB = 2**30
OLD_IMAGE, GGUF_IMAGE = "vllm/vllm-openai:v0.11.0", "vllm/vllm-openai:v0.23.0"
OLD, NEW = release_of(OLD_IMAGE)[0], release_of("vllm:v0.33.0")[0]

PROFILES = Path(__file__).parents[4] / "manifests" / "hardware"

FP8 = Quantization(
    method="compressed-tensors", format="float-quantized", bits=8, weight_type="float", activation_bits=8
)


def granite(**changes: Any) -> ModelConfig:
    """Granite 3.1 8B Instruct."""
    numbers: dict[str, Any] = {
        "architecture": "GraniteForCausalLM",
        "model_type": "granite",
        "num_hidden_layers": 40,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 12800,
        "vocab_size": 49155,
        "max_position_embeddings": 131_072,
        "dtype": "bfloat16",
        "quantization": FP8,
    }
    return ModelConfig(**(numbers | changes))


def granite_fp8_bytes() -> tuple[int, dict[str, int]]:
    """Bytes and parameters by data type: FP8 linear layers with one BF16 scale a row, BF16 embeddings and norms."""
    rows = 4096 + 1024 + 1024 + 4096 + 12800 + 12800 + 4096
    linear = 40 * (4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 12800)
    bf16 = 49155 * 4096 + 40 * (2 * 4096 + rows) + 4096
    return linear + 2 * bf16, {"F8_E4M3": linear, "BF16": bf16}


def summary(config: ModelConfig | None = None, *, weights_bytes: int | None = None, **changes: Any) -> ArtifactSummary:
    """Granite 3.1 8B FP8-dynamic, or what is asked for."""
    size, dtypes = granite_fp8_bytes()
    given: dict[str, Any] = {
        "format": "safetensors",
        "files": 9,
        "total_bytes": size,
        "weights_bytes": size if weights_bytes is None else weights_bytes,
        "dtypes": dtypes,
        "config": config or granite(),
    }
    return ArtifactSummary(**(given | changes))


def profile(**changes: Any) -> HardwareProfileSpec:
    """An L4 with changes to its accelerator; ``serving`` changes that part."""
    accelerator = {"vendor": "NVIDIA", "model": "L4", "memory": "23034Mi", "computeCapability": "8.9"}
    serving = changes.pop("serving", {})
    given = {key: value for key, value in (accelerator | changes).items() if value is not None}
    return HardwareProfileSpec.model_validate({"accelerator": given, "serving": serving})


def shipped(name: str) -> HardwareProfile:
    """A profile from manifests/hardware."""
    return HardwareProfile.model_validate(yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8")))


def layout(config: ModelConfig, *, tp: int = 1, element_bytes: int = 2, chunk: int = 2048) -> CacheLayout:
    """The cache of a model that is computed, by the older release."""
    found = cache_layout(dimensions_of(config), OLD, tensor_parallel_size=tp, element_bytes=element_bytes, chunk=chunk)
    assert isinstance(found, CacheLayout)
    return found
