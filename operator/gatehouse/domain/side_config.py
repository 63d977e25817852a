"""Configurations beside the model's own: of the tokenizer, of generation, of processors.

They decide nothing about the fit, and loaders are lenient with most of what may be odd in them. So what is odd is named
and passed over. Whether they name code to be run is decided strictly, over every byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.domain import jsonbound, model_config
from gatehouse.domain.config_section import invalid
from gatehouse.domain.format_error import FormatError
from gatehouse.domain.jsonbound import JsonValue

__all__ = ["NamesCode", "read", "read_document"]

_WHAT = "the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesCode:
    """Whether a configuration names code to be run. ``odd`` is what of it is not as JSON should be, if anything."""

    names_code: bool
    odd: str | None = None


def read(data: bytes) -> NamesCode:
    """Whether a configuration names code. Raises FormatError as :func:`read_document`."""
    return read_document(data)[1]


def read_document(data: bytes) -> tuple[dict[str, JsonValue], NamesCode]:
    """Read a configuration; what is odd in it is not in the document.

    Raises FormatError with the rule ConfigInvalid for what is no JSON object, and those of `jsonbound.loads_leniently`.
    """
    try:
        document = model_config.document(data, _WHAT)
        return document, NamesCode(names_code=model_config.names_code(document))
    except FormatError:
        lenient, odd = jsonbound.loads_leniently(data, what=_WHAT, max_bytes=model_config.MAX_CONFIG)
    if not isinstance(lenient, dict):
        raise invalid(_WHAT, lenient, "a JSON object")
    # Not of the document: what was left out of it may be what a loader takes.
    return lenient, NamesCode(names_code=model_config.mentions_remote_code(data), odd="; ".join(odd) or None)
