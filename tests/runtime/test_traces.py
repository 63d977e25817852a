"""The W3C header traceparent: valid ones are taken, all others are as none."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatehouse.runtime.traces import Trace, parse_traceparent, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEX = st.text("0123456789abcdef")


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", Trace(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", Trace(TRACE, SPAN)),
        (f"00-{TRACE}-{SPAN}-fe", Trace(TRACE, SPAN)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", Trace(TRACE, SPAN, sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01", Trace(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f" 00-{TRACE}-{SPAN}-01", None),
        (f"cc-{TRACE}-{SPAN}-01-{'x' * 300}", None),
        ("", None),
    ],
)
def test_which_headers_name_a_trace(header: str, trace: Trace | None) -> None:
    assert parse_traceparent(header) == trace


@given(st.one_of(st.text(max_size=300), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*")))
@example(f"00-{TRACE}-{SPAN}-01\n")
def test_every_trace_is_one_that_logs_may_show(header: str) -> None:
    for trace in (trace_of([header]), trace_of([header, header]), trace_of([])):
        assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)
        assert re.fullmatch("([0-9a-f]{16})?", trace.parent_id)


def test_two_headers_are_as_none() -> None:
    header = f"00-{TRACE}-{SPAN}-01"
    assert trace_of([header]).trace_id == TRACE
    assert trace_of([header, header]).trace_id != TRACE
    assert trace_of([]) != trace_of([])
