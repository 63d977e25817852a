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
    """The last entry of the page before, by its value in the order and its id.

    Times are milliseconds since 1970, or a finer whole number if the rows have one; values of bools are 0 and 1. In the
    order by ID the value is None. In another order, None says that the value is that of the entry with this id: the
    value was too long for a token, or the entry has none.
    """

    value: str | int | float | None
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """At most ``size`` entries after a position; all of them when ``size`` is None."""

    order: Order = Order()
    after: Position | None = None
    size: int | None = None
