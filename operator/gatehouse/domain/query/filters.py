"""A filter over entries as a tree. :mod:`gatehouse.domain.query.filter_query` parses the clients' text into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["All", "Any", "Comparison", "Filter", "Operator", "Scalar", "ValueType"]

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN"]
ValueType = Literal["string", "int", "double", "bool"]
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """``path`` is the name of a member or of a custom property, in its parts: ``("name",)``, ``("artifacts", "uri")``.

    ``type`` is the suffix that the client wrote (``.string_value``), which always means a custom property; without one
    the type follows from the value. ``values`` has one value, or those of IN.
    """

    path: tuple[str, ...]
    operator: Operator
    values: tuple[Scalar, ...]
    type: ValueType | None = None


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one part holds."""

    parts: tuple[Filter, ...]


Filter = Comparison | All | Any
