"""Pages of lists in memory: the order, the position after which a page begins, and what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gatehouse.domain.query.pages import Order, Page, Position

__all__ = ["CatalogPage", "OrderValue", "page_of"]

T = TypeVar("T")
OrderValue = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPage(Generic[T]):
    """The items of a page. ``last`` is the position of the last item where others come after it."""

    items: Sequence[T]
    last: Position | None


def page_of(
    items: Sequence[T], page: Page, *, rank: Callable[[T], int], value: Callable[[T, Order], OrderValue]
) -> CatalogPage[T]:
    """A page of items. ``rank`` is the id of an item, which settles ties; items without a value come last."""
    order = page.order
    keyed = [(value(item, order), rank(item), item) for item in items]
    position = page.after
    if position is not None and position.value is None and order.by != "ID":
        # The value was too long for the token, or the item has none: the item itself tells.
        position = next((Position(kept, id_) for kept, id_, _ in keyed if id_ == position.id), None)
        if position is None:
            return CatalogPage(items=(), last=None)
    present = [(kept, id_, item) for kept, id_, item in keyed if kept is not None]
    missing = [(id_, item) for kept, id_, item in keyed if kept is None]
    down = order.descending
    present.sort(key=lambda row: row[:2], reverse=down)
    missing.sort(key=lambda row: row[0], reverse=down)
    rows = [*present, *((None, id_, item) for id_, item in missing)]
    if position is not None:
        rows = [row for row in rows if _follows(row[0], row[1], position, descending=down)]
    size = len(rows) if page.size is None else page.size
    last = Position(rows[size - 1][0], rows[size - 1][1]) if len(rows) > size else None
    return CatalogPage(items=[item for _, _, item in rows[:size]], last=last)


def _follows(value: OrderValue, id_: int, position: Position, *, descending: bool) -> bool:
    if value is None or position.value is None:
        if value is None and position.value is None:
            return id_ < position.id if descending else id_ > position.id
        return value is None
    here, there = (value, id_), (position.value, position.id)
    return here < there if descending else here > there
