"""The formats that others depend on: the schemas of the kinds, the tables, and the settings, one line for each part.

After an intended change, `PYTHONPATH=tests .venv/bin/python tests/wireformats.py` records the new formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from gatehouse.api import KINDS, Resource
from gatehouse.api.schema import crd
from gatehouse.app.server_settings import ServerSettings
from gatehouse.app.settings import Settings
from gatehouse.app.settings_declared import DeclaredSetting, declared_settings
from gatehouse.registry.schema import version_table
from gatehouse.registry.tables import metadata

__all__ = ["RECORD", "formats"]

RECORD = Path(__file__).with_name("wireformats.json")
DIALECTS = (sqlite.dialect(), mysql.dialect(), postgresql.dialect())
WORDS = frozenset({"description", "message"})
"""Texts for people in a CRD, which may be reworded."""
NESTED = frozenset({"properties", "items", "additionalProperties"})


def formats() -> Mapping[str, Mapping[str, Any]]:
    """The formats of this tree: each part of them by its name."""
    return {
        "kinds": {name: part for kind in KINDS for name, part in _kind(kind)},
        "tables": {table.name: _statements(table) for table in (*metadata.sorted_tables, version_table)},
        "settings": {setting.key: _setting(setting) for setting in declared_settings(Settings)},
        "server settings": {setting.key: _setting(setting) for setting in declared_settings(ServerSettings)},
    }


def _kind(kind: type[Resource]) -> Iterator[tuple[str, Any]]:
    spec, name = crd(kind)["spec"], kind.info.kind
    yield name, _plain({key: value for key, value in spec.items() if key != "versions"})
    for version in spec["versions"]:
        own = {key: value for key, value in version.items() if key != "schema"}
        yield f"{name} {version['name']}", _plain(own)
        yield from _fields(f"{name}.{version['name']}", version["schema"]["openAPIV3Schema"])


def _fields(name: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A schema without the fields in it, and then each of them."""
    yield name, _plain({key: value for key, value in node.items() if key not in NESTED})
    for field, schema in node.get("properties", {}).items():
        yield from _fields(f"{name}.{field}", schema)
    if "items" in node:
        yield from _fields(f"{name}[]", node["items"])
    if isinstance(node.get("additionalProperties"), Mapping):
        yield from _fields(f"{name}{{}}", node["additionalProperties"])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in sorted(value.items()) if key not in WORDS}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _statements(table: Table) -> Mapping[str, Sequence[str]]:
    """The statements that make the table and its indexes, for each database."""
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    return {
        dialect.name: [
            " ".join(str(statement.compile(dialect=dialect)).split())
            for statement in (CreateTable(table), *map(CreateIndex, indexes))
        ]
        for dialect in DIALECTS
    }


def _setting(setting: DeclaredSetting) -> Mapping[str, Any]:
    names = ("flag", "variable", "default", "switch", "repeatable")
    return {name: getattr(setting, name) for name in names}


def _written() -> str:
    """One line for each part, so that a difference shows the part."""
    groups = [
        f"{json.dumps(group)}: {{\n"
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in parts.items())
        + "\n}"
        for group, parts in formats().items()
    ]
    return "{\n" + ",\n".join(groups) + "\n}\n"


if __name__ == "__main__":
    RECORD.write_text(_written())
