"""Orders and pages of lists: by which value, from which entry on, how many."""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.domain.query.filters import ValueType

__all__ = ["Order", "Page", "Position"]


@dataclass(frozen=True, slots=True)
class Order:
    """By ``ID``, ``NAME``, ``CREATE_TIME`` or ``LAST_UPDATE_TIME``, or by a custom property of a type; ties by id."""

    by: str = "ID"
    descending: bool = False
    type: ValueType | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The last entry of the page before, by its value in the order and its id. The value is None in the order by ID."""

    value: str | int | float | None
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """At most ``size`` entries after a position; all of them when ``size`` is None."""

    order: Order = Order()
    after: Position | None = None
    size: int | None = None
