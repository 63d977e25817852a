"""The names of the cache's indexes and their values, and the parts of objects that other kinds depend on.

The module of each kind holds the index functions of the kind. Kinds that depend on the same part of an object share
the function of that part, so that the informer computes its digest once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gatehouse.api.wire import WireObject, WireVersion

__all__ = [
    "BY_BUCKET",
    "BY_CLAIM",
    "BY_DEPLOYED",
    "BY_DIGEST",
    "BY_HOSTNAME",
    "BY_MODEL",
    "BY_NAMESPACE",
    "BY_OWNER",
    "BY_PHASE",
    "BY_POLICY",
    "BY_PROFILE",
    "BY_REFUSED_AT",
    "BY_REFUSED_DIGEST",
    "BY_REGISTERED",
    "BY_REGISTRY",
    "BY_SERVED",
    "BY_STANDING",
    "BY_STATUS",
    "BY_UNCLEARED",
    "BY_VERSION",
    "DEFAULT",
    "IS_DEFAULT",
    "RUNNING",
    "claim_key",
    "labels_part",
    "model_key",
    "namespace_of",
    "outcome_part",
    "phase_key",
    "policy_key",
    "registered_key",
    "registry_key",
    "spec_part",
    "version_key",
]

BY_BUCKET: Final = "bucket"
BY_CLAIM: Final = "claim"
BY_DEPLOYED: Final = "deployed"
BY_DIGEST: Final = "digest"
BY_HOSTNAME: Final = "hostname"
BY_MODEL: Final = "model"
BY_PHASE: Final = "phase"
BY_POLICY: Final = "policy"
BY_PROFILE: Final = "profile"
BY_NAMESPACE: Final = "namespace"
BY_OWNER: Final = "owner"
BY_REFUSED_AT: Final = "refused at"
BY_REFUSED_DIGEST: Final = "refused digest"
BY_REGISTERED: Final = "registered"
BY_REGISTRY: Final = "registry"
BY_SERVED: Final = "served"
BY_STANDING: Final = "standing"
BY_STATUS: Final = "status"
BY_UNCLEARED: Final = "uncleared"
BY_VERSION: Final = "version"
DEFAULT: Final = "default"
IS_DEFAULT: Final = "true"
RUNNING: Final = "running"
"""The only value of ``BY_UNCLEARED``: a version runs in a stage for which it is no longer cleared."""


def model_key(namespace: str, model: str) -> str:
    """Value of ``BY_MODEL``."""
    return f"{namespace}/{model}"


def phase_key(namespace: str, model: str, phase: str) -> str:
    """Value of ``BY_PHASE``."""
    return f"{namespace}/{model}/{phase}"


def claim_key(namespace: str, model: str, version: str) -> str:
    """Value of ``BY_CLAIM``: the name of a version in its model, which several objects may claim."""
    return f"{namespace}/{model}/{version}"


def registered_key(registry: str, *, archived: bool) -> str:
    """Value of ``BY_REGISTERED``: the registry that has a row of the object, and whether the row is live."""
    return f"{registry} archived" if archived else registry


def registry_key(namespace: str, name: str) -> str:
    """Value of ``BY_REGISTRY``: the registry that a model names; empty for the default one."""
    return f"{namespace}/{name}"


def version_key(namespace: str, name: str) -> str:
    """Value of ``BY_VERSION``: the ModelVersion that an approval or an evaluation names."""
    return f"{namespace}/{name}"


def policy_key(name: str, *, denies: bool = False) -> str:
    """Value of ``BY_POLICY``: a policy that applies to a version, or one that denies it."""
    return f"{name} denies" if denies else name


def namespace_of(body: WireObject) -> Iterable[str]:
    """Values of ``BY_NAMESPACE``."""
    yield body["metadata"].get("namespace", "")


def spec_part(body: Mapping[str, Any]) -> object:
    """What a person declared."""
    return body["spec"]


def labels_part(body: WireObject) -> object:
    """The labels."""
    return body["metadata"].get("labels")


def outcome_part(body: WireVersion) -> object:
    """The outcome of a version, which other objects count."""
    status = body.get("status") or {}
    return [status.get("phase"), status.get("policies")]
