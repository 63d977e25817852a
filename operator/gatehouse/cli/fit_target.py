"""What ``gatehouse fit`` is asked about: a folder, a config.json, or a ModelVersion; and on which profiles."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ArtifactFormat, ModelVersion
from gatehouse.cli.connection import NOT_READY, cluster, default_namespace, fail
from gatehouse.cli.registry_rows import rows_of
from gatehouse.cli.version_options import reviewing
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.artifact import ArtifactSummary
from gatehouse.domain.format_error import FormatError
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.hardware.scenarios import Machine, Scenario
from gatehouse.domain.layout import CONFIG
from gatehouse.domain.model_config import MAX_CONFIG, ModelConfig, parse_config
from gatehouse.domain.sizes import human_bytes
from gatehouse.local.errors import LocalClusterError
from gatehouse.local.shipped import documents
from gatehouse.publish.checking import check_names, look_at, told_format
from gatehouse.publish.errors import PublishError
from gatehouse.publish.folder import scan
from gatehouse.publish.local_files import FolderStore
from gatehouse.publish.upload_errors import FolderRefused
from gatehouse.registry.operations import VersionKey
from gatehouse.review.reading import read

__all__ = ["Known", "known_model", "known_version", "machines_named"]

_NAME: Final = re.compile(r"([a-z0-9][a-z0-9.-]{0,252}/)?[a-z0-9][a-z0-9.-]{0,252}")
_BY_STATUS: Final = (
    "this is what the version's status says; other profiles, lengths and sizes follow from its row: --database"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a model. ``weights`` says where its weights are known from.

    ``machines`` are empty where the caller has to find them. ``status_row`` is all there is of a version whose row was
    not read, and ``model`` then None. ``lengths`` and ``arguments`` are the version's own.
    """

    name: str
    weights: str
    model: ArtifactSummary | ModelConfig | None
    machines: tuple[Machine, ...] = ()
    vllm_image: str | None = None
    lengths: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    status_row: Scenario | None = None
    notes: tuple[str, ...] = ()


def known_model(target: str, *, artifact_format: ArtifactFormat | None) -> Known | None:
    """A folder or a config.json; None where neither is there and the name may be that of a ModelVersion."""
    path = Path(target)
    try:
        if path.is_dir():
            return _folder(path, artifact_format)
        if path.is_file():
            return _config(path)
    except OSError as error:
        fail(f"{error.filename or path} cannot be read: {error.strerror}")
    except FolderRefused as error:
        fail(str(error), code=NOT_READY)
    except (PublishError, FormatError) as error:
        fail(str(error))
    if path.suffix == ".json" or not _NAME.fullmatch(target):
        fail(f"{target} is not there; wanted: a folder, a config.json, or a ModelVersion as NAME or NAMESPACE/NAME")
    return None


def _folder(path: Path, artifact_format: ArtifactFormat | None) -> Known:
    found = scan(path)
    chosen = artifact_format or told_format(found)
    if chosen is None and (path / CONFIG).is_file():
        return _config(path / CONFIG)
    check_names(found, prefix="")
    summary = asyncio.run(look_at(FolderStore(found), artifact_format=chosen or "safetensors"))
    return Known(name=str(path), weights=_weights(summary), model=summary, notes=summary.notes[1:])


def _weights(summary: ArtifactSummary) -> str:
    size = summary.weights_bytes
    return f"{summary.format}, {'weights of unknown size' if size is None else f'{human_bytes(size)} of weights'}"


def _config(path: Path) -> Known:
    with path.open("rb") as opened:
        config = parse_config(opened.read(MAX_CONFIG + 1))
    return Known(name=str(path), weights="config.json alone, so weights are estimated", model=config)


def machines_named(names: Sequence[str], *, kubeconfig: Path | None, context: str | None) -> tuple[Machine, ...]:
    """Profiles by name: shipped ones, others from the cluster; all shipped ones where none is named."""
    shipped = _shipped()
    if not names:
        return tuple(shipped.values())
    others = [name for name in dict.fromkeys(names) if name not in shipped]
    found = dict(shipped)
    if others:

        async def work() -> list[Machine]:
            async with cluster(kubeconfig, context) as client:
                return [await _machine(client, name, {}) for name in others]

        found |= {machine.name: machine for machine in reviewing(work)}
    return tuple(found[name] for name in dict.fromkeys(names))


def _shipped() -> dict[str, Machine]:
    try:
        profiles = [HardwareProfile.model_validate(body) for body in documents("manifests/hardware")]
    except (LocalClusterError, ValidationError) as error:
        fail(str(error))
    return {each.metadata.name: Machine(name=each.metadata.name, spec=each.spec) for each in profiles}


async def _machine(client: ApiClient, name: str, shipped: dict[str, Machine]) -> Machine:
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
    shipped = _shipped()

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
        weights=_weights(artifact.summary),
        model=artifact.summary,
        machines=found.machines,
        vllm_image=found.vllm_image,
        lengths=() if serving.max_model_len is None else (serving.max_model_len,),
        arguments=tuple(serving.extra_args),
    )


def _by_status(found: _Version, *, asked: bool) -> Known:
    version, hardware = found.version, found.version.status.hardware
    if asked:
        fail(f"of {_where(version)} the status says what holds for its own profile; for more, name --database")
    if hardware is None:
        fail(f"{_where(version)} has no fit yet: it is {version.status.phase or 'not looked at yet'}", code=NOT_READY)
    gate = next((each for each in version.status.gates if each.name == "HardwareFits"), None)
    size = hardware.tensor_parallel_size or 1
    fit = Fit(
        verdict=hardware.verdict,
        reason="AsInStatus",
        found=gate.found if gate else "",
        wanted=gate.wanted if gate else "",
        remedy=gate.remedy if gate else None,
        weights_bytes=hardware.weights_bytes,
        overhead_bytes=hardware.overhead_bytes,
        kv_cache_bytes_per_token=hardware.kv_cache_bytes_per_token,
        max_model_len=hardware.max_model_len,
        max_num_seqs=hardware.max_num_seqs,
        sequences=hardware.max_num_seqs,
        tensor_parallel_size=size,
        warnings=tuple(hardware.warnings),
    )
    requested = version.spec.serving.max_model_len
    return Known(
        name=_where(version),
        weights="as its status says",
        model=None,
        machines=found.machines,
        vllm_image=found.vllm_image,
        status_row=Scenario(machine=found.machines[0], size=size, requested=requested, found=fit),
        notes=(_BY_STATUS,),
    )


def _where(version: ModelVersion) -> str:
    return f"{version.metadata.namespace}/{version.metadata.name}"
