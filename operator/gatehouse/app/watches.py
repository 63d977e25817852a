"""The watched kinds, and the objects to reconcile when an object of a kind changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import GROUP, VERSION, Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.controllers.indexes import (
    BY_BUCKET,
    BY_CLAIM,
    BY_MODEL,
    BY_NAMESPACE,
    BY_PROFILE,
    BY_REGISTRY,
    JUDGED_INDEXES,
    MODEL_INDEXES,
    REGISTRY_INDEXES,
    VERSION_INDEXES,
    claim_key,
    model_key,
    registry_key,
)
from gatehouse.controllers.vetted_artifacts import EVERY
from gatehouse.domain.common.locations import locate
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import Body, Gvr, ObjectKey
from gatehouse.runtime.watches import Watch

__all__ = ["WATCHES"]

VERSIONS: Final = ModelVersion.info.plural
MODELS: Final = RegisteredModel.info.plural
REGISTRIES: Final = ModelRegistry.info.plural
POLICIES: Final = GovernancePolicy.info.plural
PROFILES: Final = HardwareProfile.info.plural
SUMMARY_SETTLE: Final = 1.0
"""Seconds without a change of any version, after which models, profiles and registries count their versions once."""


def _resource(kind: type[Resource]) -> Gvr:
    return Gvr(GROUP, VERSION, kind.info.plural, kind.info.namespaced)


def _status(body: Body) -> Body:
    status: Body = body.get("status") or {}
    return status


def _ready(body: Body) -> str:
    conditions = _status(body).get("conditions") or ()
    return next((str(condition["status"]) for condition in conditions if condition["type"] == "Ready"), "Unknown")


def _versions_of_models(models: Iterable[ObjectKey], caches: Caches) -> Iterable[ObjectKey]:
    for model in models:
        yield model
        yield from caches.select(VERSIONS, BY_MODEL, model_key(model.namespace, model.name))


def _registry_dependents(body: Body, caches: Caches) -> Iterable[ObjectKey]:
    metadata = body["metadata"]
    named = caches.select(MODELS, BY_REGISTRY, registry_key(metadata["namespace"], metadata["name"]))
    yield from _versions_of_models([*named, *caches.select(MODELS, BY_REGISTRY, "")], caches)
    for bucket in {locate(store["uriPrefix"]).bucket for store in body["spec"].get("objectStores") or ()}:
        for other in caches.select(REGISTRIES, BY_BUCKET, bucket):
            if (other.namespace, other.name) != (metadata["namespace"], metadata["name"]):
                yield other
                yield from _versions_of_models(
                    caches.select(MODELS, BY_REGISTRY, registry_key(other.namespace, other.name)), caches
                )


def _model_dependents(body: Body, caches: Caches) -> Iterable[ObjectKey]:
    metadata = body["metadata"]
    return caches.select(VERSIONS, BY_MODEL, model_key(metadata["namespace"], metadata["name"]))


def _profile_dependents(body: Body, caches: Caches) -> Iterable[ObjectKey]:
    return caches.select(VERSIONS, BY_PROFILE, body["metadata"]["name"])


def _namespace_dependents(body: Body, caches: Caches) -> Iterable[ObjectKey]:
    namespace = body["metadata"]["name"]
    yield from caches.select(MODELS, BY_NAMESPACE, namespace)
    yield from caches.select(VERSIONS, BY_NAMESPACE, namespace)


def _summaries(body: Body, caches: Caches) -> Iterable[ObjectKey]:  # noqa: ARG001 - the engine's signature
    """The objects that count a version."""
    spec = body["spec"]
    yield ObjectKey(MODELS, body["metadata"]["namespace"], spec["modelRef"]["name"])
    yield ObjectKey(PROFILES, "", spec["hardwareProfileRef"]["name"])
    for policy in _status(body).get("policies") or ():
        yield ObjectKey(POLICIES, "", policy["name"])
    namespace, _, name = str(_status(body).get("registry") or "").partition("/")
    if name:
        yield ObjectKey(REGISTRIES, namespace, name)


def _everything_judged(body: Body, caches: Caches) -> Iterable[ObjectKey]:  # noqa: ARG001 - the engine's signature
    """Every version, and every model, whose row keeps the requirements for its versions."""
    return (*caches[MODELS].keys(), *caches[VERSIONS].keys())


def _judged_version(body: Body, caches: Caches) -> Iterable[ObjectKey]:  # noqa: ARG001 - the engine's signature
    yield ObjectKey(VERSIONS, body["metadata"]["namespace"], body["spec"]["versionRef"]["name"])


def _rivals(body: Body, caches: Caches) -> Iterable[ObjectKey]:
    """Versions that claim the same name in the same model: one may take the name when another releases it."""
    spec, metadata = body["spec"], body["metadata"]
    claim = claim_key(metadata["namespace"], spec["modelRef"]["name"], spec["version"])
    for key in caches.select(VERSIONS, BY_CLAIM, claim):
        if key.name != metadata["name"]:
            yield key


def _version_dependents(body: Body, caches: Caches) -> Iterable[ObjectKey]:
    yield from _summaries(body, caches)
    yield from _rivals(body, caches)


WATCHES: Final = (
    Watch(
        resource=Gvr("", "v1", "namespaces", namespaced=False),
        reconciled=False,
        relevant=lambda body: body["metadata"].get("labels"),
        fan_out=_namespace_dependents,
    ),
    Watch(resource=_resource(HardwareProfile), relevant=lambda body: body["spec"], fan_out=_profile_dependents),
    Watch(
        resource=_resource(ModelRegistry),
        indexes=REGISTRY_INDEXES,
        relevant=lambda body: [body["spec"], body["metadata"].get("annotations"), _ready(body)],
        fan_out=_registry_dependents,
    ),
    Watch(
        resource=_resource(GovernancePolicy),
        relevant=lambda body: body["spec"],
        fan_out=_everything_judged,
    ),
    Watch(
        resource=_resource(ModelApproval),
        indexes=JUDGED_INDEXES,
        reconciled=False,
        relevant=lambda body: body["spec"],
        fan_out=_judged_version,
    ),
    Watch(
        resource=_resource(ModelEvaluation),
        indexes=JUDGED_INDEXES,
        reconciled=False,
        relevant=lambda body: body["spec"],
        fan_out=_judged_version,
    ),
    Watch(resource=_resource(VettedArtifacts), together=EVERY),
    Watch(
        resource=_resource(RegisteredModel),
        indexes=MODEL_INDEXES,
        relevant=lambda body: [body["spec"], body["metadata"].get("labels")],
        fan_out=_model_dependents,
    ),
    Watch(
        resource=_resource(ModelVersion),
        indexes=VERSION_INDEXES,
        relevant=lambda body: [_status(body).get("phase"), _status(body).get("policies")],
        fan_out=_version_dependents,
        settle=SUMMARY_SETTLE,
    ),
)
