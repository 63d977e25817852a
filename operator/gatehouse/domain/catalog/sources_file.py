"""The own entry in OpenShift AI's sources.yaml, which the dashboard's settings and other programs write as well.

The file is changed as a tree of nodes: every other entry, and each scalar in the way that it is written, stays. The
result is read again and compared with the file before: a file whose meaning would change for others is left alone.
"""

from __future__ import annotations

from typing import Final, cast

import yaml

from gatehouse.domain.catalog.listed_models import LABEL, SOURCE
from gatehouse.domain.common.bounded_yaml import YamlText, loads_text
from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["LARGEST_SOURCES", "MODELS_KEY", "SOURCES_KEY", "with_own_entry"]

SOURCES_KEY: Final = "sources.yaml"
MODELS_KEY: Final = "gatehouse-models.yaml"
LARGEST_SOURCES: Final = 1_048_576
"""Bytes: as many as a ConfigMap has."""
_LISTS: Final = ("model_catalogs", "catalogs")
"""The key of the catalogs of models, and the old one, which OpenShift AI still ships."""
_NOTHING: Final = ("", "null", "~")
_WHAT: Final = SOURCES_KEY
_TEXT: Final = "tag:yaml.org,2002:str"
_MAP: Final = "tag:yaml.org,2002:map"
_SEQUENCE: Final = "tag:yaml.org,2002:seq"
_REMEDY: Final = f"Correct {SOURCES_KEY}; until then the entry {SOURCE} is not written."


def with_own_entry(text: str) -> str:
    """The file with the own entry; the same text where the file has it.

    Of an existing own entry nothing changes: a person may have disabled or narrowed it. Raises FormatError for a file
    that cannot be read, and for an entry of the same id that is another's.
    """
    before = _read(text)
    name, entries = _catalogs(before)
    existing = [entry for entry in entries if isinstance(entry, dict) and entry.get("id") == SOURCE]
    if existing:
        _require_own(existing)
        return text
    document = cast("yaml.MappingNode", yaml.compose(text, Loader=yaml.CSafeLoader) if before else _mapping())
    kept = _others(document, name)
    _append(document, name)
    changed: str = yaml.serialize(document, Dumper=yaml.CSafeDumper, allow_unicode=True, width=1_000_000)
    _read(changed)
    if _others(cast("yaml.MappingNode", yaml.compose(changed, Loader=yaml.CSafeLoader)), name) != kept:
        raise _unusable("YamlForm", "a form that would change its meaning", "plain YAML")
    return changed


def _read(text: str) -> dict[str, YamlText]:
    document = loads_text(text.encode("utf-8", "surrogatepass"), what=_WHAT, max_bytes=LARGEST_SOURCES)
    if document in _NOTHING:
        return {}
    if not isinstance(document, dict):
        raise _unusable("YamlShape", f"a {_kind(document)}", "a mapping")
    return document


def _catalogs(document: dict[str, YamlText]) -> tuple[str, list[YamlText]]:
    """The list that has the own entry, or gets it."""
    lists: dict[str, list[YamlText]] = {}
    for name in _LISTS:
        value = document.get(name, "")
        if isinstance(value, list):
            lists[name] = value
        elif value not in _NOTHING:
            raise _unusable("YamlShape", f"{name} that is a {_kind(value)}", "a list")
    for name, entries in lists.items():
        if any(isinstance(entry, dict) and entry.get("id") == SOURCE for entry in entries):
            return name, entries
    name = next(iter(lists), next((name for name in _LISTS if name in document), _LISTS[-1]))
    return name, lists.get(name, [])


def _require_own(existing: list[dict[str, YamlText]]) -> None:
    for entry in existing:
        properties = entry.get("properties")
        path = properties.get("yamlCatalogPath") if isinstance(properties, dict) else None
        if entry.get("type") != "yaml" or path != MODELS_KEY:
            raise FormatError(
                "EntryTaken",
                f"an entry with the id {SOURCE} whose type is {shown(str(entry.get('type')))} and whose file is "
                f"{shown(str(path))} in {_WHAT}",
                f"type yaml and yamlCatalogPath {MODELS_KEY}",
                f"Give the other entry another id, or remove it; the entry {SOURCE} is then written.",
            )


def _append(document: yaml.MappingNode, name: str) -> None:
    entry = _mapping(
        (_scalar("name"), _scalar("Gatehouse")),
        (_scalar("id"), _scalar(SOURCE)),
        (_scalar("type"), _scalar("yaml")),
        (_scalar("enabled"), yaml.ScalarNode("tag:yaml.org,2002:bool", "true")),
        (_scalar("properties"), _mapping((_scalar("yamlCatalogPath"), _scalar(MODELS_KEY)))),
        (_scalar("labels"), yaml.SequenceNode(_SEQUENCE, [_scalar(LABEL)], flow_style=False)),
    )
    for place, (key, value) in enumerate(document.value):
        if key.value == name:
            if isinstance(value, yaml.SequenceNode) and value.value:
                value.value.append(entry)
            else:
                document.value[place] = (key, yaml.SequenceNode(_SEQUENCE, [entry], flow_style=False))
            return
    document.value.append((_scalar(name), yaml.SequenceNode(_SEQUENCE, [entry], flow_style=False)))


def _others(document: yaml.MappingNode, name: str) -> object:
    """What the file says without the own entry: each scalar with its text, its type, and whether it is quoted."""
    parts = []
    for key, value in document.value:
        if key.value != name:
            parts.append((_said(key), _said(value)))
        elif isinstance(value, yaml.SequenceNode):
            parts += [("", _said(entry)) for entry in value.value if ("id", SOURCE) not in _plain(entry)]
    return parts


def _said(node: yaml.Node) -> object:
    match node:
        case yaml.MappingNode():
            return [(_said(key), _said(value)) for key, value in node.value]
        case yaml.SequenceNode():
            return [_said(part) for part in node.value]
        case yaml.ScalarNode():
            # A text with other letters than ASCII is a text in each version of YAML, and libyaml quotes some of them.
            return node.tag, node.value, bool(node.style) or not node.value.isascii()
    raise TypeError(f"a node is a {type(node).__name__}")


def _plain(node: yaml.Node) -> list[tuple[str, str]]:
    """The members of a mapping that are scalars."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [(key.value, value.value) for key, value in pairs if isinstance(value, yaml.ScalarNode)]


def _mapping(*pairs: tuple[yaml.Node, yaml.Node]) -> yaml.MappingNode:
    return yaml.MappingNode(_MAP, list(pairs), flow_style=False)


def _scalar(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(_TEXT, value)


def _kind(value: YamlText) -> str:
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list) else "text"


def _unusable(rule: str, found: str, expected: str) -> FormatError:
    return FormatError(rule, f"{found} in {_WHAT}", expected, _REMEDY)
