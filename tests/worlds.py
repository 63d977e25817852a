"""Small worlds for tests: objects and facts with sensible defaults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gatehouse.api import HardwareProfile, ModelRegistry, ModelVersion, RegisteredModel
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactRecord, ArtifactSummary
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.records import VersionRecord

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
OTHER_DIGEST = "sha256:" + "b" * 64
URI = "s3://models/granite/"


def registry(**spec: Any) -> ModelRegistry:
    """A registry that lets every namespace in, has the bucket ``models``, and clears without a policy."""
    return ModelRegistry.model_validate(
        {
            "metadata": {"name": "local", "namespace": "gatehouse-system", "generation": 1},
            "spec": {
                "allowedNamespaces": {"from": "All"},
                "protectedStages": [],
                "defaultRiskTier": "Low",
                "objectStores": [{"uriPrefix": "s3://models/", "endpoint": "http://127.0.0.1:9000", "tls": "Disabled"}],
                **spec,
            },
        }
    )


def model(**spec: Any) -> RegisteredModel:
    """A live model."""
    return RegisteredModel.model_validate(
        {"metadata": {"name": "granite", "namespace": "team", "uid": "m-1", "generation": 1}, "spec": spec}
    )


def version(
    *, metadata: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **spec: Any
) -> ModelVersion:
    """A submitted version of the model."""
    return ModelVersion.model_validate(
        {
            "metadata": {"name": "granite-1", "namespace": "team", "uid": "v-1", "generation": 1, **(metadata or {})},
            "spec": {
                "modelRef": {"name": "granite"},
                "version": "1",
                "artifact": {"uri": URI},
                "hardwareProfileRef": {"name": "nvidia-l4"},
                **spec,
            },
            "status": status or {},
        }
    )


def profile(**accelerator: Any) -> HardwareProfile:
    """An NVIDIA L4."""
    return HardwareProfile.model_validate(
        {
            "metadata": {"name": "nvidia-l4", "generation": 1},
            "spec": {
                "accelerator": {
                    "vendor": "NVIDIA",
                    "model": "L4",
                    "memory": "23034Mi",
                    "computeCapability": "8.9",
                    **accelerator,
                }
            },
        }
    )


def config() -> ModelConfig:
    """Granite 3.1 8B."""
    return ModelConfig(
        architecture="GraniteForCausalLM",
        model_type="granite",
        num_hidden_layers=40,
        hidden_size=4096,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=12800,
        vocab_size=49155,
        max_position_embeddings=131072,
    )


def summary(**changes: Any) -> ArtifactSummary:
    """What the structure check learns of Granite 3.1 8B FP8."""
    values: dict[str, Any] = {
        "format": "safetensors",
        "files": 6,
        "total_bytes": 8_400_000_000,
        "parameters": 8_170_000_000,
        "weights_bytes": 8_375_000_000,
        "dtypes": {"F8_E4M3": 7_900_000_000, "BF16": 270_000_000},
        "config": config(),
    }
    return ArtifactSummary(**(values | changes))


def record(**changes: Any) -> ArtifactRecord:
    """A verified artifact."""
    values: dict[str, Any] = {
        "outcome": "Verified",
        "fingerprint": "f" * 64,
        "digest": DIGEST,
        "verified_at": NOW - timedelta(minutes=1),
        "summary": summary(),
    }
    return ArtifactRecord(**(values | changes))


def row(**changes: Any) -> VersionRecord:
    """The row of the version, verified and ready."""
    values: dict[str, Any] = {
        "id": 7,
        "model_id": 3,
        "model": "granite",
        "version": "1",
        "namespace": "team",
        "object_name": "granite-1",
        "uid": "v-1",
        "uri": URI,
        "state": "LIVE",
        "phase": "Ready to Deploy",
        "digest": DIGEST,
        "hardware_profile": "nvidia-l4",
        "artifact": record(),
        "spec": "{}",
        "governance": '{"approvals":{},"clearedFor":["staging","production"],"evaluations":{},'
        '"held":{"licenses":[],"policies":{},"riskTier":"Low"},"policies":{}}',
    }
    return VersionRecord(**(values | changes))


def facts(**changes: Any) -> Facts:
    """Everything in place and verified; nothing recorded yet."""
    values: dict[str, Any] = {
        "now": NOW,
        "version": version(),
        "spec_json": "{}",
        "model": model(),
        "registry": registry(),
        "profile": profile(),
        "artifact": record(),
    }
    return Facts(**(values | changes))
