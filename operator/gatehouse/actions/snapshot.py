"""The objects that policies are evaluated with, from the cluster or from the output of ``kubectl get -o json``."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from gatehouse.actions.objects import listed, listed_if_allowed
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.meta import Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common import bounded_json, bounded_yaml
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.errors import Refused

__all__ = ["Estate", "estate_of_file", "policies_of_file", "read_estate"]

_LARGEST_POLICY: Final = 1_048_576
_LARGEST_ESTATE: Final = 268_435_456
_MOST_ITEMS: Final = 20_000_000

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """Objects by their kinds. ``namespaces`` has the labels of each known namespace.

    ``missing`` names the kinds that could not be read, and are therefore not evaluated.
    """

    versions: Sequence[ModelVersion] = ()
    models: Sequence[RegisteredModel] = ()
    registries: Sequence[ModelRegistry] = ()
    policies: Sequence[GovernancePolicy] = ()
    evaluations: Sequence[ModelEvaluation] = ()
    approvals: Sequence[ModelApproval] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


async def read_estate(api: ApiClient) -> Estate:
    """The objects that the person may read. Raises ClusterError if the person may not even read the versions."""
    versions, models, registries, policies, evaluations, approvals = await asyncio.gather(
        listed(api, ModelVersion),
        listed(api, RegisteredModel),
        listed_if_allowed(api, ModelRegistry),
        listed_if_allowed(api, GovernancePolicy),
        listed_if_allowed(api, ModelEvaluation),
        listed_if_allowed(api, ModelApproval),
    )
    namespaces = await _namespaces(api)
    optional = {
        "modelregistries": registries,
        "governancepolicies": policies,
        "modelevaluations": evaluations,
        "modelapprovals": approvals,
        "namespaces": namespaces,
    }
    return Estate(
        versions=versions,
        models=models,
        registries=registries or (),
        policies=policies or (),
        evaluations=evaluations or (),
        approvals=approvals or (),
        namespaces=namespaces or {},
        missing=tuple(name for name, found in optional.items() if found is None),
    )


async def _namespaces(api: ApiClient) -> Mapping[str, Mapping[str, str]] | None:
    try:
        found = await api.get("namespaces")
    except ApiError as error:
        if error.status == 403:
            return None
        raise
    return _labels(found["items"])


def _labels(bodies: Iterable[Mapping[str, Any]]) -> Mapping[str, Mapping[str, str]]:
    return {body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in bodies}


def policies_of_file(path: Path) -> tuple[GovernancePolicy, ...]:
    """The GovernancePolicies of a YAML file. Raises Refused for a file without policies, or with other kinds."""
    documents = [each for each in _documents(path, largest=_LARGEST_POLICY) if each is not None]
    bodies = list(_objects(path, documents))
    strange = next((body for body in bodies if body.get("kind") != GovernancePolicy.info.kind), None)
    if strange is not None or not bodies:
        found = f"a {shown(strange.get('kind'))}" if strange is not None else "nothing"
        raise Refused(f"{path} holds {found}; expected: GovernancePolicies")
    return tuple(_parsed(path, GovernancePolicy, body) for body in bodies)


def estate_of_file(path: Path) -> Estate:
    """The objects of a file, as ``kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json`` prints them.

    Ignores other kinds. Raises Refused for an unreadable file, and for a file without ModelVersions.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for body in _objects(path, _documents(path, largest=_LARGEST_ESTATE)):
        by_kind[str(body.get("kind"))].append(body)

    def every(kind: type[R]) -> tuple[R, ...]:
        return tuple(_parsed(path, kind, body) for body in by_kind[kind.info.kind])

    estate = Estate(
        versions=every(ModelVersion),
        models=every(RegisteredModel),
        registries=every(ModelRegistry),
        policies=every(GovernancePolicy),
        evaluations=every(ModelEvaluation),
        approvals=every(ModelApproval),
        namespaces=_labels(body for body in by_kind["Namespace"] if body.get("metadata", {}).get("name")),
    )
    if not estate.versions:
        raise Refused(
            f"{path} has no ModelVersion; expected: kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json > {path}"
        )
    return estate


def _documents(path: Path, *, largest: int) -> Sequence[Any]:
    """The documents of a file. JSON is parsed as JSON, because the YAML parser takes minutes for a large file."""
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if data.lstrip()[:1] == b"{":
            return [bounded_json.loads(data, what=str(path), max_bytes=largest, max_items=_MOST_ITEMS)]
        return bounded_yaml.load_documents(data, what=str(path), max_bytes=largest)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    except FormatError as error:
        raise Refused(str(error)) from error


def _objects(path: Path, documents: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        for body in items if isinstance(items, list) else [document]:
            if body is None:
                continue
            if not isinstance(body, dict):
                raise Refused(f"{path}: {shown(body)}; expected: Kubernetes objects")
            yield body


def _parsed(path: Path, kind: type[R], body: Mapping[str, Any]) -> R:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        field_name = ".".join(str(part) for part in first["loc"])
        name = body.get("metadata", {}).get("name") if isinstance(body.get("metadata"), dict) else None
        raise Refused(f"{path}: {kind.info.kind} {shown(name)}: {field_name}: {first['msg']}") from error
