"""Untrusted JSON: strict UTF-8, bounded in bytes, depth, items and digits."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn, TypeAlias

from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["MAX_DEPTH", "JsonValue", "loads", "loads_leniently", "members"]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

STRING = rb'"(?:[^"\\]++|\\.)*+"'
"""A JSON string token as a bytes pattern for DOTALL; possessive, so hostile input costs linear time and no stack.

Use the pattern only to match at one place. A search reads the rest of the bytes again from every quote of a string
without an end: its time grows with the square of their number.
"""

UNENDED_STRING = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
"""STRING, or a string that the bytes cut off. The pattern matches at every quote, so a search takes linear time."""

_TOKEN = re.compile(UNENDED_STRING + rb"|[\[\]{},]", re.DOTALL)
_OPENING = b"[{"
_CLOSING = b"]}"
_SUSPICIOUS_DIGITS = 300
_BOM = b"\xef\xbb\xbf"
_REPLACED = "\ufffd"
_MOST_ODD = 16
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class _RefusedError(ValueError):
    """The refusal of a decoding hook; `loads` adds the name of the document."""

    def __init__(self, rule: str, found: str, allowed: str) -> None:
        super().__init__(rule, found, allowed)
        self.rule = rule
        self.found = found
        self.allowed = allowed


def loads(
    data: bytes,
    *,
    what: str,
    max_bytes: int,
    max_depth: int = 64,
    max_items: int = 1_000_000,
    unique_keys: bool = True,
    constants: bool = True,
) -> JsonValue:
    """Decode one JSON document.

    `what` names the document in messages. `max_items` bounds commas and brackets outside strings, and so the values;
    `max_depth` bounds nested arrays and objects. With `constants`, NaN and Infinity are read as floats: Hugging Face's
    configurations, written by Python, have them. Integers keep their exact value; `-0` is a float, as in Rust's reader.

    Raises FormatError with the rules JsonTooLarge, JsonTooDeep, JsonTooManyItems, JsonDuplicateKey, JsonInvalid.
    """
    try:
        _check_structure(data, max_bytes=max_bytes, max_depth=max_depth, max_items=max_items)
        value: JsonValue = _DECODERS[unique_keys, constants].decode(str(data, "utf-8"))
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except _RefusedError as refused:
        raise _error(what, refused.rule, refused.found, refused.allowed) from None
    except UnicodeError as error:
        raise _error(what, "JsonInvalid", shown(str(error)), "valid UTF-8 text") from None
    except RecursionError:
        raise _error(what, "JsonTooDeep", "nesting too deep to follow", f"at most {max_depth} levels") from None
    except ValueError as error:
        raise _error(what, "JsonInvalid", shown(str(error)), "well-formed JSON") from None
    return value


def loads_leniently(
    data: bytes, *, what: str, max_bytes: int, max_depth: int = 64, max_items: int = 1_000_000
) -> tuple[JsonValue, tuple[str, ...]]:
    """Decode one JSON document that may have odd parts, and name these parts (the first 16).

    A key that occurs twice gets no value. Bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD, numbers
    beyond a float become infinity, and a byte order mark is skipped. The bounds are those of `loads`, and all other
    invalid JSON is refused in the same way. A document that was read leniently must not permit anything.

    Raises FormatError with the rules JsonTooLarge, JsonTooDeep, JsonTooManyItems, JsonInvalid.
    """
    odd: dict[str, None] = {}
    try:
        _check_structure(data, max_bytes=max_bytes, max_depth=max_depth, max_items=max_items)
        if data.startswith(_BOM):
            odd["a byte order mark"] = None
        text = data.removeprefix(_BOM).decode("utf-8", "replace")
        if _REPLACED in text:
            odd["bytes that are not UTF-8"] = None
        value = _lenient_decoder(odd).decode(text)
        if b"\\u" in data:
            value = _whole_characters(value, odd)
    except _RefusedError as refused:
        raise _error(what, refused.rule, refused.found, refused.allowed) from None
    except RecursionError:
        raise _error(what, "JsonTooDeep", "nesting too deep to follow", f"at most {max_depth} levels") from None
    except ValueError as error:
        raise _error(what, "JsonInvalid", shown(str(error)), "well-formed JSON") from None
    return value, tuple(odd)[:_MOST_ODD]


def _lenient_decoder(odd: dict[str, None]) -> json.JSONDecoder:
    def note(text: str) -> None:
        if len(odd) <= _MOST_ODD:
            odd[text] = None

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            for key, times in Counter(key for key, _ in pairs).items():
                if times > 1:
                    note(f"the key {shown(key)} {times} times: ignored")
                    del members[key]
        return members

    def integer(text: str) -> int | float:
        if len(text) > _SUSPICIOUS_DIGITS:
            return real(text)
        return -0.0 if text == "-0" else int(text)

    def real(text: str) -> float:
        number = float(text)
        if math.isinf(number):
            note(f"the number {shown(text)}")
        return number

    return json.JSONDecoder(object_pairs_hook=once, parse_int=integer, parse_float=real)


def _whole_characters(value: Any, odd: dict[str, None]) -> Any:
    """The value without halves of surrogate pairs."""
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value) is None:
            return value
        odd["half of a surrogate pair"] = None
        return _LONE_SURROGATE.sub(_REPLACED, value)
    if isinstance(value, dict):
        return {_whole_characters(key, odd): _whole_characters(member, odd) for key, member in value.items()}
    return [_whole_characters(element, odd) for element in value] if isinstance(value, list) else value


def _error(what: str, rule: str, found: str, allowed: str) -> FormatError:
    return FormatError(rule, f"{found} in {what}", allowed, f"Write {what} again and upload it.")


def _check_structure(data: bytes, *, max_bytes: int, max_depth: int, max_items: int) -> None:
    if len(data) > max_bytes:
        raise _RefusedError("JsonTooLarge", f"{len(data)} bytes", f"at most {max_bytes} bytes")
    opened = data.count(b"[") + data.count(b"{")
    if opened <= max_depth and opened + data.count(b",") <= max_items:
        return
    # Commas and brackets inside strings are text: count again without strings. Nothing that is skipped is kept.
    depth = items = strings = 0
    for token in _TOKEN.finditer(data):
        first = token[0][:1]
        if first in _CLOSING:
            depth -= 1
            continue
        if first == b'"':
            # In valid JSON, a comma, a colon or a bracket stands between two strings.
            strings += 1
            if strings > 2 * max_items + 2:
                raise _RefusedError(
                    "JsonTooManyItems", f"more than {2 * max_items} strings", f"at most {max_items} items"
                )
            continue
        items += 1
        if items > max_items:
            raise _RefusedError("JsonTooManyItems", f"more than {max_items} items", f"at most {max_items}")
        if first in _OPENING:
            depth += 1
            if depth > max_depth:
                raise _RefusedError("JsonTooDeep", f"more than {max_depth} levels", f"at most {max_depth} levels")


def _integer(text: str) -> int | float:
    if len(text) > _SUSPICIOUS_DIGITS and math.isinf(float(text)):
        raise _RefusedError("JsonInvalid", f"a number of {len(text)} digits", "a number below 1.8e308")
    return -0.0 if text == "-0" else int(text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedError("JsonInvalid", f"the number {shown(text)}", "a number below 1.8e308")
    return number


def _no_constant(text: str) -> NoReturn:
    raise _RefusedError("JsonInvalid", text, "a number; JSON has no such literal")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _RefusedError("JsonDuplicateKey", f"the key {shown(twice)} twice", "each key once")
    return members


def _decoder(*, unique_keys: bool, constants: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_unique if unique_keys else None,
        parse_int=_integer,
        parse_float=_finite,
        parse_constant=None if constants else _no_constant,
    )


_DECODERS = {
    (unique, constants): _decoder(unique_keys=unique, constants=constants)
    for unique in (False, True)
    for constants in (False, True)
}


MAX_DEPTH = 126
"""Levels inside one member; with the outer object 127, as many as Rust's serde_json reads."""

