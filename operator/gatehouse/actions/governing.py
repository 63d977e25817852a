"""Makes an entry of a REST client governed: the RegisteredModel and the ModelVersion that stand for the entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import ValidationError

from gatehouse.actions.apply import ObjectApi
from gatehouse.actions.manifests import model_version_manifest, registered_model_manifest
from gatehouse.actions.names import version_object_name
from gatehouse.api.meta import ANNOTATION_TRACEPARENT
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.api.registered_model import RegisteredModel, RegisteredModelSpec
from gatehouse.cluster.client import ApiError
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.entries.entry import Entry, NewEntry
from gatehouse.domain.entries.governed_properties import HARDWARE_PROFILE, RUNTIME
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.serving.template import JsonObject
from gatehouse.errors import InputInvalid, ObjectMismatch

__all__ = ["GovernedManifests", "create_governed", "governed_manifests"]

_MODEL_FIELDS: Final[Mapping[str, str]] = {
    "description": "description",
    "provider": "provider",
    "license": "license",
    "tasks": "tasks",
    "language": "languages",
}
"""Members of a client's model that the spec of a RegisteredModel has too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernedManifests:
    """The two objects of a governed version."""

    model: JsonObject
    version: JsonObject


def governed_manifests(
    *,
    registry: ModelRegistry,
    model: Entry,
    version: Entry,
    artifact: NewEntry,
    submitted_by: str,
    traceparent: str = "",
) -> GovernedManifests:
    """The objects that stand for a version.

    The names of the objects are the keys of the entries, so that the operator takes over their rows with their ids.
    The hardware profile and the runtime come from custom properties of the artifact, the version or the model, or from
    the registry's defaults. A format that the kind does not know, as ``pytorch`` or ``vLLM``, is left to the default:
    Gatehouse verifies the files, whatever a client calls their format.
    With ``traceparent`` the first reconciles of the objects continue a trace.

    Raises InputInvalid, which names the member, what was found and what is expected.
    """
    defaults = registry.spec.defaults
    requests = {**model.properties, **version.properties, **artifact.properties}
    profile = _text(requests, HARDWARE_PROFILE) or defaults.hardware_profile_ref
    if profile is None:
        raise InputInvalid(
            f"the version names no hardware profile; expected: the custom property {HARDWARE_PROFILE}, or "
            "spec.defaults.hardwareProfileRef of the ModelRegistry"
        )
    spec: dict[str, Any] = {
        "modelRef": {"name": version.parent_key},
        "version": version.key,
        "submittedBy": submitted_by,
        "artifact": {
            "uri": artifact.members["uri"],
            **_given(format=_format(artifact.members.get("modelFormatName"))),
        },
        "hardwareProfileRef": {"name": profile},
        **_given(runtime=_text(requests, RUNTIME) or defaults.runtime, description=version.members.get("description")),
    }
    manifests = GovernedManifests(
        model=registered_model_manifest(name=model.key, namespace=model.namespace, spec=_model_spec(registry, model)),
        version=model_version_manifest(
            name=version_object_name(version.parent_key, version.key),
            namespace=version.namespace,
            spec=_validated_version(spec),
        ),
    )
    if traceparent:
        for manifest in (manifests.model, manifests.version):
            manifest["metadata"]["annotations"] = {ANNOTATION_TRACEPARENT: traceparent}
    return manifests


async def create_governed(api: ObjectApi, manifests: GovernedManifests) -> None:
    """Creates the objects that do not exist. An existing model stays as it is.

    Raises ObjectMismatch when a ModelVersion of the name stands for something else, and ClusterError when the API
    server refuses.
    """
    await _created(api, RegisteredModel.info.plural, manifests.model)
    there = await _created(api, ModelVersion.info.plural, manifests.version)
    if there is None:
        return
    asked, has = manifests.version["spec"], there.get("spec", {})
    for found, expected in (
        (has.get("artifact", {}).get("uri", "").rstrip("/"), asked["artifact"]["uri"].rstrip("/")),
        (has.get("version"), asked["version"]),
        (has.get("modelRef", {}).get("name"), asked["modelRef"]["name"]),
    ):
        if found != expected:
            metadata = there["metadata"]
            raise ObjectMismatch(
                f"ModelVersion {metadata['namespace']}/{metadata['name']} exists and stands for {found}; expected: "
                f"{expected}. A version never stands for another: register another version"
            )


async def _created(api: ObjectApi, plural: str, body: JsonObject) -> Mapping[str, Any] | None:
    """Creates an object; returns the object that was there before, or None."""
    metadata = body["metadata"]
    try:
        await api.create(plural, metadata["namespace"], body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        return await api.get(plural, metadata["namespace"], metadata["name"])
    return None


def _model_spec(registry: ModelRegistry, model: Entry) -> RegisteredModelSpec:
    """The spec with what the client wrote and the kind accepts. The entry keeps everything word for word."""
    known = {field: model.members.get(member) for member, field in _MODEL_FIELDS.items()}
    fields = _given(**known, displayName=model.name if model.name != model.key else None)
    reference = {"name": registry.metadata.name, "namespace": registry.metadata.namespace}
    while True:
        try:
            return RegisteredModelSpec.model_validate({"registryRef": reference, **fields})
        except ValidationError as error:
            wrong = {str(problem["loc"][0]) for problem in error.errors(include_url=False, include_input=False)}
            if not wrong & fields.keys():
                raise
            fields = {name: value for name, value in fields.items() if name not in wrong}


def _validated_version(spec: Mapping[str, Any]) -> ModelVersionSpec:
    try:
        return ModelVersionSpec.model_validate(spec)
    except ValidationError as error:
        details: Any = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in details["loc"])
        raise InputInvalid(
            f"the version cannot be governed: {field} is {shown(details['input'])}: {details['msg']}"
        ) from None


def _format(name: object) -> ArtifactFormat | None:
    """The format that a client means, in any case; None for a name that is no format."""
    return next((known for known in get_args(ArtifactFormat) if str(name).lower() == known), None)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _text(properties: Mapping[str, Any], name: str) -> str | None:
    found = properties.get(name)
    return str(found.value) if found is not None and found.type == "string" and found.value else None
