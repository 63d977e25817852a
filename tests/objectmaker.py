"""Objects of a kind made from its CRD's schema, some of them nasty: what an API server may take and a program may not.

``mutant`` puts generated values into some places of an object that is fine, so that most of what it makes passes the
rest of the schema and its CEL rules. Everything comes from the random generator that is passed, so that a seed tells
an object.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["DATES", "NASTY_NUMBERS", "NASTY_STRINGS", "make", "mutant"]

Schema = Mapping[str, Any]
Random = random.Random

NASTY_STRINGS: Sequence[str] = (
    "",
    " ",
    "\n",
    "a\n",
    "\u2003",
    "\u00a0",
    "\u3000\u2028",
    "\ufeff",
    "\x00",
    "\x1b[31m",
    "\x7f",
    "\u202e",
    "\U0001f9a6",
    "\ud7ff\ue000\uffff",
    "e\u0301",
    "٣",
    "é",
    "İ",
    "K",
    "ſ",
    "{}",
    "../..",
    "//",
    "null",
    "NaN",
    "1e400",
    "-0",
    "0x10",
    "1_000",
    "٠.٥",
    "true",
    "$(HOME)",
    "~",
    "a" * 64,
    "a" * 254,
    "a" * 4097,
    "\u00e9" * 128,
)
DATES: Sequence[str] = (
    "2026-11-29T12:00:00Z",
    "2026-11-29T12:00:00+99:99",
    "2026-11-29T12:00:00+14:59",
    "2026-11-29T12:00:00-15:00",
    "2026-11-29T12:00:00+00:60",
    "2026-11-29T24:00:00Z",
    "2026-11-29T23:59:60Z",
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1900-01-01T00:00:00+14:00",
    "1900-01-01T00:00:00Z",
    "1900-01-01T00:00:01Z",
    "2199-12-31T23:59:59-14:00",
    "2200-01-01T00:00:00Z",
    "2026-11-29t12:00:00z",
    "2026-11-29 12:00:00Z",
    "2026-11-29T12:00:00",
    "2026-11-29T12:00Z",
    "2026-11-29",
    "20261129T120000Z",
    "2026-W48-7",
    "2026-11-29T12:00:00.123456789Z",
    "2026-11-29T12:00:00.1234567890Z",
    "2026-11-29T12:00:00.Z",
    "2026-11-29T12:00:00,5Z",
    "2026-11-29T12:00:00\u221201:00",
    "2026-11-29T12:00:00Z\n",
    "٢٠٢٦-11-29T12:00:00Z",
    "1764417600",
    "1764417600000",
    "-1",
    "1e9",
    "now",
)
NASTY_NUMBERS: Sequence[int | float] = (
    0,
    -0.0,
    1.0,
    1.5,
    1e3,
    -1,
    127,
    2**31 - 1,
    2**31,
    2**32,
    2**53 - 1,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**30,
    1e300,
    5e-324,
    0.1 + 0.2,
)
NASTY_VALUES: Sequence[Any] = (None, True, 0, 1.0, "", "x", [], {}, [None], {"": None}, {"name": None})
NASTY_SHARE = 0.15


def mutant(rng: Random, schema: Schema, base: Any) -> Any:
    """The object with one to four of its places filled otherwise."""
    made = copy.deepcopy(base)
    for _ in range(rng.randint(1, 4)):
        made = _changed(rng, schema, made)
    return made


def _changed(rng: Random, schema: Schema, value: Any) -> Any:
    """The value with one place in it changed; deep places are as likely as high ones."""
    inner: list[Callable[[], Any]] = []
    properties = schema.get("properties")
    if isinstance(value, dict) and isinstance(properties, Mapping):
        for name, child in properties.items():
            inner += [lambda name=name, child=child: _put(rng, value, name, child)] * (3 if name in value else 1)
    elif isinstance(value, dict) and value and isinstance(schema.get("additionalProperties"), Mapping):
        for name in value:
            inner.append(lambda name=name: _put(rng, value, name, schema["additionalProperties"]))
    elif isinstance(value, list) and value and "items" in schema:
        position = rng.randrange(len(value))
        changed = lambda: [*value[:position], _changed(rng, schema["items"], value[position]), *value[position + 1 :]]  # noqa: E731
        inner.append(changed)
    if not inner or rng.random() < NASTY_SHARE:
        return make(rng, schema)
    return rng.choice(inner)()


def _put(rng: Random, into: dict[str, Any], name: str, schema: Schema) -> dict[str, Any]:
    if name in into and rng.random() < 0.8:
        return {**into, name: _changed(rng, schema, into[name])}
    if name in into and rng.random() < 0.5:
        return {key: value for key, value in into.items() if key != name}
    return {**into, name: make(rng, schema)}


def make(rng: Random, schema: Schema) -> Any:
    """A value that fits the schema, now and then only nearly, or only as one of the two programs sees it."""
    if rng.random() < NASTY_SHARE / 3:
        return copy.deepcopy(rng.choice(NASTY_VALUES))
    if "enum" in schema:
        return rng.choice([*schema["enum"], *schema["enum"], rng.choice(schema["enum"]).lower(), ""])
    match schema.get("type"):
        case "object":
            return _object(rng, schema)
        case "array":
            return _array(rng, schema)
        case "integer" | "number":
            return _number(rng, schema)
        case "boolean":
            return rng.random() < 0.5
        case _:
            return _string(rng, schema)


def _object(rng: Random, schema: Schema) -> dict[str, Any]:
    if "properties" in schema:
        required = set(schema.get("required", ()))
        made = {
            name: make(rng, child)
            for name, child in schema["properties"].items()
            if name in required or rng.random() < 0.3
        }
        if rng.random() < NASTY_SHARE / 3:
            made[rng.choice(NASTY_STRINGS)] = rng.choice(NASTY_VALUES)
        return made
    values = schema.get("additionalProperties", {"type": "string"})
    count = rng.choice([0, 1, 2, 3, _edge(rng, min(schema.get("maxProperties", 8), 300))])
    names = (rng.choice(NASTY_STRINGS) if rng.random() < NASTY_SHARE else f"k{number}" for number in range(count))
    return {name: make(rng, values) for name in names}


def _array(rng: Random, schema: Schema) -> list[Any]:
    smallest = schema.get("minItems", 0)
    count = rng.choice([smallest, smallest + 1, smallest + 2, _edge(rng, min(schema.get("maxItems", 8), 300))])
    made = [make(rng, schema["items"]) for _ in range(count)]
    if made and rng.random() < NASTY_SHARE:
        made.append(copy.deepcopy(rng.choice(made)))
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys and rng.random() > NASTY_SHARE:
        # Rows of a list that is a map must differ in their keys; few that are made by chance do.
        found = {repr([each.get(key) for key in keys]): each for each in made if isinstance(each, dict)}
        made = list(found.values())
    return made


def _edge(rng: Random, largest: int) -> int:
    return largest + rng.choice([0, 0, 1])


def _number(rng: Random, schema: Schema) -> int | float:
    edges: list[int | float] = []
    for bound in (schema.get("minimum"), schema.get("maximum")):
        if bound is not None:
            edges += [bound, bound - 1, bound + 1, float(bound)]
    whole = schema.get("type") == "integer"
    usual: list[int | float] = [rng.randint(0, 64), rng.randint(1, 4096) if whole else rng.random()]
    return rng.choice([*usual, *usual, *usual, rng.choice(edges or usual), rng.choice(NASTY_NUMBERS)])


def _string(rng: Random, schema: Schema) -> str:
    if schema.get("format") == "date-time" or "2[0-3]" in schema.get("pattern", ""):
        return rng.choice(DATES)
    pattern = schema.get("pattern")
    made = _matching(rng, pattern) if pattern else rng.choice(["granite", "nvidia-l4", "team", "a b", "x" * 20])
    if rng.random() < NASTY_SHARE:
        nasty = rng.choice(NASTY_STRINGS)
        position = rng.choice([0, len(made) // 2, len(made)])
        made = rng.choice([nasty, made[:position] + nasty + made[position:], made[:position] + nasty[:1]])
    smallest, largest = schema.get("minLength", 0), schema.get("maxLength", 4096)
    if rng.random() < NASTY_SHARE / 2:
        made = (made or "a") * (largest // max(len(made), 1) + 1)
        return made[: _edge(rng, largest)]
    return made.ljust(smallest, "a")[:largest] if pattern is None else made


class _Regex:
    """Strings that match a pattern of Go's and Rust's, which Python's parser reads as well."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def make(self, parsed: Any) -> str:
        return "".join(self._one(kind, argument) for kind, argument in parsed)

    def _one(self, kind: Any, argument: Any) -> str:
        match str(kind):
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL":
                return self._other({chr(argument)})
            case "IN":
                return self._of_set(argument)
            case "MAX_REPEAT":
                low, high, inner = argument
                longest = min(int(high), low + 4) if self._rng.random() < 0.9 else min(int(high), low + 70)
                return "".join(self.make(inner) for _ in range(self._rng.randint(low, longest)))
            case "SUBPATTERN":
                return self.make(argument[-1])
            case "BRANCH":
                return self.make(self._rng.choice(argument[1]))
            case "ANY":
                return self._rng.choice("ab1 /")
            case _:
                return ""

    def _of_set(self, members: Sequence[tuple[Any, Any]]) -> str:
        negated = str(members[0][0]) == "NEGATE"
        known = set()
        for kind, argument in members:
            if str(kind) == "LITERAL":
                known.add(chr(argument))
            elif str(kind) == "RANGE":
                known.update(chr(code) for code in range(argument[0], argument[1] + 1))
        return self._other(known) if negated else self._rng.choice(sorted(known))

    def _other(self, excluded: set[str]) -> str:
        usual = [char for char in "abcz09-._/ " if char not in excluded]
        odd = [char for char in "\u2003\u00a0\u3000\u0085\u000b\x00\x1f\x7fé٣\U0001f9a6\n" if char not in excluded]
        return self._rng.choice(odd if self._rng.random() < NASTY_SHARE else usual)


def _matching(rng: Random, pattern: str) -> str:
    parser: Any = vars(re)["_parser"]
    made: str = _Regex(rng).make(parser.parse(pattern, re.ASCII))
    return made