_MAX_KEY = 65_536
_KEY = re.compile(rb'[ \t\n\r]*+("(?:[^"\\\x00-\x1f]++|\\.)*+")[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL)
_NEXT_KEY = re.compile(rb"[ \t\n\r]*+," + _KEY.pattern, re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*+\}[ \t\n\r]*+\Z")
_FLAT_OBJECT = re.compile(rb'\{(?:[^"{}]++|' + STRING + rb")*+\}", re.DOTALL)
_STRING_OR_BRACKET = re.compile(UNENDED_STRING + rb"|[\[\]{}]", re.DOTALL)


def members(data: bytes, *, what: str) -> Iterator[tuple[str, bytes]]:
    """Yield the decoded key and the undecoded value of each member of the object `data`.

    Values are objects, arrays or null; the caller decodes them, which finds the errors inside. Takes linear time and no
    memory that grows.

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
    for token in _STRING_OR_BRACKET.finditer(data, start):
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
    key = loads(token, what=f"a key of {what}", max_bytes=_MAX_KEY)
    if not isinstance(key, str):
        raise _refusal("HeaderInvalid", f"{shown(token)} in {what}", "a string")
    return key


def _refusal(rule: str, found: str, allowed: str) -> FormatError:
    return FormatError(rule, found, allowed, "The file is damaged or cut short: write it again and upload it whole.")
