"""Reads the objects about a version, as far as the caller may read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from gatehouse.actions.objects import ObjectSource, listed_if_allowed, parsed
from gatehouse.actions.snapshot import Snapshot
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiError
from gatehouse.domain.serving.template import INFERENCE_SERVICE_KEY, SERVING_RUNTIME_KEY, read_template
from gatehouse.evidence.model import ClusterObjects

__all__ = ["read_declared", "read_version"]

R = TypeVar("R", bound=Resource)

_NOT_FOR_OTHERS = frozenset({"managedFields", "selfLink"})
_GONE = 404
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def read_version(objects: ObjectSource, namespace: str, name: str) -> Mapping[str, Any] | None:
    """The version's body; None when it is gone. Raises ClusterError."""
    try:
        return await objects.get(ModelVersion.info.plural, namespace, name)
    except ApiError as error:
        if error.status != _GONE:
            raise
        return None


async def read_declared(objects: ObjectSource, version: ModelVersion, body: Mapping[str, Any] | None) -> ClusterObjects:
    """The objects of a version; ``body`` is None for a deleted version. Raises ClusterError, and Refused as read does.

    A note names each object that is missing or that the caller may not read.
    """
    reader = _Reader(objects)
    namespace, name = version.metadata.namespace, version.metadata.name
    if body is None:
        reader.notes.append(f"ModelVersion {name} does not exist in the cluster: version.json has what its row keeps")
    reader.bodies["version.json"] = version.wire() if body is None else _plain(body)
    spec, status = version.spec, version.status
    registry_namespace, _, registry_name = (status.registry or "").partition("/")
    model = await reader.one(RegisteredModel, namespace, spec.model_ref.name, file="model.json")
    registry = await reader.one(ModelRegistry, registry_namespace, registry_name, file="registry.json")
    profile = await reader.one(HardwareProfile, "", spec.hardware_profile_ref.name, file="hardware-profile.json")
    snapshot = Snapshot(
        versions=[version],
        models=[model] if model else [],
        registries=[registry] if registry else [],
        evaluations=await reader.all(ModelEvaluation, namespace),
        approvals=await reader.all(ModelApproval, namespace),
        policies=[
            policy
            for outcome in status.policies
            if (policy := await reader.one(GovernancePolicy, "", outcome.name, file=f"policies/{outcome.name}.json"))
        ],
    )
    return ClusterObjects(
        version=version,
        snapshot=snapshot,
        profile=profile,
        template=await reader.template(version),
        bodies=reader.bodies,
        notes=reader.notes,
    )


class _Reader:
    def __init__(self, objects: ObjectSource) -> None:
        self._objects = objects
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.notes: list[str] = []

    async def one(self, kind: type[R], namespace: str, name: str, *, file: str) -> R | None:
        """An object, whose body is kept; None with a note when the object is missing or not readable."""
        if not name:
            return None
        try:
            body = await self._objects.get(kind.info.plural, namespace, name)
        except ApiError as error:
            if error.status not in {403, 404}:
                raise
            self.notes.append(f"{kind.info.kind} {name} is left out: {error.message}")
            return None
        self.bodies[file] = _plain(body)
        return parsed(kind, body)

    async def all(self, kind: type[R], namespace: str) -> list[R]:
        """Every object of a kind; none, with a note, when the caller may not read them."""
        readable = await listed_if_allowed(self._objects, kind, namespace)
        if readable is None:
            self.notes.append(f"{kind.info.plural} are left out: you cannot read them")
        return readable or []

    async def template(self, version: ModelVersion) -> str | None:
        """The serving template as YAML, if the operator wrote this template."""
        emitted = version.status.template
        if emitted is None:
            return None
        try:
            config_map = await self._objects.get("configmaps", version.metadata.namespace, emitted.name)
            template = read_template(config_map)
        except (ApiError, ValueError) as error:
            self.notes.append(f"the serving template {emitted.name} is left out: {error}")
            return None
        if template.digest != emitted.digest:
            self.notes.append(f"the serving template {emitted.name} is left out: the operator emitted another one")
            return None
        data = config_map["data"]
        return f"{data[SERVING_RUNTIME_KEY]}---\n{data[INFERENCE_SERVICE_KEY]}"


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """An object without its bookkeeping: kubectl's annotation may hold fields that were removed on purpose."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in _NOT_FOR_OTHERS}
    annotations = {key: value for key, value in metadata.pop("annotations", {}).items() if key != _LAST_APPLIED}
    return {**body, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}
