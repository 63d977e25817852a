"""The model that a fit is computed for, from the row or the status of a ModelVersion; and hardware profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse.actions.fit_models import KnownModel, weights_of
from gatehouse.actions.objects import ObjectSource, read
from gatehouse.actions.registry_rows import rows_of
from gatehouse.actions.snapshot import read_registry
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_version import HardwareStatus, ModelVersion
from gatehouse.cluster.client import ApiError
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.hardware.fit import Fit, usable_bytes
from gatehouse.domain.hardware.scenarios import Machine, Scenario
from gatehouse.errors import ActionError, ConditionNotMet
from gatehouse.registry.keys import VersionKey

__all__ = ["VersionOnHardware", "known_version", "read_machines", "read_version_on_hardware"]

_ROW: Final = "--database URL, or GATEHOUSE_DATABASE_URL"
_BY_STATUS: Final = (
    "these rows come from the status of the version. Other profiles, lengths and sizes need its row in the registry's "
    f"database ({_ROW}) or its files (gatehouse fit DIR)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOnHardware:
    """A version, the profiles to compute its fit for, and the image of vLLM that its registry names."""

    version: ModelVersion
    machines: tuple[Machine, ...]
    vllm_image: str | None


async def read_machines(objects: ObjectSource, names: Sequence[str]) -> dict[str, Machine]:
    """The profiles of the cluster, by name. Raises ClusterError where one does not exist."""
    return {name: await _machine(objects, name, {}) for name in names}


async def read_version_on_hardware(
    objects: ObjectSource, *, namespace: str, name: str, profiles: Sequence[str], shipped: Mapping[str, Machine]
) -> VersionOnHardware:
    """Reads a version and the named profiles, or its own profile where none is named.

    A shipped profile stands in for a profile that the person may not read. Raises ClusterError and Refused.
    """
    version = await read(objects, ModelVersion, namespace, name)
    names = tuple(dict.fromkeys(profiles)) or (version.spec.hardware_profile_ref.name,)
    return VersionOnHardware(
        version=version,
        machines=tuple([await _machine(objects, profile, shipped) for profile in names]),
        vllm_image=await _image(objects, version),
    )


def known_version(
    subject: VersionOnHardware, *, database: str | None, database_ca: Path | None, asked: bool
) -> KnownModel:
    """The model of a version: from its row where a database is named, else from its status.

    ``asked`` is whether the person asked for other lengths or sizes than the version has, which only the row can tell.
    Raises ConditionNotMet for a status without a fit, ActionError, and ReconcileError of the database.
    """
    if database is None:
        return _by_status(subject, asked=asked)
    return _by_row(subject, database=database, database_ca=database_ca)


async def _machine(objects: ObjectSource, name: str, shipped: Mapping[str, Machine]) -> Machine:
    try:
        return Machine(name=name, spec=(await read(objects, HardwareProfile, "", name)).spec)
    except ApiError as error:
        if error.status in {403, 404} and name in shipped:
            return shipped[name]
        raise


async def _image(objects: ObjectSource, version: ModelVersion) -> str | None:
    registry = await read_registry(objects, version)
    return registry.spec.serving.vllm_image if registry else None


def _by_row(subject: VersionOnHardware, *, database: str, database_ca: Path | None) -> KnownModel:
    version, registry = subject.version, subject.version.status.registry
    if registry is None:
        raise ActionError(f"{_full_name(version)} is in no registry yet, so its files are unknown")
    key = VersionKey(registry, version.spec.model_ref.name, version.spec.version)
    [rows] = rows_of([key], database=database, ca=database_ca)
    artifact = rows.record.artifact if rows.record else None
    if artifact is None or artifact.summary is None:
        raise ActionError(
            f"the database has no files of {_full_name(version)}; is --database the database of registry {registry}?"
        )
    serving = version.spec.serving
    return KnownModel(
        name=_full_name(version),
        weights=weights_of(artifact.summary),
        model=artifact.summary,
        machines=subject.machines,
        vllm_image=subject.vllm_image,
        lengths=() if serving.max_model_len is None else (serving.max_model_len,),
        arguments=tuple(serving.extra_args),
    )


def _by_status(subject: VersionOnHardware, *, asked: bool) -> KnownModel:
    version, hardware = subject.version, subject.version.status.hardware
    if asked:
        raise ActionError(
            f"the status of {_full_name(version)} holds only the fit with the current settings; other lengths, "
            f"sizes and --calibrate need its row: {_ROW}"
        )
    if hardware is None:
        phase = version.status.phase or "not reconciled yet"
        raise ConditionNotMet(f"{_full_name(version)} has no fit yet: the version is {phase}")
    gate = next((gate for gate in version.status.gates if gate.name == "HardwareFits"), None)
    size = hardware.tensor_parallel_size or 1
    fit = Fit(
        verdict=hardware.verdict,
        weights_bytes=hardware.weights_bytes,
        overhead_bytes=hardware.overhead_bytes,
        kv_cache_bytes_per_token=hardware.kv_cache_bytes_per_token,
        max_model_len=hardware.max_model_len,
        max_num_seqs=hardware.max_num_seqs,
        sequences=hardware.max_num_seqs,
        tensor_parallel_size=size,
        warnings=tuple(hardware.warnings),
        finding=Finding(
            reason="AsInStatus",
            found=gate.found if gate else "",
            expected=gate.wanted if gate else "",
            remedy=(gate.remedy or "") if gate else "",
        ),
    )
    requested = version.spec.serving.max_model_len
    return KnownModel(
        name=_full_name(version),
        weights="from the status",
        model=None,
        machines=subject.machines,
        vllm_image=subject.vllm_image,
        status_rows=tuple(
            Scenario(machine=machine, size=size, requested=requested, found=fit)
            if machine.name == version.spec.hardware_profile_ref.name
            else _elsewhere(machine, hardware, requested)
            for machine in subject.machines
        ),
        notes=(_BY_STATUS,),
    )


def _elsewhere(machine: Machine, hardware: HardwareStatus, requested: int | None) -> Scenario:
    """What the status of a version on one profile says about another: that the weights are too large, or nothing.

    Weights that were split over several accelerators have parts that every accelerator holds, so they say nothing.
    """
    usable, count = usable_bytes(machine.spec), machine.spec.accelerator.count
    whole = hardware.weights_bytes if (hardware.tensor_parallel_size or 1) == 1 else None
    least = None if whole is None else -(-whole // count)
    too_large = least is not None and least > usable
    weights = "weights of unknown size" if least is None else f"at least {human_bytes(least)} of weights"
    token = hardware.kv_cache_bytes_per_token
    cache = f" and {human_bytes(token)} of KV cache a token" if token is not None and count == 1 and whole else ""
    name = f"{machine.spec.accelerator.vendor} {machine.spec.accelerator.model}"
    fit = Fit(
        verdict="DoesNotFit" if too_large else "Unknown",
        weights_bytes=least,
        usable_bytes=usable,
        kv_cache_bytes_per_token=token if cache else None,
        tensor_parallel_size=count,
        finding=Finding(
            reason="WeightsTooLarge" if too_large else "StatusOnly",
            found=f"{weights}{cache} on each of {count} {name}; {human_bytes(usable)} can be used",
            expected="the row of the version, which has the figures that the fit needs",
            remedy=f"choose a profile with more memory; the whole fit needs {_ROW}" if too_large else f"name {_ROW}",
        ),
    )
    return Scenario(machine=machine, size=count, requested=requested, found=fit)


def _full_name(version: ModelVersion) -> str:
    return f"{version.metadata.namespace}/{version.metadata.name}"
