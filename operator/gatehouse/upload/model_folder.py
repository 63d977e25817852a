"""The model of a folder, by the check of upload: its model card, its configuration and the headers of its weights."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gatehouse.domain.artifact.layout import CONFIG
from gatehouse.domain.artifact.model_card import MAX_CARD, ModelCard, parse_card
from gatehouse.domain.artifact.model_config import MAX_CONFIG, ModelConfig, Quantization, parse_config
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.names import DEFAULT_FORMAT, ArtifactFormat
from gatehouse.domain.formats.table import FORMATS, endings
from gatehouse.domain.runtimes.formats import config_problem
from gatehouse.errors import InputInvalid
from gatehouse.upload.check import FolderRefused, check_names, look_at, told_format, unserved_note
from gatehouse.upload.folder import FileChanged, FolderFiles, LocalFile, scan
from gatehouse.upload.folder_store import FolderStore

__all__ = [
    "FolderFacts",
    "KnownFolder",
    "known_folder",
    "own_config",
    "quantization_label",
    "read_file",
    "read_model_folder",
]

_CARD: Final = "README.md"
_NO_FORMAT: Final = f"there are no {endings()} files: name the format of the weights with --format"
_MOST_PROBLEMS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFolder:
    """``summary`` is from the headers of the weights and from the files beside them. A folder without known weights has
    only a ``config``; a folder without both has neither."""

    summary: ArtifactSummary | None = None
    config: ModelConfig | None = None


def known_folder(folder: FolderFiles, *, artifact_format: ArtifactFormat | None = None) -> KnownFolder:
    """The model of a folder, without reading its weights. Without a format, the names of the files tell it.

    Raises FolderRefused for a folder that ``gatehouse upload`` would refuse, FormatError for an invalid config.json,
    FileChanged, OSError.
    """
    chosen = artifact_format or told_format(folder)
    if chosen is None and any(file.path == CONFIG for file in folder.files):
        return KnownFolder(config=own_config(folder))
    check_names(folder, prefix="")
    summary = asyncio.run(look_at(FolderStore(folder), artifact_format=chosen or DEFAULT_FORMAT))
    return KnownFolder(summary=summary, config=summary.config)


def own_config(folder: FolderFiles) -> ModelConfig | None:
    """The config.json at the top of the folder; None if it does not exist. Raises FormatError, OSError."""
    file = next((file for file in folder.files if file.path == CONFIG), None)
    return None if file is None else parse_config(read_file(file, limit=MAX_CONFIG + 1))


def read_file(file: LocalFile, *, limit: int) -> bytes:
    """At most ``limit`` bytes from the beginning. Raises OSError."""
    # A pipe may have replaced the file, and an open without O_NONBLOCK would wait for its writer.
    descriptor = os.open(file.real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """The facts; a missing fact is empty or None. ``notes`` name ignored files and missing facts.

    ``config`` includes the files beside config.json. For a GGUF model, it comes from the header.
    """

    card: ModelCard = field(default_factory=ModelCard)
    config: ModelConfig | None = None
    artifact_format: ArtifactFormat | None = None
    notes: tuple[str, ...] = ()


def read_model_folder(root: Path, *, artifact_format: ArtifactFormat | None = None) -> FolderFacts:
    """Reads the card of a folder, and its model as ``gatehouse fit`` does. Either may be missing or unreadable: the
    notes say which, and why.

    Without ``artifact_format``, the names of the files tell the format. Raises InputInvalid when ``root`` is no folder.
    """
    try:
        folder = scan(root)
    except OSError as error:
        raise InputInvalid(f"{error.filename or root} cannot be read: {error.strerror}") from error
    notes: list[str] = []
    text = _card_text(folder, notes)
    card = ModelCard() if text is None else parse_card(text)
    notes += [f"{_CARD}: {note}" for note in card.notes]
    notes += [
        f"left out: {problem.found}" for problem in folder.problems if _CARD in problem.found or CONFIG in problem.found
    ]
    told = told_format(folder)
    chosen = artifact_format or told
    config = _config(folder, chosen, notes)
    if chosen is None:
        notes.append(_NO_FORMAT)
    elif CONFIG in FORMATS[chosen].needs and (problem := config_problem(config)) is not None:
        notes.append(unserved_note(problem))
    return FolderFacts(card=card, config=config, artifact_format=told, notes=tuple(notes))


def _card_text(folder: FolderFiles, notes: list[str]) -> bytes | None:
    file = next((file for file in folder.files if file.path == _CARD), None)
    try:
        return None if file is None else read_file(file, limit=MAX_CARD)
    except OSError as error:
        notes.append(f"left out: {_CARD} cannot be read: {error.strerror}")
        return None


def _config(folder: FolderFiles, artifact_format: ArtifactFormat | None, notes: list[str]) -> ModelConfig | None:
    """The configuration; for a folder that upload refuses, config.json alone."""
    try:
        try:
            return known_folder(folder, artifact_format=artifact_format).config
        except FolderRefused as refused:
            notes += _refusals(refused.problems, said=folder.problems)
        return own_config(folder)
    except FileChanged as error:
        notes.append(f"left out: {error.path} changed while it was being read")
    except FormatError as error:
        notes.append(f"{CONFIG} is left out, and will be refused unless it is corrected: {error}")
    except OSError as error:
        notes.append(f"left out: {error.filename or 'a file'} cannot be read: {error.strerror}")
    return None


def _refusals(problems: tuple[Finding, ...], *, said: tuple[Finding, ...]) -> list[str]:
    """The problems for which upload would refuse the folder, without those that other notes name."""
    other = [problem for problem in problems if CONFIG not in problem.found and problem not in said]
    notes = [
        f"the folder will be refused: {problem.reason}: {problem.found}; {problem.remedy}"
        for problem in other[:_MOST_PROBLEMS]
    ]
    more = len(other) - len(notes)
    return (
        [*notes, f"{more} more problems for which it will be refused: gatehouse fit DIR names all of them"]
        if more
        else notes
    )


def quantization_label(quantization: Quantization | None) -> str | None:
    """The quantization, for people: FP8 or INT4 where type and width are known, else the name of the method."""
    if quantization is None:
        return None
    if quantization.bits is None or quantization.weight_type is None:
        return quantization.method
    return f"{'FP' if quantization.weight_type == 'float' else 'INT'}{quantization.bits}"
