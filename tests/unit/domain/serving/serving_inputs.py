"""Inputs of a template."""

from __future__ import annotations

from typing import Any

from gatehouse.api.model_registry import ServingDefaults
from gatehouse.api.model_version import Serving
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.quantization import Quantization
from gatehouse.domain.hardware.fit import fit
from gatehouse.domain.serving.template import ServingInput
from unit.domain.hardware.fits import granite, shipped, summary

AWQ = Quantization(method="awq", bits=4, group=128)
DIGEST = "sha256:" + "0123456789abcdef" * 4


def serving_input(
    *,
    serving: dict[str, Any] | None = None,
    machine: str = "nvidia-l4",
    count: int = 1,
    kv_cache_dtype: str = "auto",
    config: ModelConfig | None = None,
    **changes: Any,
) -> ServingInput:
    """Granite 3.1 8B FP8 on an L4, or what is asked for."""
    profile = shipped(machine).spec
    profile = profile.model_copy(
        update={
            "accelerator": profile.accelerator.model_copy(update={"count": count}),
            "serving": profile.serving.model_copy(update={"kv_cache_dtype": kv_cache_dtype}),
        }
    )
    wanted = Serving.model_validate(serving or {})
    given: dict[str, Any] = {
        "name": "granite-3.1-8b-instruct-fp8-3.1-may2025-validated",
        "namespace": "private-ai",
        "model": "granite-3.1-8b-instruct-fp8",
        "version": "3.1-May2025-Validated",
        "display_name": "Granite 3.1 8B Instruct",
        "description": "Validated for chat.\nAsk the model's owners first.",
        "artifact_uri": "s3://models/granite-3.1-8b-instruct-FP8-dynamic",
        "digest": DIGEST,
        "model_id": 7,
        "version_id": 9,
        "profile_name": machine,
        "profile": profile,
        "fit": fit(summary(config or granite()), profile, requested_max_model_len=wanted.max_model_len),
        "serving": wanted,
        "defaults": ServingDefaults(),
    }
    return ServingInput(**(given | changes))
