"""The fields that are read from JSON are those of the kinds' schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from gatehouse.api import KINDS
from gatehouse.api.meta import ObjectMeta
from gatehouse.api.schema import openapi_schema
from gatehouse.api.wire import PATHS, WIRES, WireMetadata

SCHEMAS = {kind.info.plural: openapi_schema(kind) for kind in KINDS}
SCALARS = {str: {"string"}, bool: {"boolean"}}


def disagreements(hint: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Where a type of JSON and a schema differ."""
    if is_typeddict(hint):
        if schema.get("type") != "object":
            yield f"{path} is {schema.get('type')}, not an object"
        properties = schema.get("properties", {})
        # A member that a reader takes for granted must be required; the API server fills in the defaults.
        required = {*schema.get("required", ()), *(name for name, inner in properties.items() if "default" in inner)}
        for name in sorted(hint.__required_keys__ - required):
            yield f"{path}.{name} is optional"
        for name, member in get_type_hints(hint).items():
            if name not in properties:
                yield f"{path}.{name} is no field"
            else:
                yield from disagreements(member, properties[name], f"{path}.{name}")
    elif get_origin(hint) is list:
        if schema.get("type") != "array":
            yield f"{path} is {schema.get('type')}, not an array"
        yield from disagreements(get_args(hint)[0], schema.get("items", {}), f"{path}[]")
    elif schema.get("type") not in SCALARS[hint]:
        yield f"{path} is {schema.get('type')}, not {hint.__name__}"


@pytest.mark.parametrize("plural", WIRES)
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_member_of_the_json_is_a_field_of_the_kind(plural: str, part: str) -> None:
    hints = get_type_hints(WIRES[plural])
    if part in hints:
        assert list(disagreements(hints[part], SCHEMAS[plural]["properties"][part], part)) == []


def test_the_members_of_metadata_are_those_of_the_kinds() -> None:
    known = {field.alias for field in ObjectMeta.model_fields.values()}
    assert set(get_type_hints(WireMetadata)) <= known


@pytest.mark.parametrize(("plural", "path"), [(plural, path) for plural, paths in PATHS.items() for path in paths])
def test_every_path_that_is_read_is_one_of_the_kind(plural: str, path: tuple[str, ...]) -> None:
    schema: Mapping[str, Any] = SCHEMAS[plural]
    for name in path:
        schema = schema["properties"][name]
    assert schema["type"] == "string"


def test_a_field_that_does_not_exist_is_noticed() -> None:
    """The comparison is no empty one."""
    schema = {"type": "object", "properties": {"metadata": {"type": "object", "properties": {}}}}
    problems = list(disagreements(WIRES["modelversions"], schema, "version"))
    assert "version.spec is no field" in problems
    assert "version.metadata.name is no field" in problems
    assert "version.spec is optional" in problems
