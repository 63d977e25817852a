"""What is taken from lists and watches, and what is left to kopf, wherever pages and chunks are cut."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.runtime.informer import ListPage, WatchEvent
from gatehouse.runtime.kopf_source import _PART, _pages, _split, _WatchStream

EVENTS = st.builds(
    lambda kind, version, text: {"type": kind, "object": {"metadata": {"resourceVersion": str(version)}, "t": text}},
    st.sampled_from(["ADDED", "MODIFIED", "DELETED"]),
    st.integers(1, 10**6),
    st.text(max_size=20),
)
OTHERS = st.one_of(
    st.just(b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}'),
    st.just(b'{"type":"ERROR","object":{"code":410}}'),
    st.just(b'{"type":"ADDED","object":null}'),
    st.sampled_from([b"not json", b"[1]", b'"ADDED"', b'{"type":{}}']),
)


class Taken:
    def __init__(self) -> None:
        self.events: list[WatchEvent] = []

    async def take_page(self, page: ListPage) -> None:
        raise AssertionError("no list was read")

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None:
        assert kind == "widgets"
        self.events += events


class Chunks:
    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def read(chunks: Sequence[bytes]) -> tuple[Taken, list[bytes]]:
    taken = Taken()
    stream: Any = _WatchStream(Chunks(chunks), "widgets", taken)  # type: ignore[arg-type]

    async def collect() -> bytes:
        return b"".join([data async for data in stream.iter_chunked(1024)])

    return taken, [line for line in asyncio.run(collect()).split(b"\n") if line]


@given(st.lists(st.one_of(EVENTS, OTHERS), max_size=12), st.lists(st.integers(0, 2000), max_size=6))
def test_events_are_taken_and_the_rest_is_left_wherever_the_chunks_end(
    items: list[dict[str, Any] | bytes], cuts: list[int]
) -> None:
    text = b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in items)
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    chunks = [text[start:end] for start, end in itertools.pairwise(edges)]

    taken, left = read(chunks)

    events = [item for item in items if isinstance(item, dict)]
    assert [{"type": event.type, "object": event.body} for event in taken.events] == events
    bookmarks = [json.loads(line) for line in left if b"BOOKMARK" in line]
    if events and isinstance(items[-1], dict):
        assert bookmarks[-1]["object"]["metadata"] == events[-1]["object"]["metadata"]
    own = [item for item in items if isinstance(item, bytes) and b"BOOKMARK" not in item]
    assert [line for line in left if b"BOOKMARK" not in line] == own


def test_a_line_that_was_cut_off_is_left_to_kopf() -> None:
    taken, left = read([b'{"type":"ADDED","obj'])
    assert (taken.events, left) == ([], [b'{"type":"ADDED","obj'])


def taken(document: dict[str, Any], *, first: bool) -> tuple[dict[str, Any], list[ListPage]]:
    left, items = _split(json.dumps(document).encode())
    assert items is not None
    return left, list(_pages(left, items, ("widgets", "team"), first=first))


SIZES = st.sampled_from([0, 10, _PART // 3, _PART // 2, _PART + 1])


@given(st.lists(SIZES, max_size=8), st.booleans(), st.sampled_from(["", "more"]))
def test_a_list_is_taken_in_parts_of_a_bounded_size(sizes: list[int], first: bool, continued: str) -> None:
    items = [{"metadata": {"name": f"w{number}"}, "text": "x" * size} for number, size in enumerate(sizes)]
    metadata = {"resourceVersion": "7", "continue": continued}
    left, pages = taken({"kind": "WidgetList", "metadata": metadata, "items": items}, first=first)

    assert left == {"kind": "WidgetList", "metadata": metadata}
    assert [body for page in pages for body in page.items] == items
    assert {(page.kind, page.namespace, page.resource_version) for page in pages} == {("widgets", "team", "7")}
    assert [page.first for page in pages] == [first, *[False] * (len(pages) - 1)]
    assert [page.last for page in pages] == [*[False] * (len(pages) - 1), not continued]
    assert all(
        len(page.items) == 1 or len(json.dumps(page.items, separators=(",", ":"))) <= _PART + 64 for page in pages
    )
    assert len(pages) <= 1 + 2 * sum(sizes) // _PART


@pytest.mark.parametrize("document", [{"kind": "Status", "code": 200}, {"items": None}, {"items": {"a": 1}}, {}])
def test_what_has_no_list_of_items_is_left_to_kopf(document: dict[str, Any]) -> None:
    assert _split(json.dumps(document).encode()) == (document, None)
