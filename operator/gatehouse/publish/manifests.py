"""Manifests of models and versions as data and as YAML, with nothing in them but what was set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gatehouse.api.meta import GROUP, VERSION, Resource, Struct
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.api.registered_model import RegisteredModel, RegisteredModelSpec
from gatehouse.domain.serving import JsonObject
from gatehouse.domain.serving_text import to_yaml

__all__ = ["manifests_yaml", "model_version_manifest", "registered_model_manifest", "spec_wire"]


def registered_model_manifest(*, name: str, spec: RegisteredModelSpec, namespace: str | None = None) -> JsonObject:
    """A RegisteredModel. Without a namespace it goes where it is applied."""
    return _manifest(RegisteredModel, name=name, namespace=namespace, spec=spec)


def model_version_manifest(*, name: str, spec: ModelVersionSpec, namespace: str | None = None) -> JsonObject:
    """A ModelVersion. Without a namespace it goes where it is applied."""
    return _manifest(ModelVersion, name=name, namespace=namespace, spec=spec)


def manifests_yaml(manifests: Iterable[JsonObject]) -> str:
    """The manifests as YAML documents, for ``kubectl apply -f -`` or a Git repository."""
    return "---\n".join(to_yaml(manifest) for manifest in manifests)


def spec_wire(spec: Struct) -> dict[str, Any]:
    """The fields that were set, as Kubernetes JSON: defaults, None and what is empty are left out."""
    return _without_empty(spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True))


def _manifest(kind: type[Resource], *, name: str, namespace: str | None, spec: Struct) -> JsonObject:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind.info.kind,
        "metadata": metadata,
        "spec": spec_wire(spec),
    }


def _without_empty(value: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: _without_empty(each) if isinstance(each, Mapping) else each for key, each in value.items()}
    return {key: each for key, each in kept.items() if each not in ({}, [])}
