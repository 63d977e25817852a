"""YAML from strangers: strict UTF-8, bounded in bytes, depth and items, without aliases, before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import yaml

from gatehouse.domain.format_error import FormatError, shown

__all__ = ["YamlText", "load_documents", "loads_text"]

YamlText: TypeAlias = "str | list[YamlText] | dict[str, YamlText]"
"""A document whose every scalar is text: ``no`` is not False, ``1.10`` is not 1.1 and no date is made."""

_OPENING: Final = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING: Final = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


_MAX_TOKENS: Final = 200_000

T = TypeVar("T")


def loads_text(data: bytes, *, what: str, max_bytes: int, max_depth: int = 32) -> YamlText:
    """Decode one YAML document with every scalar as text; an empty document is an empty text.

    `what` names the document in messages. Tags are passed over: no object is ever made of one.

    Raises FormatError with the rules YamlTooLarge, YamlTooDeep, YamlTooManyItems, YamlAlias, YamlInvalid.
    """
    value: YamlText | None = _decoded(
        data,
        lambda text: yaml.load(text, Loader=yaml.CBaseLoader),  # noqa: S506 - it makes nothing but text
        what=what,
        max_bytes=max_bytes,
        max_depth=max_depth,
    )
    return "" if value is None else value


def load_documents(data: bytes, *, what: str, max_bytes: int, max_depth: int = 64) -> list[Any]:
    """Decode every YAML document with plain data in it: text, numbers, truth values, lists and mappings.

    Raises FormatError as `loads_text` does.
    """
    return _decoded(
        data,
        lambda text: list(yaml.load_all(text, Loader=yaml.CSafeLoader)),
        what=what,
        max_bytes=max_bytes,
        max_depth=max_depth,
    )


def _decoded(data: bytes, load: Callable[[str], T], *, what: str, max_bytes: int, max_depth: int) -> T:
    if len(data) > max_bytes:
        raise _error(what, "YamlTooLarge", f"{len(data)} bytes", f"at most {max_bytes} bytes")
    try:
        text = str(data, "utf-8")
        _check_structure(text, what=what, max_depth=max_depth)
        return load(text)
    except FormatError:
        raise
    except UnicodeError as error:
        raise _error(what, "YamlInvalid", shown(str(error)), "valid UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _error(what, "YamlInvalid", shown(" ".join(str(error).split())), "well-formed YAML") from None


def _check_structure(text: str, *, what: str, max_depth: int) -> None:
    """The loader recurses and follows aliases; the scanner does neither."""
    depth = 0
    for count, token in enumerate(yaml.scan(text, Loader=yaml.CBaseLoader)):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > max_depth:
            raise _error(what, "YamlTooDeep", f"more than {max_depth} levels", f"at most {max_depth} levels")
        if count > _MAX_TOKENS:
            raise _error(what, "YamlTooManyItems", f"more than {_MAX_TOKENS} items", f"at most {_MAX_TOKENS}")
        if isinstance(token, yaml.AliasToken):
            raise _error(what, "YamlAlias", f"the alias *{shown(token.value)[1:-1]}", "values written out")


def _error(what: str, rule: str, found: str, wanted: str) -> FormatError:
    return FormatError(rule, f"{found} in {what}", wanted, f"Correct {what}.")
