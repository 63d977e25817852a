"""What is served of a version, as one digest: the bytes, and how the runtime is started with them.

An approval is of both. The same weights with other arguments, variables or hardware are another thing to approve.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from gatehouse.api.model_version import ModelVersionSpec

__all__ = ["served_digest"]


def served_digest(spec: ModelVersionSpec, digest: str | None) -> str | None:
    """SHA-256 over canonical JSON of the artifact's digest and everything in the spec that a template is made from.

    Defaults are left out, so that a field that a later Gatehouse adds changes nothing; variables are sorted by name, as
    Kubernetes keeps them by name. None while the artifact has no digest.
    """
    if digest is None:
        return None
    serving: dict[str, Any] = spec.serving.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    if "env" in serving:
        serving["env"] = sorted(serving["env"], key=lambda each: str(each["name"]))
    served = {
        "artifact": digest,
        "hardwareProfile": spec.hardware_profile_ref.name,
        "runtime": spec.runtime,
        "serving": serving,
    }
    return f"sha256:{hashlib.sha256(orjson.dumps(served, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
