"""The table of formats, each from the module of its name, and the table of all parsers by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, get_args

from gatehouse.domain.formats.format import Format
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.formats.parsers import ARTIFACT_PARSERS, Parser

__all__ = ["CHECKED_FORMATS", "FORMATS", "PARSERS", "endings"]


def _format(name: ArtifactFormat) -> Format:
    module = import_module(f"gatehouse.domain.formats.{name}")
    known: Format = module.FORMAT
    return known


FORMATS: Final[Mapping[str, Format]] = {name: _format(name) for name in get_args(ArtifactFormat)}

CHECKED_FORMATS: Final[Mapping[str, Format]] = {name: known for name, known in FORMATS.items() if known.ending}
"""Formats whose structure is checked. Files of other formats are only hashed: a policy must permit these formats."""

PARSERS: Final[Mapping[str, Parser[Any]]] = {
    parser.name: parser
    for parser in (*(parser for known in FORMATS.values() for parser in known.parsers), *ARTIFACT_PARSERS)
}
"""Every parser of untrusted bytes that the operator runs."""


def endings() -> str:
    """The names of the files of checked formats, for messages: ``*.a, *.b or *.c``."""
    *others, last = (f"*{known.ending}" for known in CHECKED_FORMATS.values())
    return f"{', '.join(others)} or {last}"
