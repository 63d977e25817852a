"""Registers one version: creates a missing model, and changes existing objects only where flags say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from gatehouse.actions.apply import ObjectApi, refusal
from gatehouse.actions.manifests import Declared, declared
from gatehouse.actions.polling import Patience
from gatehouse.actions.readiness import Goal
from gatehouse.actions.registration import await_registration
from gatehouse.actions.registration_request import Wanted
from gatehouse.api.meta import Resource
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiError
from gatehouse.domain.serving.template import JsonObject
from gatehouse.errors import ApplyRefused, ObjectMismatch

__all__ = [
    "FIELD_MANAGER",
    "Outcome",
    "RegistrationResult",
    "difference",
    "register",
    "register_and_wait",
    "version_difference",
]

FIELD_MANAGER: Final = "gatehouse-register"
_ATTEMPTS: Final = 3

Outcome = Literal["created", "configured", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationResult:
    """An object as it is in the cluster now, and what the registration did."""

    declared: Declared
    outcome: Outcome
    body: JsonObject


async def register(api: ObjectApi, wanted: Wanted) -> tuple[RegistrationResult, RegistrationResult]:
    """Writes the model, then the version; both manifests name their namespace.

    Raises ObjectMismatch when the version stands for something else, ApplyRefused when the API server refuses.
    """
    model = await _write(api, declared(wanted.model), wanted.model_flags)
    version = await _write(api, declared(wanted.version), wanted.version_flags)
    return model, version


async def register_and_wait(
    api: ObjectApi, wanted: Wanted, *, goal: Goal | None, patience: Patience
) -> Sequence[RegistrationResult]:
    """Registers, and waits until both objects reach the goal; without a goal it does not wait.

    Raises NotRegistered when the time is over or a person must act, and as :func:`register`.
    """
    written = await register(api, wanted)
    if goal is None:
        return written
    objects = [result.declared for result in written]
    await await_registration(api, objects, goal=goal, manager=FIELD_MANAGER, patience=patience)
    return [replace(result, body=await api.get(*result.declared.key)) for result in written]


async def _write(api: ObjectApi, wanted: Declared, flags: JsonObject) -> RegistrationResult:
    """Writes one object. Two pipelines that create the same object at once both succeed."""
    for _ in range(_ATTEMPTS):
        try:
            found = await _read(api, wanted)
            if found is not None:
                return await _change(api, wanted, found, flags)
            body = await api.create(wanted.kind.info.plural, wanted.namespace, wanted.body)
            return RegistrationResult(declared=wanted, outcome="created", body=body)
        except ApiError as error:
            if error.status != 409:
                raise ApplyRefused(refusal(error, wanted)) from error
    raise ApplyRefused(f"{wanted} is changed by other writers all the time; try again")


async def _read(api: ObjectApi, wanted: Declared) -> dict[str, Any] | None:
    try:
        return await api.get(*wanted.key)
    except ApiError as error:
        if error.reason == "NotFound" and wanted.name in error.message:
            return None
        raise


async def _change(api: ObjectApi, wanted: Declared, found: JsonObject, flags: JsonObject) -> RegistrationResult:
    resource = wanted.kind.model_validate(found)
    change = _changes(resource, found["spec"], flags)
    if not change:
        return RegistrationResult(declared=wanted, outcome="unchanged", body=found)
    body = await api.patch(
        *wanted.key,
        {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": change},
        kind="application/merge-patch+json",
        params={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
    )
    return RegistrationResult(declared=wanted, outcome="configured", body=body)


def _changes(found: Resource, spec: JsonObject, flags: JsonObject) -> JsonObject:
    if isinstance(found, ModelVersion):
        return version_difference(found, spec, flags)
    if isinstance(found, RegisteredModel):
        _check_registry(found, flags)
        flags = {name: value for name, value in flags.items() if name != "registryRef"}
    return difference(flags, spec)


def difference(flags: JsonObject, spec: JsonObject) -> dict[str, Any]:
    """The members of ``flags`` that ``spec`` lacks or has with other values, as a merge patch."""
    changed: dict[str, Any] = {}
    for name, value in flags.items():
        there = spec.get(name)
        if isinstance(value, Mapping):
            below = difference(value, there if isinstance(there, Mapping) else {})
            if below:
                changed[name] = below
        elif value != there:
            changed[name] = value
    return changed


def version_difference(found: ModelVersion, spec: JsonObject, flags: JsonObject) -> JsonObject:
    """The merge patch that brings a version in line with flags.

    Raises ObjectMismatch when flags name another model, version, artifact or digest.
    """
    artifact = flags.get("artifact", {})
    held = found.spec.artifact.digest or found.status.recorded_digest or _found_digest(found)
    uri = artifact.get("uri", found.spec.artifact.uri)
    where = f"ModelVersion {found.metadata.namespace}/{found.metadata.name}"
    for what, has, wants, remedy in (
        ("of model", found.spec.model_ref.name, flags["modelRef"]["name"], "choose another --version-name"),
        ("version", found.spec.version, flags["version"], "choose another --version-name"),
        ("of the artifact", found.spec.artifact.uri.rstrip("/"), uri.rstrip("/"), "choose another --version"),
        ("of the digest", held, artifact.get("digest", held), "choose another --version"),
    ):
        if has is not None and has != wants:
            raise ObjectMismatch(
                f"{where} is {what} {has}; expected: {wants}. What a version stands for never changes: {remedy}"
            )
    same = {**flags, "artifact": {**artifact, "uri": found.spec.artifact.uri}}
    return difference(same, spec)


def _found_digest(found: ModelVersion) -> str | None:
    return found.status.artifact.digest if found.status.artifact else None


def _check_registry(found: RegisteredModel, flags: JsonObject) -> None:
    asked = flags.get("registryRef")
    if asked is None:
        return
    home, has = found.metadata.namespace, found.spec.registry_ref
    wanted = f"{asked.get('namespace', home)}/{asked['name']}"
    there = f"{has.namespace or home}/{has.name}" if has else "the default one"
    if wanted != there:
        raise ObjectMismatch(
            f"RegisteredModel {home}/{found.metadata.name} is in the registry {there}; expected: {wanted}. "
            "Rows do not move: leave --registry out, or choose another name for the model"
        )
