"""A folder's model by the check of upload: one reading for ``gatehouse fit`` and ``gatehouse register --from``."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from gatehouse.api.model_version import ArtifactFormat
from gatehouse.domain.artifact.layout import CONFIG
from gatehouse.domain.artifact.model_config import MAX_CONFIG, ModelConfig, parse_config
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.upload.check import check_names, look_at, told_format
from gatehouse.upload.folder import FolderFiles, LocalFile
from gatehouse.upload.folder_store import FolderStore

__all__ = ["KnownFolder", "known_folder", "own_config", "read_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFolder:
    """``summary`` is what the headers of the weights and the files beside them say. Of a folder without weights that
    the names tell there is only its ``config``, and of one without both neither."""

    summary: ArtifactSummary | None = None
    config: ModelConfig | None = None


def known_folder(found: FolderFiles, *, artifact_format: ArtifactFormat | None = None) -> KnownFolder:
    """What a folder says of its model, without reading its weights; the format is told from the names when absent.

    Raises FolderRefused for what ``gatehouse upload`` would refuse, FormatError for a config.json alone that is none,
    FileChanged, OSError.
    """
    chosen = artifact_format or told_format(found)
    if chosen is None and any(file.path == CONFIG for file in found.files):
        return KnownFolder(config=own_config(found))
    check_names(found, prefix="")
    summary = asyncio.run(look_at(FolderStore(found), artifact_format=chosen or "safetensors"))
    return KnownFolder(summary=summary, config=summary.config)


def own_config(found: FolderFiles) -> ModelConfig | None:
    """The config.json at the top by itself; None where there is none. Raises FormatError, OSError."""
    file = next((file for file in found.files if file.path == CONFIG), None)
    return None if file is None else parse_config(read_file(file, limit=MAX_CONFIG + 1))


def read_file(file: LocalFile, *, limit: int) -> bytes:
    """At most ``limit`` bytes from the beginning. Raises OSError."""
    # What has taken the file's place since it was found may be a pipe, which must not be waited for.
    descriptor = os.open(file.real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(limit)
