"""What is applied and uploaded: versions of some 6 KB, and artifacts of three small valid files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelfiles import safetensors_frame, safetensors_header

__all__ = ["BUCKET", "NAMESPACE", "PROFILE", "Farm", "artifact", "prefix"]

BUCKET = "models"
NAMESPACE = "bench"
PROFILE = "nvidia-l4"
VERSIONS_A_MODEL = 100
_HIDDEN = 32
_VOCABULARY = 256
_WIDTH = 2
_BASE_MODEL = "example/base"

_CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": _HIDDEN,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def artifact(number: int) -> dict[str, bytes]:
    """config.json of 300 bytes, tokenizer.json of 1 KB, model.safetensors of 10 to 60 KB; each number its own."""
    noise = random.Random(number)
    rows = noise.randrange(10_000, 60_000) // (_HIDDEN * _WIDTH)
    header = safetensors_header({"model.embed_tokens.weight": ("BF16", (rows, _HIDDEN))}, metadata={"format": "pt"})
    return {
        "config.json": json.dumps(_CONFIG).encode(),
        "tokenizer.json": json.dumps({"version": "1.0", "padding": "x" * 970, "number": number}).encode(),
        "model.safetensors": safetensors_frame(json.dumps(header).encode(), noise.randbytes(rows * _HIDDEN * _WIDTH)),
    }


def prefix(number: int) -> str:
    """Where the artifact of a number lies in the bucket."""
    return f"m{number:06}/"


@dataclass(frozen=True, slots=True)
class Farm:
    """``count`` versions in one namespace. Neighbours belong to different models, as in a busy cluster.

    ``plain`` versions say what they are, where their artifact lies and what it is checked against. Of their making they
    name the base model alone, because the default policies require it.
    """

    count: int
    namespace: str = NAMESPACE
    plain: bool = False

    @property
    def models(self) -> int:
        """How many models have the versions."""
        return max(1, self.count // VERSIONS_A_MODEL)

    def registered_models(self) -> Iterator[dict[str, Any]]:
        """Their RegisteredModels."""
        for number in range(self.models):
            yield {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "RegisteredModel",
                "metadata": {"name": self.model(number), "namespace": self.namespace},
                "spec": {"displayName": f"Model {number}", "license": "Apache-2.0", "riskTier": "Low"},
            }

    def model(self, number: int) -> str:
        """The model of a version."""
        return f"{self.namespace}-{number % self.models:04}"

    def version(self, number: int) -> dict[str, Any]:
        """A ModelVersion; with its status and managed fields the API server answers some 7 KB, 4 KB of a plain one."""
        spec = {
            "modelRef": {"name": self.model(number)},
            "version": f"1.0.{number}",
            "artifact": {"uri": f"s3://{BUCKET}/{prefix(number)}", "format": "safetensors"},
            "hardwareProfileRef": {"name": PROFILE},
            "serving": {"maxModelLen": 2048},
            "lineage": {"baseModel": _BASE_MODEL},
        }
        return {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": f"version-{number:06}", "namespace": self.namespace},
            "spec": spec if self.plain else spec | _making(number),
        }


def _making(number: int) -> dict[str, Any]:
    """What a careful team tells of how a version was made."""
    return {
        "description": f"Version {number} of a model that is only there to be counted.",
        "submittedBy": "admin",
        "lineage": {
            "baseModel": _BASE_MODEL,
            "trainingData": [f"s3://datasets/corpus-{part}/" for part in range(4)],
            "code": {"repository": "https://git.example.com/train", "commit": f"{number:040x}"},
            "hyperparameters": {f"parameter_{name}": str(name / 7) for name in range(12)},
            "dependencies": [f"package-{name}==1.{name}.0" for name in range(16)],
        },
        "metrics": {f"metric_{name}": name / 3 for name in range(4)},
    }
