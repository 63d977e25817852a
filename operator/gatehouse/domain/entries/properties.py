"""Typed custom properties of entries, as the Kubeflow Model Registry's clients write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["PROPERTY_TYPES", "Property", "PropertyType", "PropertyValue"]

PropertyType = Literal["int", "double", "string", "bool", "struct", "proto"]
PROPERTY_TYPES: Final[tuple[PropertyType, ...]] = ("int", "double", "string", "bool", "struct", "proto")
PropertyValue = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Property:
    """A value of one type.

    ``value`` is an int of 32 bits for ``int``, a float for ``double``, a bool for ``bool``, and otherwise a text: of a
    ``struct`` and a ``proto`` the base64 that the client sent. ``proto_type`` is the type's name of a ``proto``.
    """

    type: PropertyType
    value: PropertyValue
    proto_type: str = ""
