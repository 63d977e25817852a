"""A ModelVersion for ``gatehouse fit``: its row, or what its status says; and profiles of the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse.actions.objects import read
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import HardwareStatus, ModelVersion
from gatehouse.cli.connection import NOT_READY, cluster, default_namespace, fail
from gatehouse.cli.fit_target import Known, shipped_machines, weights_of
from gatehouse.cli.options import reviewing
from gatehouse.cli.registry_rows import rows_of
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.hardware.fit import Fit, usable_bytes
from gatehouse.domain.hardware.scenarios import Machine, Scenario
from gatehouse.registry.keys import VersionKey

__all__ = ["known_version", "machines_of_cluster"]

_ROW: Final = "--database URL, or GATEHOUSE_DATABASE_URL"
_BY_STATUS: Final = (
    "this is what the version's status says. Other profiles, lengths and sizes follow from its row in the registry's "
    f"database: {_ROW}; or from its files: gatehouse fit DIR"
)


def machines_of_cluster(names: Sequence[str], *, kubeconfig: Path | None, context: str | None) -> dict[str, Machine]:
    """The cluster's profiles of these names; ends the command where it has one of them not."""

    async def work() -> list[Machine]:
        async with cluster(kubeconfig, context) as client:
            return [await _machine(client, name, {}) for name in names]

    return {machine.name: machine for machine in reviewing(work)}


async def _machine(client: ApiClient, name: str, shipped: Mapping[str, Machine]) -> Machine:
    """The cluster's profile of a name, or the shipped one where the cluster has none."""
    try:
        return Machine(name=name, spec=(await read(client, HardwareProfile, "", name)).spec)
    except ApiError as error:
        if error.status in {403, 404} and name in shipped:
            return shipped[name]
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    version: ModelVersion
    machines: tuple[Machine, ...]
    vllm_image: str | None


def known_version(
    target: str,
    *,
    namespace: str | None,
    database: str | None,
    database_ca: Path | None,
    profiles: Sequence[str],
    asked: bool,
    kubeconfig: Path | None,
    context: str | None,
) -> Known:
    """A ModelVersion of the cluster: its row where a database is named, else what its status says of its profile."""
    shipped = shipped_machines()

    async def work() -> _Version:
        first, slash, rest = target.partition("/")
        where = first if slash else namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            version = await read(client, ModelVersion, where, rest if slash else first)
            names = tuple(dict.fromkeys(profiles)) or (version.spec.hardware_profile_ref.name,)
            return _Version(
                version=version,
                machines=tuple([await _machine(client, name, shipped) for name in names]),
                vllm_image=await _image(client, version),
            )

    found = reviewing(work)
    if database is None:
        return _by_status(found, asked=asked)
    return _by_row(found, database=database, database_ca=database_ca)


async def _image(client: ApiClient, version: ModelVersion) -> str | None:
    namespace, _, name = (version.status.registry or "").partition("/")
    if not name:
        return None
    try:
        return (await read(client, ModelRegistry, namespace, name)).spec.serving.vllm_image
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise


def _by_row(found: _Version, *, database: str, database_ca: Path | None) -> Known:
    version, registry = found.version, found.version.status.registry
    if registry is None:
        fail(f"{_where(version)} is in no registry yet: its files are not known")
    key = VersionKey(registry, version.spec.model_ref.name, version.spec.version)
    [rows] = rows_of([key], database=database, ca=database_ca)
    artifact = rows.record.artifact if rows.record else None
    if artifact is None or artifact.summary is None:
        fail(f"the database knows no files of {_where(version)}; is it the one of {registry}?")
    serving = version.spec.serving
    return Known(
        name=_where(version),
        weights=weights_of(artifact.summary),
        model=artifact.summary,
        machines=found.machines,
        vllm_image=found.vllm_image,
        lengths=() if serving.max_model_len is None else (serving.max_model_len,),
        arguments=tuple(serving.extra_args),
    )


def _by_status(found: _Version, *, asked: bool) -> Known:
    version, hardware = found.version, found.version.status.hardware
    if asked:
        fail(
            f"of {_where(version)} the status says what holds for its own profile as it is; other lengths, sizes and "
            f"--calibrate follow from its row: {_ROW}"
        )
    if hardware is None:
        fail(f"{_where(version)} has no fit yet: it is {version.status.phase or 'not reconciled yet'}", code=NOT_READY)
    gate = next((each for each in version.status.gates if each.name == "HardwareFits"), None)
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
    return Known(
        name=_where(version),
        weights="as its status says",
        model=None,
        machines=found.machines,
        vllm_image=found.vllm_image,
        status_rows=tuple(
            Scenario(machine=machine, size=size, requested=requested, found=fit)
            if machine.name == version.spec.hardware_profile_ref.name
            else _elsewhere(machine, hardware, requested)
            for machine in found.machines
        ),
        notes=(_BY_STATUS,),
    )


def _elsewhere(machine: Machine, hardware: HardwareStatus, requested: int | None) -> Scenario:
    """What the status of a version on one profile says for another: that its weights are too large, or nothing.

    Weights that were split over several accelerators have parts that each has whole, so of them nothing follows.
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
            expected="what the version's row says of its model, by which the fit is computed",
            remedy=f"choose a profile with more memory; the whole fit takes {_ROW}" if too_large else f"name {_ROW}",
        ),
    )
    return Scenario(machine=machine, size=count, requested=requested, found=fit)


def _where(version: ModelVersion) -> str:
    return f"{version.metadata.namespace}/{version.metadata.name}"
