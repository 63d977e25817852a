"""Pages in memory: together they are the whole list, in order, each item once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.query.pages import Order, Page, Position
from gatehouse.server.catalog.paging import OrderValue, page_of

Items = dict[int, str | None]


@given(
    st.dictionaries(st.integers(1, 99), st.none() | st.text(alphabet="ab", max_size=2), max_size=12),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["NAME", "ID"]),
    st.booleans(),
)
def test_pages_are_the_list(items: Items, size: int, descending: bool, by: str, forgetful: bool) -> None:
    order = Order(by=by, descending=descending)

    def value(item: int, _order: Order) -> OrderValue:
        return None if by == "ID" else items[item]

    whole = page_of(list(items), Page(order=order), rank=int, value=value)
    assert whole.last is None
    present = sorted(
        (item for item in items if value(item, order) is not None), key=lambda item: (items[item] or "", item)
    )
    missing = sorted(item for item in items if value(item, order) is None)
    assert list(whole.items) == (present[::-1] + missing[::-1] if descending else present + missing)
    seen: list[int] = []
    position: Position | None = None
    while True:
        page = page_of(list(items), Page(order=order, after=position, size=size), rank=int, value=value)
        seen += page.items
        if page.last is None:
            break
        assert len(page.items) == size
        position = Position(None, page.last.id) if forgetful else page.last
    assert seen == list(whole.items)


def test_a_page_after_an_item_that_is_gone_is_empty_without_its_value() -> None:
    page = Page(order=Order(by="NAME"), after=Position(None, 5))
    assert page_of([1, 2], page, rank=int, value=lambda item, _order: str(item)).items == ()
