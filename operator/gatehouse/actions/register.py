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
from gatehouse.actions.registration_request import DesiredManifests
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


async def register(api: ObjectApi, desired: DesiredManifests) -> tuple[RegistrationResult, RegistrationResult]:
    """Writes the model, then the version; both manifests name their namespace.

    Raises ObjectMismatch when the version stands for something else, ApplyRefused when the API server refuses.
    """
    model = await _write(api, declared(desired.model), desired.model_flags)
    version = await _write(api, declared(desired.version), desired.version_flags)
    return model, version


async def register_and_wait(
    api: ObjectApi, desired: DesiredManifests, *, goal: Goal | None, patience: Patience
) -> Sequence[RegistrationResult]:
    """Registers, and waits until both objects reach the goal; without a goal it does not wait.

    Raises NotRegistered when the time is over or a person must act, and as :func:`register`.
    """
    written = await register(api, desired)
    if goal is None:
        return written
    objects = [result.declared for result in written]
    await await_registration(api, objects, goal=goal, manager=FIELD_MANAGER, patience=patience)
    return [replace(result, body=await api.get(*result.declared.key)) for result in written]


async def _write(api: ObjectApi, target: Declared, flags: JsonObject) -> RegistrationResult:
    """Writes one object. Two pipelines that create the same object at once both succeed."""
    for _ in range(_ATTEMPTS):
        try:
            existing = await _read(api, target)
            if existing is not None:
                return await _change(api, target, existing, flags)
            body = await api.create(target.kind.info.plural, target.namespace, target.body)
            return RegistrationResult(declared=target, outcome="created", body=body)
        except ApiError as error:
            if error.status != 409:
                raise ApplyRefused(refusal(error, target)) from error
    raise ApplyRefused(f"{target} changes all the time, because other writers change it; try again")


async def _read(api: ObjectApi, target: Declared) -> dict[str, Any] | None:
    try:
        return await api.get(*target.key)
    except ApiError as error:
        if error.reason == "NotFound" and target.name in error.message:
            return None
        raise


async def _change(api: ObjectApi, target: Declared, existing: JsonObject, flags: JsonObject) -> RegistrationResult:
    resource = target.kind.model_validate(existing)
    change = _changes(resource, existing["spec"], flags)
    if not change:
        return RegistrationResult(declared=target, outcome="unchanged", body=existing)
    body = await api.patch(
        *target.key,
        {"metadata": {"resourceVersion": existing["metadata"]["resourceVersion"]}, "spec": change},
        kind="application/merge-patch+json",
        params={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
    )
    return RegistrationResult(declared=target, outcome="configured", body=body)


def _changes(existing: Resource, spec: JsonObject, flags: JsonObject) -> JsonObject:
    if isinstance(existing, ModelVersion):
        return version_difference(existing, spec, flags)
    if isinstance(existing, RegisteredModel):
        _check_registry(existing, flags)
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


def version_difference(existing: ModelVersion, spec: JsonObject, flags: JsonObject) -> JsonObject:
    """The merge patch that brings a version in line with flags.

    Raises ObjectMismatch when flags name another model, version, artifact or digest.
    """
    artifact = flags.get("artifact", {})
    held = existing.spec.artifact.digest or existing.status.recorded_digest or _found_digest(existing)
    uri = artifact.get("uri", existing.spec.artifact.uri)
    where = f"ModelVersion {existing.metadata.namespace}/{existing.metadata.name}"
    for what, has, wants, remedy in (
        ("of model", existing.spec.model_ref.name, flags["modelRef"]["name"], "choose another --version-name"),
        ("version", existing.spec.version, flags["version"], "choose another --version-name"),
        ("of the artifact", existing.spec.artifact.uri.rstrip("/"), uri.rstrip("/"), "choose another --version"),
        ("of the digest", held, artifact.get("digest", held), "choose another --version"),
    ):
        if has is not None and has != wants:
            raise ObjectMismatch(
                f"{where} is {what} {has}; expected: {wants}. A version never stands for another: {remedy}"
            )
    same = {**flags, "artifact": {**artifact, "uri": existing.spec.artifact.uri}}
    return difference(same, spec)


def _found_digest(existing: ModelVersion) -> str | None:
    return existing.status.artifact.digest if existing.status.artifact else None


def _check_registry(existing: RegisteredModel, flags: JsonObject) -> None:
    asked = flags.get("registryRef")
    if asked is None:
        return
    home, has = existing.metadata.namespace, existing.spec.registry_ref
    named = f"{asked.get('namespace', home)}/{asked['name']}"
    there = f"{has.namespace or home}/{has.name}" if has else "the default one"
    if named != there:
        raise ObjectMismatch(
            f"RegisteredModel {home}/{existing.metadata.name} is in the registry {there}; expected: {named}. "
            "Rows do not move: leave --registry out, or choose another name for the model"
        )
