"""Reverse maps from the names in an object to the object, as functions of its body. The cache keeps them up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gatehouse.api.meta import ANNOTATION_DEFAULT_REGISTRY
from gatehouse.domain.admission.contest import folders_above, standing_of
from gatehouse.domain.common.locations import folder_of, locate

__all__ = [
    "BY_BUCKET",
    "BY_CLAIM",
    "BY_DIGEST",
    "BY_MODEL",
    "BY_NAMESPACE",
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
    "JUDGED_INDEXES",
    "MODEL_INDEXES",
    "REGISTRY_INDEXES",
    "RUNNING",
    "VERSION_INDEXES",
    "claim_key",
    "model_key",
    "phase_key",
    "policy_key",
    "registered_key",
    "registry_key",
    "version_key",
]

Body = Mapping[str, Any]
Index = Callable[[Any], Iterable[str]]

BY_BUCKET: Final = "bucket"
BY_CLAIM: Final = "claim"
BY_DIGEST: Final = "digest"
BY_MODEL: Final = "model"
BY_PHASE: Final = "phase"
BY_POLICY: Final = "policy"
BY_PROFILE: Final = "profile"
BY_NAMESPACE: Final = "namespace"
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


def _namespace(body: Body) -> Iterable[str]:
    yield body["metadata"].get("namespace", "")


def _version_model(body: Body) -> Iterable[str]:
    yield model_key(body["metadata"]["namespace"], body["spec"]["modelRef"]["name"])


def _version_phase(body: Body) -> Iterable[str]:
    phase = (body.get("status") or {}).get("phase")
    if phase:
        yield phase_key(body["metadata"]["namespace"], body["spec"]["modelRef"]["name"], phase)


def _version_status(body: Body) -> Iterable[str]:
    phase = (body.get("status") or {}).get("phase")
    if phase:
        yield phase


def _version_uncleared(body: Body) -> Iterable[str]:
    status = body.get("status") or {}
    if not set(status.get("deployedTo") or ()) <= set(status.get("clearedFor") or ()):
        yield RUNNING


def _version_claim(body: Body) -> Iterable[str]:
    yield claim_key(body["metadata"]["namespace"], body["spec"]["modelRef"]["name"], body["spec"]["version"])


def _version_registered(body: Body) -> Iterable[str]:
    status = body.get("status") or {}
    if status.get("registry") and status.get("registryId"):
        yield registered_key(status["registry"], archived=status.get("phase") == "Archived")


def _model_registered(body: Body) -> Iterable[str]:
    status = body.get("status") or {}
    if status.get("registry") and status.get("registryId"):
        yield registered_key(status["registry"], archived=body["spec"].get("state") == "Archived")


def _version_policies(body: Body) -> Iterable[str]:
    for each in (body.get("status") or {}).get("policies") or ():
        yield policy_key(each["name"])
        if each["outcome"] == "Denies":
            yield policy_key(each["name"], denies=True)


def _version_served(body: Body) -> Iterable[str]:
    yield folder_of(body["spec"]["artifact"]["uri"])


def _version_standing(body: Body) -> Iterable[str]:
    standing = standing_of(body)
    if standing is not None:
        yield standing.packed()


def _version_digest(body: Body) -> Iterable[str]:
    status = body.get("status") or {}
    digest = status.get("recordedDigest") or (status.get("artifact") or {}).get("digest")
    if digest:
        yield digest


def _version_refused_at(body: Body) -> Iterable[str]:
    """The version's folder and the folders above it: a server that loads one of these loads the refused files."""
    if (body.get("status") or {}).get("refusals"):
        uri = folder_of(body["spec"]["artifact"]["uri"])
        yield uri
        yield from folders_above(uri)


def _version_refused_digest(body: Body) -> Iterable[str]:
    if (body.get("status") or {}).get("refusals"):
        yield from _version_digest(body)


def _judged_version(body: Body) -> Iterable[str]:
    yield version_key(body["metadata"]["namespace"], body["spec"]["versionRef"]["name"])


def _version_profile(body: Body) -> Iterable[str]:
    yield body["spec"]["hardwareProfileRef"]["name"]


def _model_registry(body: Body) -> Iterable[str]:
    reference = body["spec"].get("registryRef")
    if reference is None:
        yield ""
    else:
        yield registry_key(reference.get("namespace") or body["metadata"]["namespace"], reference["name"])


def _registry_buckets(body: Body) -> Iterable[str]:
    for store in (body.get("spec") or {}).get("objectStores") or ():
        yield locate(store["uriPrefix"]).bucket


def _registry_default(body: Body) -> Iterable[str]:
    if (body["metadata"].get("annotations") or {}).get(ANNOTATION_DEFAULT_REGISTRY) == IS_DEFAULT:
        yield IS_DEFAULT


VERSION_INDEXES: Final[Mapping[str, Index]] = {
    BY_MODEL: _version_model,
    BY_PHASE: _version_phase,
    BY_STATUS: _version_status,
    BY_UNCLEARED: _version_uncleared,
    BY_CLAIM: _version_claim,
    BY_PROFILE: _version_profile,
    BY_REGISTERED: _version_registered,
    BY_NAMESPACE: _namespace,
    BY_POLICY: _version_policies,
    BY_SERVED: _version_served,
    BY_STANDING: _version_standing,
    BY_DIGEST: _version_digest,
    BY_REFUSED_AT: _version_refused_at,
    BY_REFUSED_DIGEST: _version_refused_digest,
}
MODEL_INDEXES: Final[Mapping[str, Index]] = {
    BY_REGISTRY: _model_registry,
    BY_REGISTERED: _model_registered,
    BY_NAMESPACE: _namespace,
}
REGISTRY_INDEXES: Final[Mapping[str, Index]] = {DEFAULT: _registry_default, BY_BUCKET: _registry_buckets}
JUDGED_INDEXES: Final[Mapping[str, Index]] = {BY_VERSION: _judged_version}
"""Indexes of approvals and evaluations."""
