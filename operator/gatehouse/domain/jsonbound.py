"""JSON from strangers: strict UTF-8, bounded in bytes, depth, items and digits before anything large is built."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn, TypeAlias

from gatehouse.domain.format_error import FormatError, shown

__all__ = ["STRING", "UNENDED_STRING", "JsonValue", "loads"]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

STRING = rb'"(?:[^"\\]++|\\.)*+"'
"""A JSON string token as a bytes pattern for DOTALL; possessive, so hostile input costs linear time and no stack.

Only for a match at one place. A search for it looks at the rest of the bytes again from every quote of a string that
does not end: it takes the square of their number.
"""

UNENDED_STRING = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
"""STRING, or one that the bytes end within. It matches at every quote, so a search for it takes linear time."""

_TOKEN = re.compile(UNENDED_STRING + rb"|[\[\]{},]", re.DOTALL)
_OPENING = b"[{"
_CLOSING = b"]}"
_SUSPICIOUS_DIGITS = 300


class _RefusedError(ValueError):
    """What a decoding hook refuses; `loads` adds the name of the document."""

    def __init__(self, rule: str, found: str, wanted: str) -> None:
        super().__init__(rule, found, wanted)
        self.rule = rule
        self.found = found
        self.wanted = wanted


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
        raise _error(what, refused.rule, refused.found, refused.wanted) from None
    except UnicodeError as error:
        raise _error(what, "JsonInvalid", shown(str(error)), "valid UTF-8 text") from None
    except RecursionError:
        raise _error(what, "JsonTooDeep", "nesting too deep to follow", f"at most {max_depth} levels") from None
    except ValueError as error:
        raise _error(what, "JsonInvalid", shown(str(error)), "well-formed JSON") from None
    return value


def _error(what: str, rule: str, found: str, wanted: str) -> FormatError:
    return FormatError(rule, f"{found} in {what}", wanted, f"Write {what} again and upload it.")


def _check_structure(data: bytes, *, max_bytes: int, max_depth: int, max_items: int) -> None:
    if len(data) > max_bytes:
        raise _RefusedError("JsonTooLarge", f"{len(data)} bytes", f"at most {max_bytes} bytes")
    opened = data.count(b"[") + data.count(b"{")
    if opened <= max_depth and opened + data.count(b",") <= max_items:
        return
    # Commas and brackets inside strings are text: look again without them. Nothing is kept of what is passed.
    depth = items = strings = 0
    for token in _TOKEN.finditer(data):
        first = token[0][:1]
        if first in _CLOSING:
            depth -= 1
            continue
        if first == b'"':
            # Between two strings stands a comma, a colon or a bracket, or it is no JSON.
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
