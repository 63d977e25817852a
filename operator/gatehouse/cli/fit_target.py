"""What ``gatehouse fit`` is asked about: a folder or a config.json; and on which profiles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_version import ArtifactFormat
from gatehouse.cli.connection import NOT_READY, fail
from gatehouse.domain.artifact.layout import CONFIG
from gatehouse.domain.artifact.model_config import MAX_CONFIG, ModelConfig, parse_config
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.hardware.scenarios import Machine, Scenario
from gatehouse.install.errors import FileNotShipped
from gatehouse.install.shipped_files import documents
from gatehouse.upload.errors import PublishError

__all__ = ["Known", "known_model", "machines_named", "shipped_machines", "weights_of"]

_ESTIMATED: Final = "config.json alone, so weights are estimated"
_NAME: Final = re.compile(r"([a-z0-9][a-z0-9.-]{0,252}/)?[a-z0-9][a-z0-9.-]{0,252}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a model. ``weights`` says where its weights are known from.

    ``machines`` are empty where the caller has to find them. ``status_rows`` are all there is of a version whose row
    was not read, and ``model`` then None. ``lengths`` and ``arguments`` are the version's own.
    """

    name: str
    weights: str
    model: ArtifactSummary | ModelConfig | None
    machines: tuple[Machine, ...] = ()
    vllm_image: str | None = None
    lengths: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    status_rows: tuple[Scenario, ...] = ()
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
    except (PublishError, FormatError) as error:
        fail(str(error))
    if path.suffix == ".json" or not _NAME.fullmatch(target):
        fail(f"{target} is not there; wanted: a folder, a config.json, or a ModelVersion as NAME or NAMESPACE/NAME")
    return None


def _folder(path: Path, artifact_format: ArtifactFormat | None) -> Known:
    # The stores' client comes with these, which a config.json needs not.
    from gatehouse.upload.errors import FolderRefused  # noqa: PLC0415
    from gatehouse.upload.folder import scan  # noqa: PLC0415
    from gatehouse.upload.known_folder import known_folder  # noqa: PLC0415

    try:
        known = known_folder(scan(path), artifact_format=artifact_format)
    except FolderRefused as error:
        fail(str(error), code=NOT_READY)
    if known.summary is None:
        return Known(name=str(path / CONFIG), weights=_ESTIMATED, model=known.config)
    return Known(name=str(path), weights=weights_of(known.summary), model=known.summary, notes=known.summary.notes[1:])


def weights_of(summary: ArtifactSummary) -> str:
    """What is said of weights that were read."""
    size = summary.weights_bytes
    return f"{summary.format}, {'weights of unknown size' if size is None else f'{human_bytes(size)} of weights'}"


def _config(path: Path) -> Known:
    with path.open("rb") as opened:
        config = parse_config(opened.read(MAX_CONFIG + 1))
    return Known(name=str(path), weights=_ESTIMATED, model=config)


def machines_named(names: Sequence[str], *, kubeconfig: Path | None, context: str | None) -> tuple[Machine, ...]:
    """Profiles by name: shipped ones, others from the cluster; all shipped ones where none is named."""
    shipped = shipped_machines()
    if not names:
        return tuple(shipped.values())
    others = [name for name in dict.fromkeys(names) if name not in shipped]
    found = dict(shipped)
    if others:
        from gatehouse.cli.fit_version import machines_of_cluster  # noqa: PLC0415 - most need no cluster

        found |= machines_of_cluster(others, kubeconfig=kubeconfig, context=context)
    return tuple(found[name] for name in dict.fromkeys(names))


def shipped_machines() -> dict[str, Machine]:
    """The shipped profiles by name."""
    try:
        profiles = [HardwareProfile.model_validate(body) for body in documents("manifests/hardware")]
    except (FileNotShipped, ValidationError) as error:
        fail(str(error))
    return {each.metadata.name: Machine(name=each.metadata.name, spec=each.spec) for each in profiles}
