"""The model of a folder, by the check of upload: ``gatehouse fit`` and ``gatehouse register --from`` share it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from gatehouse.domain.artifact.layout import CONFIG
from gatehouse.domain.artifact.model_config import MAX_CONFIG, ModelConfig, parse_config
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.formats.names import DEFAULT_FORMAT, ArtifactFormat
from gatehouse.upload.check import check_names, look_at, told_format
from gatehouse.upload.folder import FolderFiles, LocalFile
from gatehouse.upload.folder_store import FolderStore

__all__ = ["KnownFolder", "known_folder", "own_config", "read_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFolder:
    """``summary`` is from the headers of the weights and from the files beside them. A folder without known weights has
    only a ``config``; a folder without both has neither."""

    summary: ArtifactSummary | None = None
    config: ModelConfig | None = None


def known_folder(found: FolderFiles, *, artifact_format: ArtifactFormat | None = None) -> KnownFolder:
    """The model of a folder, without reading its weights. Without a format, the names of the files tell it.

    Raises FolderRefused for a folder that ``gatehouse upload`` would refuse, FormatError for an invalid config.json,
    FileChanged, OSError.
    """
    chosen = artifact_format or told_format(found)
    if chosen is None and any(file.path == CONFIG for file in found.files):
        return KnownFolder(config=own_config(found))
    check_names(found, prefix="")
    summary = asyncio.run(look_at(FolderStore(found), artifact_format=chosen or DEFAULT_FORMAT))
    return KnownFolder(summary=summary, config=summary.config)


def own_config(found: FolderFiles) -> ModelConfig | None:
    """The config.json at the top of the folder; None if it does not exist. Raises FormatError, OSError."""
    file = next((file for file in found.files if file.path == CONFIG), None)
    return None if file is None else parse_config(read_file(file, limit=MAX_CONFIG + 1))


def read_file(file: LocalFile, *, limit: int) -> bytes:
    """At most ``limit`` bytes from the beginning. Raises OSError."""
    # A pipe may have replaced the file, and an open without O_NONBLOCK would wait for its writer.
    descriptor = os.open(file.real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(limit)
