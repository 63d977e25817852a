"""The trace of a request: taken from the W3C header ``traceparent`` if that is valid, else new."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Trace", "new_trace", "parse_traceparent", "trace_of"]

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{1,200})?")
_LONGEST: Final = 256
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """``trace_id`` has 32 hexadecimal digits; ``parent_id`` is the caller's span of 16 digits, or empty.

    ``traceparent`` is the header by which later work continues the trace; empty where no trace is sent.
    """

    trace_id: str
    parent_id: str = ""
    sampled: bool = False
    traceparent: str = ""


def parse_traceparent(value: str) -> Trace | None:
    """The trace that a header names, or None where the header is not valid."""
    match = _TRACEPARENT.fullmatch(value) if len(value) <= _LONGEST else None
    if match is None:
        return None
    version, trace_id, parent_id, flags, further = match.groups()
    # Version 00 ends after the flags. Later versions may have more members, and ff is none.
    if version == "ff" or (version == "00" and further) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return Trace(trace_id, parent_id, sampled=bool(int(flags, 16) & _SAMPLED))


def trace_of(headers: Sequence[str]) -> Trace:
    """The trace of a request with these values of ``traceparent``. Two of them are as none: one could be forged."""
    named = parse_traceparent(headers[0].strip(" \t")) if len(headers) == 1 else None
    return named or new_trace()


def new_trace() -> Trace:
    """A trace that no one else has."""
    return Trace(secrets.token_hex(16))
