"""Custom properties as the clients of the Kubeflow Model Registry write and read them: JSON, and `Property` values.

::

    {"accuracy": {"metadataType": "MetadataDoubleValue", "double_value": 0.93}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import listed, shown
from gatehouse.domain.entries.properties import Property, PropertyType, PropertyValue

__all__ = [
    "BASE64",
    "LONGEST_KEY",
    "MOST_PROPERTIES",
    "PROPERTY_FORMS",
    "SHORT_INT",
    "CustomPropertyError",
    "PropertyForm",
    "read_custom_properties",
    "write_custom_properties",
]

MOST_PROPERTIES: Final = 1_000
"""Custom properties of one entry."""
LONGEST_KEY: Final = 255
"""Characters of a property's name."""
SHORT_INT: Final = "^-?([1-9][0-9]{0,8}|0)$"
"""The pattern of an ``int_value``. The clients refuse a list in which one value has ten digits."""
BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_SHORT_INT: Final = re.compile(SHORT_INT.removesuffix("$") + r"\Z")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_DISCRIMINATOR: Final = "metadataType"


class CustomPropertyError(ValueError):
    """A custom property that Gatehouse cannot keep. The message names the property, what was found and the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyForm:
    """The wire form of one type: its ``metadataType``, the member with the value, and what the value is."""

    type: PropertyType
    metadata_type: str
    member: str
    expected: str
    with_type_name: bool = False

    @property
    def members(self) -> tuple[str, ...]:
        """All members of the form."""
        return (_DISCRIMINATOR, *(("type",) if self.with_type_name else ()), self.member)


PROPERTY_FORMS: Final = (
    PropertyForm(
        type="int",
        metadata_type="MetadataIntValue",
        member="int_value",
        expected="a text with a whole number of at most nine digits",
    ),
    PropertyForm(type="double", metadata_type="MetadataDoubleValue", member="double_value", expected="a number"),
    PropertyForm(type="string", metadata_type="MetadataStringValue", member="string_value", expected="a text"),
    PropertyForm(type="bool", metadata_type="MetadataBoolValue", member="bool_value", expected="true or false"),
    PropertyForm(type="struct", metadata_type="MetadataStructValue", member="struct_value", expected="base64"),
    PropertyForm(
        type="proto",
        metadata_type="MetadataProtoValue",
        member="proto_value",
        expected="base64",
        with_type_name=True,
    ),
)
_BY_METADATA_TYPE: Final[Mapping[str, PropertyForm]] = {form.metadata_type: form for form in PROPERTY_FORMS}
_BY_TYPE: Final[Mapping[PropertyType, PropertyForm]] = {form.type: form for form in PROPERTY_FORMS}


def read_custom_properties(value: JsonValue) -> dict[str, Property]:
    """The properties of the member ``customProperties``. Raises CustomPropertyError."""
    if not isinstance(value, dict):
        raise CustomPropertyError(f"customProperties is {shown(value)}; expected an object of typed values")
    if len(value) > MOST_PROPERTIES:
        raise CustomPropertyError(
            f"customProperties has {len(value)} properties; expected at most {MOST_PROPERTIES} of one entry. "
            "Keep larger data in a file, and its address in a property"
        )
    return {_key(name): _read(name, member) for name, member in value.items()}


def write_custom_properties(properties: Mapping[str, Property]) -> dict[str, JsonValue]:
    """The member ``customProperties`` of an answer."""
    return {name: _written(property_) for name, property_ in properties.items()}


def _key(name: str) -> str:
    if not 0 < len(name) <= LONGEST_KEY or "\0" in name:
        raise CustomPropertyError(
            f"customProperties has the name {shown(name)} of {len(name)} characters; "
            f"expected 1 to {LONGEST_KEY} characters without NUL"
        )
    return name


def _read(name: str, value: JsonValue) -> Property:
    where = f"customProperties[{shown(name)}]"
    if not isinstance(value, dict):
        raise CustomPropertyError(f"{where} is {shown(value)}; expected an object with metadataType and its value")
    metadata_type = value.get(_DISCRIMINATOR)
    form = _BY_METADATA_TYPE.get(metadata_type) if isinstance(metadata_type, str) else None
    if form is None:
        found = shown(metadata_type) if _DISCRIMINATOR in value else "missing"
        raise CustomPropertyError(f"{where}.metadataType is {found}; expected {', '.join(_BY_METADATA_TYPE)}")
    others = [member for member in value if member not in form.members]
    missing = [member for member in form.members if member not in value]
    if others or missing:
        found = f"the members {listed(others)}" if others else f"no member {listed(missing)}"
        raise CustomPropertyError(f"{where} has {found}; expected exactly {', '.join(form.members)}")
    proto_type = value["type"] if form.with_type_name else ""
    if not isinstance(proto_type, str) or "\0" in proto_type:
        raise CustomPropertyError(f"{where}.type is {shown(proto_type)}; expected the name of a type")
    content = _content(form, value[form.member])
    if content is None:
        raise CustomPropertyError(f"{where}.{form.member} is {shown(value[form.member])}; expected {form.expected}")
    return Property(form.type, content, proto_type)


def _content(form: PropertyForm, value: JsonValue) -> PropertyValue | None:
    """The value of the form, or None when the value is another."""
    if form.type == "bool":
        return value if isinstance(value, bool) else None
    if form.type == "double":
        return _double(value)
    if not isinstance(value, str) or "\0" in value:
        return None
    if form.type == "int":
        return int(value) if _SHORT_INT.match(value) else None
    if form.type in {"struct", "proto"}:
        return value if _BASE64.match(value) else None
    return value


def _double(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _written(property_: Property) -> dict[str, JsonValue]:
    form = _BY_TYPE[property_.type]
    value = str(property_.value) if form.type == "int" else property_.value
    type_name: dict[str, JsonValue] = {"type": property_.proto_type} if form.with_type_name else {}
    return {_DISCRIMINATOR: form.metadata_type, **type_name, form.member: value}
