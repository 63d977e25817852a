"""Members of the wire's JSON objects: their types, and how each value is read, checked and written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import shown
from gatehouse.server.errors import BadRequest

__all__ = [
    "ALPHA_ONLY",
    "API_VERSIONS",
    "BOTH",
    "ID",
    "INT64",
    "LARGEST_STEP",
    "MOST_TEXTS",
    "ApiVersion",
    "BodyForm",
    "Member",
    "MemberType",
    "Target",
    "read_member",
]

ApiVersion = Literal["v1alpha3", "v1"]
API_VERSIONS: Final[tuple[ApiVersion, ...]] = ("v1alpha3", "v1")
BOTH: Final = frozenset(API_VERSIONS)
ALPHA_ONLY: Final = frozenset[ApiVersion]({"v1alpha3"})

BodyForm = Literal["create", "update", "upsert"]
"""An ``upsert`` is a whole entry, with its id if the entry exists."""
MemberType = Literal["text", "id", "enum", "number", "step", "int64", "texts", "properties", "time", "artifact_type"]
"""``step`` is a whole number: JSON's own in v1alpha3, a text in v1. ``int64`` is a text in both versions."""
Target = Literal[
    "id", "name", "external_id", "parent_id", "state", "members", "properties", "created_at", "updated_at", "kind"
]
"""The field of an Entry that holds a member."""

ID: Final = "^[1-9][0-9]{0,8}$"
INT64: Final = "^-?(0|[1-9][0-9]{0,17})$"
MOST_TEXTS: Final = 1_000
"""Elements of a list of texts."""
LARGEST_STEP: Final = 10**18 - 1
_EXACT: Final = 2**53
_ID: Final = re.compile(r"[1-9][0-9]{0,8}")
_INT64: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of an entry's JSON.

    ``forms`` are the bodies that may have the member; an answer always has it when the entry has a value. ``required``
    is for bodies that create. ``shortest`` and ``longest`` count characters. A filter that names a member with
    ``filterable`` means the member, and otherwise a custom property of that name, as upstream has it.
    """

    name: str
    about: str
    type: MemberType = "text"
    target: Target = "members"
    forms: frozenset[BodyForm] = frozenset({"create", "update", "upsert"})
    required: bool = False
    values: tuple[str, ...] = ()
    default: str = ""
    shortest: int = 0
    longest: int | None = None
    versions: frozenset[ApiVersion] = BOTH
    filterable: bool = False


def read_member(member: Member, value: JsonValue, *, version: ApiVersion) -> JsonValue:
    """The value of a member for an Entry. ``step`` becomes an int in both versions. Raises BadRequest.

    The types ``properties``, ``artifact_type`` and ``time`` are not read here.
    """
    if member.type == "step":
        return _step(member, value, version=version)
    return _READERS[member.type](member, value)


def _refusal(member: Member, value: JsonValue, expected: str) -> BadRequest:
    return BadRequest(f"{member.name} is {_found(value)}; expected {expected}")


def _found(value: JsonValue) -> str:
    return "null" if value is None else shown(value)


def _text(member: Member, value: JsonValue) -> str:
    if not isinstance(value, str):
        raise _refusal(member, value, "a text")
    if "\0" in value:
        raise _refusal(member, value, "a text without NUL")
    if not member.shortest <= len(value) <= (member.longest or len(value)):
        bounds = f"{member.shortest} to {member.longest}" if member.longest else f"at least {member.shortest}"
        raise BadRequest(f"{member.name} has {len(value)} characters; expected {bounds}")
    return value


def _texts(member: Member, value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise _refusal(member, value, "a list of texts")
    if len(value) > MOST_TEXTS:
        raise BadRequest(f"{member.name} has {len(value)} elements; expected at most {MOST_TEXTS}")
    return [_text(member, element) for element in value]


def _id(member: Member, value: JsonValue) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _refusal(member, value, "an id: a text with a whole number from 1 to 999999999")
    return value


def _enum(member: Member, value: JsonValue) -> str:
    if not isinstance(value, str) or value not in member.values:
        raise _refusal(member, value, f"one of {', '.join(member.values)}")
    return value


def _number(member: Member, value: JsonValue) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refusal(member, value, "a number")
    if isinstance(value, int) and abs(value) <= _EXACT:
        return value
    try:
        real = float(value)
    except OverflowError:
        raise _refusal(member, value, "a number below 1.8e308") from None
    if not math.isfinite(real):
        raise _refusal(member, value, "a number below 1.8e308")
    return real


def _int64(member: Member, value: JsonValue) -> str:
    if not isinstance(value, str) or not _INT64.fullmatch(value):
        raise _refusal(member, value, "a text with a whole number of at most 18 digits")
    return value


def _step(member: Member, value: JsonValue, *, version: ApiVersion) -> int:
    if version == "v1":
        return int(_int64(member, value))
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_STEP:
        raise _refusal(member, value, "a whole number of at most 18 digits")
    return value


_READERS: Final[Mapping[MemberType, Callable[[Member, JsonValue], JsonValue]]] = {
    "text": _text,
    "texts": _texts,
    "id": _id,
    "enum": _enum,
    "number": _number,
    "int64": _int64,
}
