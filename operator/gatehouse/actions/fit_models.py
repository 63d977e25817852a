"""The model that a fit is computed for, from a folder or a config.json."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse.api.model_version import ArtifactFormat
from gatehouse.domain.artifact.layout import CONFIG
from gatehouse.domain.artifact.model_config import MAX_CONFIG, ModelConfig, parse_config
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.hardware.scenarios import Machine, Scenario
from gatehouse.errors import InputInvalid

__all__ = ["KnownModel", "known_model", "weights_of"]

_ESTIMATED: Final = "config.json alone, so weights are estimated"
_NAME: Final = re.compile(r"([a-z0-9][a-z0-9.-]{0,252}/)?[a-z0-9][a-z0-9.-]{0,252}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model, with its size in words in ``weights``.

    ``machines`` are empty where the caller chooses them. ``lengths`` and ``arguments`` are those of a version. Of a
    version whose row was not read, ``model`` is None and ``status_rows`` hold the fit.
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


def known_model(target: str, *, artifact_format: ArtifactFormat | None) -> KnownModel | None:
    """The model of a folder or a config.json; None where neither exists and the target may name a ModelVersion.

    Raises FolderRefused for a folder that upload would refuse, and InputInvalid.
    """
    path = Path(target)
    try:
        if path.is_dir():
            return _folder(path, artifact_format)
        if path.is_file():
            return _config(path)
    except OSError as error:
        raise InputInvalid(f"{error.filename or path} cannot be read: {error.strerror}") from error
    except FormatError as error:
        raise InputInvalid(str(error)) from error
    if path.suffix == ".json" or not _NAME.fullmatch(target):
        raise InputInvalid(
            f"{target} does not exist; expected: a folder, a config.json, or a ModelVersion as NAME or NAMESPACE/NAME"
        )
    return None


def weights_of(summary: ArtifactSummary) -> str:
    """Format and size of weights that were read."""
    size = summary.weights_bytes
    return f"{summary.format}, {'weights of unknown size' if size is None else f'{human_bytes(size)} of weights'}"


def _folder(path: Path, artifact_format: ArtifactFormat | None) -> KnownModel:
    # These import the clients of the stores, which a config.json does not need.
    from gatehouse.upload.folder import scan  # noqa: PLC0415
    from gatehouse.upload.known_folder import known_folder  # noqa: PLC0415

    known = known_folder(scan(path), artifact_format=artifact_format)
    if known.summary is None:
        return KnownModel(name=str(path / CONFIG), weights=_ESTIMATED, model=known.config)
    notes = known.summary.notes[1:]
    return KnownModel(name=str(path), weights=weights_of(known.summary), model=known.summary, notes=notes)


def _config(path: Path) -> KnownModel:
    with path.open("rb") as opened:
        config = parse_config(opened.read(MAX_CONFIG + 1))
    return KnownModel(name=str(path), weights=_ESTIMATED, model=config)
