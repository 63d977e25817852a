"""Untrusted YAML: strict UTF-8, bounded in bytes, depth and items, without aliases, checked before values are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import yaml

from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["YamlText", "load_documents", "loads_text"]

YamlText: TypeAlias = "str | list[YamlText] | dict[str, YamlText]"
"""A document in which every scalar is text: ``no`` is not False, ``1.10`` is not 1.1 and no date is made."""

_OPENING: Final = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING: Final = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


_MAX_TOKENS: Final = 200_000
_LONGEST_NUMBER: Final = 128
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

T = TypeVar("T")


class _PlainLoader(yaml.CSafeLoader):
    """Limits the length of numbers: 1:1:1:..., a number of base 60, takes the square of its length to compute."""

    def construct_number(self, node: yaml.Node) -> object:
        """A number of at most 128 characters."""
        if isinstance(node, yaml.ScalarNode) and len(node.value) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} characters", node.start_mark
            )
        return yaml.CSafeLoader.yaml_constructors[node.tag](self, node)


class _TextLoader(yaml.CBaseLoader):
    """Makes only text, lists and mappings in which each key occurs once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without duplicate keys; PyYAML itself takes the last of two values."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "found a key twice", node.start_mark)
        return mapping


for _tag in _NUMBERS:
    _PlainLoader.add_constructor(_tag, _PlainLoader.construct_number)


def loads_text(data: bytes, *, what: str, max_bytes: int, max_depth: int = 32) -> YamlText:
    """Decode one YAML document with every scalar as text; an empty document is an empty text.

    `what` names the document in messages. Tags are ignored: no object is ever made of one. A key that occurs twice is
    YamlInvalid.

    Raises FormatError with the rules YamlTooLarge, YamlTooDeep, YamlTooManyItems, YamlAlias, YamlDirective and
    YamlInvalid.
    """
    value: YamlText | None = _decoded(
        data,
        lambda text: yaml.load(text, Loader=_TextLoader),  # noqa: S506 - it makes nothing but text
        what=what,
        max_bytes=max_bytes,
        max_depth=max_depth,
    )
    return "" if value is None else value


def load_documents(data: bytes, *, what: str, max_bytes: int, max_depth: int = 64) -> list[Any]:
    """Decode every YAML document with plain data in it: text, numbers, truth values, lists and mappings.

    Raises FormatError as `loads_text` does, and with the rule YamlTag: PyYAML raises errors of any type for a tag whose
    value does not fit.
    """
    return _decoded(
        data,
        lambda text: list(yaml.load_all(text, Loader=_PlainLoader)),
        what=what,
        max_bytes=max_bytes,
        max_depth=max_depth,
        tags=False,
    )


def _decoded(
    data: bytes, load: Callable[[str], T], *, what: str, max_bytes: int, max_depth: int, tags: bool = True
) -> T:
    if len(data) > max_bytes:
        raise _error(what, "YamlTooLarge", f"{len(data)} bytes", f"at most {max_bytes} bytes")
    try:
        text = str(data, "utf-8")
        _check_structure(text, what=what, max_depth=max_depth, tags=tags)
        return load(text)
    except FormatError:
        raise
    except UnicodeError as error:
        raise _error(what, "YamlInvalid", shown(str(error)), "valid UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _error(what, "YamlInvalid", shown(" ".join(str(error).split())), "well-formed YAML") from None


def _check_structure(text: str, *, what: str, max_depth: int, tags: bool) -> None:
    """The loader recurses, follows aliases and compares each directive with all before it; the scanner does neither."""
    depth = 0
    for count, token in enumerate(yaml.scan(text, Loader=yaml.CBaseLoader)):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > max_depth:
            raise _error(what, "YamlTooDeep", f"more than {max_depth} levels", f"at most {max_depth} levels")
        if count > _MAX_TOKENS:
            raise _error(what, "YamlTooManyItems", f"more than {_MAX_TOKENS} items", f"at most {_MAX_TOKENS}")
        if isinstance(token, yaml.AliasToken):
            raise _error(what, "YamlAlias", f"the alias *{shown(token.value)[1:-1]}", "values written out")
        if isinstance(token, yaml.DirectiveToken) and token.name != "YAML":
            raise _error(what, "YamlDirective", f"the directive %{shown(token.name)[1:-1]}", "a document without one")
        if isinstance(token, yaml.TagToken) and not tags:
            raise _error(what, "YamlTag", f"the tag {shown(token.value)}", "values without tags")


def _error(what: str, rule: str, found: str, allowed: str) -> FormatError:
    return FormatError(rule, f"{found} in {what}", allowed, f"Correct {what}.")
