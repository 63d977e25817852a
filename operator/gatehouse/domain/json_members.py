"""The members of one large JSON object, one at a time, so that nothing but the bytes themselves is held in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gatehouse.domain import jsonbound
from gatehouse.domain.format_error import FormatError, shown

__all__ = ["MAX_DEPTH", "members"]

MAX_DEPTH = 126
"""Levels inside one member; with the outer object 127, as many as Rust's serde_json reads."""

_MAX_KEY = 65_536
_KEY = re.compile(rb'[ \t\n\r]*+("(?:[^"\\\x00-\x1f]++|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL)
_NEXT_KEY = re.compile(rb"[ \t\n\r]*+," + _KEY.pattern, re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*+\}[ \t\n\r]*+\Z")
_FLAT_OBJECT = re.compile(rb'\{(?:[^"{}]++|' + jsonbound.STRING + rb")*+\}", re.DOTALL)
_TOKEN = re.compile(jsonbound.UNENDED_STRING + rb"|[\[\]{}]", re.DOTALL)


def members(data: bytes, *, what: str) -> Iterator[tuple[str, bytes]]:
    """Yield the decoded key and the undecoded value of each member of the object `data`.

    Values are objects, arrays or null; it is for the caller to decode them, which finds what is wrong inside.
    Takes linear time and no memory that grows.

    Raises FormatError with the rules HeaderStart, HeaderInvalid, JsonTooDeep.
    """
    if not data.startswith(b"{"):
        raise _refusal(
            "HeaderStart",
            f"{what} that begins with {shown(data[:16])}",
            "a JSON object: the first byte is `{`",
        )
    position, pattern = 1, _KEY
    while not _END.match(data, position):
        key = pattern.match(data, position)
        if key is None:
            raise _refusal(
                "HeaderInvalid",
                f"{shown(data[position : position + 40])} in {what}",
                f"a key at byte {position}",
            )
        position = _value_end(data, key.end(), what=what)
        yield _decoded(key[1], what=what), data[key.end() : position]
        pattern = _NEXT_KEY


def _value_end(data: bytes, start: int, *, what: str) -> int:
    flat = _FLAT_OBJECT.match(data, start)
    if flat:
        return flat.end()
    if data.startswith(b"null", start):
        return start + 4
    if not data.startswith((b"{", b"["), start):
        raise _refusal("HeaderInvalid", f"{shown(data[start : start + 40])} in {what}", f"an object at byte {start}")
    depth = 0
    for token in _TOKEN.finditer(data, start):
        first = token[0][:1]
        if first in (b"{", b"["):
            depth += 1
        elif first != b'"':
            depth -= 1
        if depth == 0:
            return token.end()
        if depth > MAX_DEPTH:
            raise _refusal("JsonTooDeep", f"more than {MAX_DEPTH} levels in {what}", "entries nested less deeply")
    raise _refusal("HeaderInvalid", f"an entry of {what} at byte {start} that does not end", "well-formed JSON")


def _decoded(token: bytes, *, what: str) -> str:
    key = jsonbound.loads(token, what=f"a key of {what}", max_bytes=_MAX_KEY)
    if not isinstance(key, str):
        raise _refusal("HeaderInvalid", f"{shown(token)} in {what}", "a string")
    return key


def _refusal(rule: str, found: str, wanted: str) -> FormatError:
    return FormatError(rule, found, wanted, "The file is damaged or cut short: write it again and upload it whole.")
