"""Custom properties: the wire form of each type, and what cannot be kept."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.entries.custom_properties import (
    LONGEST_KEY,
    MOST_PROPERTIES,
    PROPERTY_FORMS,
    CustomPropertyError,
    read_custom_properties,
    write_custom_properties,
)
from gatehouse.domain.entries.properties import PROPERTY_TYPES, Property

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
BASE64 = st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode())
PROPERTIES = st.one_of(
    st.integers(-999_999_999, 999_999_999).map(lambda value: Property("int", value)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: Property("double", value)),
    TEXTS.map(lambda value: Property("string", value)),
    st.booleans().map(lambda value: Property("bool", value)),
    BASE64.map(lambda value: Property("struct", value)),
    st.builds(Property, st.just("proto"), BASE64, TEXTS),
)
WIRE = {
    "int": ({"metadataType": "MetadataIntValue", "int_value": "-7"}, Property("int", -7)),
    "double": ({"metadataType": "MetadataDoubleValue", "double_value": 1}, Property("double", 1.0)),
    "string": ({"metadataType": "MetadataStringValue", "string_value": ""}, Property("string", "")),
    "bool": ({"metadataType": "MetadataBoolValue", "bool_value": False}, Property("bool", False)),
    "struct": ({"metadataType": "MetadataStructValue", "struct_value": "e30="}, Property("struct", "e30=")),
    "proto": (
        {"metadataType": "MetadataProtoValue", "type": "a/b", "proto_value": "AA=="},
        Property("proto", "AA==", "a/b"),
    ),
}


def refusal(value: Any) -> str:
    with pytest.raises(CustomPropertyError) as raised:
        read_custom_properties(value)
    return str(raised.value)


@given(st.dictionaries(TEXTS.filter(bool), PROPERTIES, max_size=6))
def test_reads_back_what_it_writes(properties: dict[str, Property]) -> None:
    assert read_custom_properties(write_custom_properties(properties)) == properties


@pytest.mark.parametrize("type_", PROPERTY_TYPES)
def test_each_type_has_its_form(type_: str) -> None:
    wire, property_ = WIRE[type_]
    read = read_custom_properties({"a": wire})
    assert read == {"a": property_}
    assert type(read["a"].value) is type(property_.value)
    assert write_custom_properties(read) == {"a": {**wire, **({"double_value": 1.0} if type_ == "double" else {})}}


def test_the_forms_are_those_of_all_types() -> None:
    assert tuple(form.type for form in PROPERTY_FORMS) == PROPERTY_TYPES == tuple(WIRE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "customProperties is None; expected an object"),
        ([], "customProperties is []"),
        ({"": WIRE["string"][0]}, "the name '' of 0 characters"),
        ({"x" * (LONGEST_KEY + 1): WIRE["string"][0]}, f"of {LONGEST_KEY + 1} characters"),
        ({"a\0": WIRE["string"][0]}, "without NUL"),
        ({"a": "x"}, "customProperties['a'] is 'x'; expected an object with metadataType"),
        ({"a": {}}, "customProperties['a'].metadataType is missing; expected MetadataIntValue, "),
        ({"a": {"metadataType": "x"}}, "metadataType is 'x'"),
        ({"a": {"metadataType": ["MetadataIntValue"]}}, "metadataType is ['MetadataIntValue']"),
        ({"a": {"metadataType": "MetadataIntValue"}}, "has no member 'int_value'; expected exactly metadataType, int_"),
        ({"a": {**WIRE["bool"][0], "x": 1}}, "has the members 'x'; expected exactly metadataType, bool_value"),
        ({"a": {**WIRE["proto"][0], "type": 5}}, "['a'].type is 5; expected the name of a type"),
    ],
)
def test_refuses_other_shapes(value: object, message: str) -> None:
    assert message in refusal(value)


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("int", [5, "", "1.0", "+1", "01", "1000000000", "٣", "1\n", None]),
        ("double", ["1", True, None, [], 10**400]),
        ("string", [1, None, "a\0b"]),
        ("bool", [0, "true", None]),
        ("struct", ["e30", "e30=\n", "e3-=", "=", 5, None, "AB=="[:3]]),
        ("proto", ["AA=", "A", " "]),
    ],
)
def test_refuses_values_of_another_type(type_: str, values: list[object]) -> None:
    form = next(form for form in PROPERTY_FORMS if form.type == type_)
    for value in values:
        message = refusal({"a": {**WIRE[type_][0], form.member: value}})
        assert re.match(rf"customProperties\['a'\]\.{form.member} is .*; expected {form.expected}$", message)


def test_the_number_of_properties_is_bounded() -> None:
    assert len(read_custom_properties({f"k{n}": WIRE["int"][0] for n in range(MOST_PROPERTIES)})) == MOST_PROPERTIES
    assert "has 10000 properties; expected at most 1000" in refusal({f"k{n}": {} for n in range(10_000)})


def test_a_double_is_finite() -> None:
    value = read_custom_properties({"a": {"metadataType": "MetadataDoubleValue", "double_value": 10**300}})["a"].value
    assert isinstance(value, float)
    assert math.isfinite(value)
