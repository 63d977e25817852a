"""What a Hugging Face folder says about its model: the model card, config.json and the names of the files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gatehouse.api.model_version import ArtifactFormat
from gatehouse.domain.format_error import FormatError
from gatehouse.domain.layout import CONFIG
from gatehouse.domain.model_card import MAX_CARD, ModelCard, parse_card
from gatehouse.domain.model_config import MAX_CONFIG, ModelConfig, Quantization, parse_config
from gatehouse.domain.serving_formats import config_problem
from gatehouse.publish.checking import told_format, unserved_note
from gatehouse.publish.errors import InputInvalid
from gatehouse.publish.folder import LocalFile, scan

__all__ = ["FolderFacts", "quantization_label", "read_model_folder"]

_CARD: Final = "README.md"
_NO_FORMAT: Final = "there are no *.safetensors, *.gguf or *.onnx files: say with --format what the weights are"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """What was found; what was not is empty or None. ``notes`` name what was left out, and what nothing told."""

    card: ModelCard = field(default_factory=ModelCard)
    config: ModelConfig | None = None
    artifact_format: ArtifactFormat | None = None
    notes: tuple[str, ...] = ()


def read_model_folder(root: Path) -> FolderFacts:
    """Reads the card and config.json of a folder; a folder without them says nothing, and so does one of the two that
    cannot be read: the notes say which, and why.

    Raises InputInvalid when it is no folder.
    """
    try:
        found = scan(root)
    except OSError as error:
        raise InputInvalid(f"{error.filename or root} cannot be read: {error.strerror}") from error
    files = {file.path: file for file in found.files}
    notes: list[str] = []
    text = _text(files.get(_CARD), MAX_CARD, notes)
    card = ModelCard() if text is None else parse_card(text)
    notes += [f"{_CARD}: {note}" for note in card.notes]
    config = _config(_text(files.get(CONFIG), MAX_CONFIG + 1, notes), notes)
    notes += [f"left out: {each.found}" for each in found.problems if _CARD in each.found or CONFIG in each.found]
    artifact_format = told_format(found)
    if artifact_format is None:
        notes.append(_NO_FORMAT)
    elif artifact_format == "safetensors" and (problem := config_problem(config)) is not None:
        notes.append(unserved_note(problem))
    return FolderFacts(card=card, config=config, artifact_format=artifact_format, notes=tuple(notes))


def _text(file: LocalFile | None, limit: int, notes: list[str]) -> bytes | None:
    if file is None:
        return None
    try:
        return _read(file, limit)
    except OSError as error:
        notes.append(f"left out: {file.path} cannot be read: {error.strerror}")
        return None


def _config(text: bytes | None, notes: list[str]) -> ModelConfig | None:
    if text is None:
        return None
    try:
        return parse_config(text)
    except FormatError as error:
        notes.append(f"{CONFIG} is left out, and will be refused as it is: {error}")
        return None


def quantization_label(found: Quantization | None) -> str | None:
    """How the weights are quantized, for people: FP8 or INT4 where type and width are known, else the method's name."""
    if found is None:
        return None
    if found.bits is None or found.weight_type is None:
        return found.method
    return f"{'FP' if found.weight_type == 'float' else 'INT'}{found.bits}"


def _read(file: LocalFile, limit: int) -> bytes:
    # What has taken the file's place since it was found may be a pipe, which must not be waited for.
    descriptor = os.open(file.real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(limit)
