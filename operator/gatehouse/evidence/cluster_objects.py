"""Reads the objects about a version, as far as the caller may read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from gatehouse.actions.objects import listed_if_allowed
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.serving.template import INFERENCE_SERVICE_KEY, SERVING_RUNTIME_KEY, read_template
from gatehouse.evidence.errors import EvidenceError
from gatehouse.evidence.model import DeclaredFacts

__all__ = ["read_declared", "read_version", "version_in"]

R = TypeVar("R", bound=Resource)

_NOT_FOR_OTHERS = frozenset({"managedFields", "selfLink"})
_GONE = 404
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def read_version(api: ApiClient, namespace: str, name: str) -> Mapping[str, Any] | None:
    """The version's body; None when it is gone. Raises ClusterError."""
    try:
        return await api.get(ModelVersion.info.plural, namespace, name)
    except ApiError as error:
        if error.status != _GONE:
            raise
        return None


def version_in(body: Mapping[str, Any]) -> ModelVersion:
    """The version in a body. Raises EvidenceError for a body that is not a valid version."""
    return _parsed(ModelVersion, body)


async def read_declared(api: ApiClient, version: ModelVersion, body: Mapping[str, Any] | None) -> DeclaredFacts:
    """The objects of a version; ``body`` is None for a deleted version. Raises ClusterError, EvidenceError.

    A note names each object that is missing or that the caller may not read.
    """
    reader = _Reader(api)
    namespace, name = version.metadata.namespace, version.metadata.name
    if body is None:
        reader.notes.append(f"ModelVersion {name} is gone from the cluster: version.json is what its row keeps")
    reader.bodies["version.json"] = version.wire() if body is None else _plain(body)
    spec, status = version.spec, version.status
    registry_namespace, _, registry_name = (status.registry or "").partition("/")
    model = await reader.one(RegisteredModel, namespace, spec.model_ref.name, file="model.json")
    registry = await reader.one(ModelRegistry, registry_namespace, registry_name, file="registry.json")
    profile = await reader.one(HardwareProfile, "", spec.hardware_profile_ref.name, file="hardware-profile.json")
    evaluations = await reader.all(ModelEvaluation, namespace)
    approvals = await reader.all(ModelApproval, namespace)
    policies = [
        policy
        for outcome in status.policies
        if (policy := await reader.one(GovernancePolicy, "", outcome.name, file=f"policies/{outcome.name}.json"))
    ]
    return DeclaredFacts(
        version=version,
        model=model,
        registry=registry,
        profile=profile,
        policies=policies,
        evaluations=[each for each in evaluations if each.spec.version_ref.name == name],
        approvals=[each for each in approvals if each.spec.version_ref.name == name],
        template=await reader.template(version),
        bodies=reader.bodies,
        notes=reader.notes,
    )


class _Reader:
    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.notes: list[str] = []

    async def one(self, kind: type[R], namespace: str, name: str, *, file: str) -> R | None:
        """An object, whose body is kept; None with a note when the object is missing or not readable."""
        if not name:
            return None
        try:
            body = await self._api.get(kind.info.plural, namespace, name)
        except ApiError as error:
            if error.status not in {403, 404}:
                raise
            self.notes.append(f"{kind.info.kind} {name} is left out: {error.message}")
            return None
        self.bodies[file] = _plain(body)
        return _parsed(kind, body)

    async def all(self, kind: type[R], namespace: str) -> list[R]:
        """Every object of a kind; none, with a note, when the caller may not read them."""
        found = await listed_if_allowed(self._api, kind, namespace)
        if found is None:
            self.notes.append(f"{kind.info.plural} are left out: they may not be read")
        return found or []

    async def template(self, version: ModelVersion) -> str | None:
        """The serving template as YAML, if the operator wrote this template."""
        emitted = version.status.template
        if emitted is None:
            return None
        try:
            config_map = await self._api.get("configmaps", version.metadata.namespace, emitted.name)
            found = read_template(config_map)
        except (ApiError, ValueError) as error:
            self.notes.append(f"the serving template {emitted.name} is left out: {error}")
            return None
        if found.digest != emitted.digest:
            self.notes.append(f"the serving template {emitted.name} is left out: it is not the one that was emitted")
            return None
        data = config_map["data"]
        return f"{data[SERVING_RUNTIME_KEY]}---\n{data[INFERENCE_SERVICE_KEY]}"


def _parsed(kind: type[R], body: Mapping[str, Any]) -> R:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise EvidenceError(
            f"{kind.info.kind} {body['metadata']['name']} is not what this gatehouse knows: {first['msg']}; "
            "expected: a gatehouse of the version that the cluster runs"
        ) from None


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """An object without its bookkeeping: kubectl's annotation may hold fields that were removed on purpose."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in _NOT_FOR_OTHERS}
    annotations = {key: value for key, value in metadata.pop("annotations", {}).items() if key != _LAST_APPLIED}
    return {**body, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}
