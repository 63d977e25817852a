"""A registration from flags and from a folder: the manifests to create, and the fields that flags set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from gatehouse.actions.manifests import model_version_manifest, registered_model_manifest
from gatehouse.actions.names import model_object_name, version_object_name
from gatehouse.api.meta import LocalObjectReference
from gatehouse.api.model_version import ModelVersionSpec
from gatehouse.api.registered_model import RegisteredModelSpec
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.hardware.dimensions import dimensions_of, limit_named
from gatehouse.domain.serving.template import JsonObject
from gatehouse.errors import InputInvalid
from gatehouse.upload.model_folder import FolderFacts, quantization_label

__all__ = ["DEFAULT_HARDWARE", "RegistrationRequest", "Wanted", "wanted"]

DEFAULT_HARDWARE: Final = "nvidia-l4"

S = TypeVar("S", bound=BaseModel)

_FLAGS: Final[Mapping[str, str]] = {
    "name": "--version-name",
    "version": "--version",
    "artifact.uri": "--uri",
    "artifact.digest": "--digest",
    "artifact.format": "--format",
    "artifact.quantization": "--quantization",
    "hardwareProfileRef.name": "--hardware",
    "serving.maxModelLen": "--max-model-len",
    "lineage.baseModel": "--base-model",
    "lineage.trainingData": "--dataset",
    "lineage.code.repository": "--code-repository",
    "lineage.code.commit": "--code-commit",
    "lineage.pipelineRun": "--pipeline-run",
    "customProperties": "--property",
    "registryRef.name": "--registry",
    "registryRef.namespace": "--registry",
    "displayName": "--display-name",
    "riskTier": "--risk-tier",
    "tasks": "--task",
    "languages": "--language",
    "owners": "--owner",
    "tags": "--tag",
}
"""Flags by field, where the names differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRequest:
    """``model`` and ``version`` are the parts of the specs that flags set, as Kubernetes JSON.

    ``name`` is the name of the model as the person wrote it. ``version_name`` replaces the derived name of the
    ModelVersion.
    """

    name: str
    model: JsonObject
    version: JsonObject
    namespace: str | None = None
    version_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The manifests of new objects. ``*_flags`` are the fields that change an existing object too."""

    model: JsonObject
    version: JsonObject
    model_flags: JsonObject
    version_flags: JsonObject


def wanted(request: RegistrationRequest, facts: FolderFacts) -> Wanted:
    """Merges flags and folder. Flags take precedence over the folder.

    Raises InputInvalid, which names the flag or the field, the value and what is expected.
    """
    name = model_object_name(request.name)
    named = {} if name == request.name else {"displayName": request.name}
    model_flags = {**named, **request.model}
    version_flags = {"modelRef": {"name": name}, **request.version}
    model_spec = _merged(_model_facts(facts), model_flags)
    version_spec = _merged(_version_facts(facts), version_flags)
    _check_length(version_spec, facts)
    version = _validated(ModelVersionSpec, version_spec)
    version_name = request.version_name or version_object_name(name, version.version)
    return Wanted(
        model=registered_model_manifest(
            name=name, namespace=request.namespace, spec=_validated(RegisteredModelSpec, model_spec)
        ),
        version=model_version_manifest(
            name=_validated(LocalObjectReference, {"name": version_name}).name,
            namespace=request.namespace,
            spec=version,
        ),
        model_flags=model_flags,
        version_flags=version_flags,
    )


def _model_facts(facts: FolderFacts) -> JsonObject:
    card = facts.card
    return _given(license=card.license, tasks=list(card.tasks)[:32], languages=list(card.languages)[:256])


def _version_facts(facts: FolderFacts) -> JsonObject:
    card, config = facts.card, facts.config
    quantization = quantization_label(config.quantization) if config else None
    base = ", ".join(card.base_models)
    return {
        "hardwareProfileRef": {"name": DEFAULT_HARDWARE},
        "runtime": "vLLM",
        "artifact": _given(format=facts.artifact_format, quantization=quantization),
        "lineage": _given(
            baseModel=base if len(base) <= 512 else card.base_models[0], trainingData=list(card.datasets)[:128]
        ),
        "customProperties": _given(library=card.library),
    }


def _given(**fields: Any) -> JsonObject:
    return {name: value for name, value in fields.items() if value}


def _merged(facts: JsonObject, flags: JsonObject) -> dict[str, Any]:
    """Flags over facts, member by member."""
    merged = dict(facts)
    for name, value in flags.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _check_length(spec: Mapping[str, Any], facts: FolderFacts) -> None:
    asked = spec.get("serving", {}).get("maxModelLen")
    most, name = limit_named(dimensions_of(facts.config)) if facts.config else (None, "")
    if asked is not None and most is not None and asked > most:
        raise InputInvalid(f"--max-model-len is {asked}; expected: at most {most}, the model's limit ({name})")


def _validated(kind: type[S], spec: Mapping[str, Any]) -> S:
    try:
        return kind.model_validate(spec)
    except ValidationError as error:
        details: Any = error.errors(include_url=False)[0]
        path = [str(part) for part in details["loc"]]
        field = ".".join(path)
        flag = _FLAGS.get(field) or _FLAGS.get(path[0]) or f"--{field}"
        raise InputInvalid(f"{flag} is {shown(details['input'])}: {details['msg']}") from None
