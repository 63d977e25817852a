"""Which objects continue a trace: young ones with a valid annotation, and nothing an annotation says does harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.controllers.reconciler import TRACED_FOR, trace_of_object

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def body(value: Any, *, created: Any = "2026-12-01T12:00:00Z") -> dict[str, Any]:
    return {"metadata": {"annotations": {"gatehouse.dev/traceparent": value}, "creationTimestamp": created}}


def test_a_young_object_continues_its_trace() -> None:
    found = trace_of_object(body(VALID), now=NOW + TRACED_FOR)
    assert found is not None
    assert (found.trace_id, found.parent_id, found.sampled) == (TRACE, SPAN, True)


@pytest.mark.parametrize(
    "object_",
    [
        {"metadata": {}},
        {"metadata": {"annotations": None}},
        body(VALID, created=None),
        body(VALID, created="yesterday"),
        body(VALID, created="2026-12-01T12:00:00"),
        body(None),
        body(7),
        body(""),
        body(f"ff-{TRACE}-{SPAN}-01"),
        body(f"00-{'0' * 32}-{SPAN}-01"),
        body(VALID + "x" * 300),
    ],
)
def test_others_have_no_trace(object_: dict[str, Any]) -> None:
    assert trace_of_object(object_, now=NOW) is None


def test_an_old_object_has_none() -> None:
    assert trace_of_object(body(VALID), now=NOW + TRACED_FOR + timedelta(seconds=1)) is None


@given(st.text(max_size=100) | st.integers(), st.text(max_size=40) | st.none())
def test_no_annotation_raises(value: object, created: str | None) -> None:
    assert trace_of_object(body(value, created=created), now=NOW) is None
