"""Filters over entries as conditions of SQL, alike on each database.

A comparison of a custom property, or of a member that no column has, looks for a row of ``entry_properties``. What an
entry lacks equals nothing and differs from nothing: a comparison with it never holds. LIKE distinguishes upper and
lower case and ILIKE does not (SQLite: in ASCII only); a backslash in a pattern makes the next character literal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, true

from gatehouse.domain.common.epoch import EPOCH
from gatehouse.domain.query.filters import All, Comparison, Filter, Operator, Scalar, ValueType
from gatehouse.domain.query.filters import Any as AnyOf
from gatehouse.registry.entry_sources import EntrySource
from gatehouse.registry.json_text import json_text
from gatehouse.registry.tables import entry_properties

__all__ = ["MEMBERS", "condition", "moment_of", "property_name"]

MEMBERS: Final = frozenset(
    {
        "artifactType",
        "author",
        "description",
        "desiredState",
        "digest",
        "endTimeSinceEpoch",
        "experimentId",
        "experimentRunId",
        "inferenceServiceId",
        "lastKnownState",
        "libraryName",
        "license",
        "licenseLink",
        "logo",
        "maturity",
        "modelFormatName",
        "modelFormatVersion",
        "modelSourceClass",
        "modelSourceGroup",
        "modelSourceId",
        "modelSourceKind",
        "modelSourceName",
        "modelVersionId",
        "owner",
        "parameterType",
        "profile",
        "provider",
        "readme",
        "registeredModelId",
        "runtime",
        "schema",
        "serviceAccountName",
        "servingEnvironmentId",
        "source",
        "sourceType",
        "startTimeSinceEpoch",
        "status",
        "step",
        "storageKey",
        "storagePath",
        "timestamp",
        "uri",
        "value",
    }
)
"""Members of the client's JSON that are no custom properties, besides those that every entry has."""

_Expression = ColumnElement[Any]
_Condition = ColumnElement[bool]
_P = entry_properties.c
_LARGEST: Final = 2**53
_EQUAL: Final = frozenset({"=", "!=", "IN", "NOT IN"})
_NUMBERS: Final[dict[ValueType, frozenset[str]]] = {
    "int": frozenset({"int"}),
    "double": frozenset({"double"}),
    "bool": frozenset({"bool"}),
}
_ORDERED: Final[dict[Operator, Callable[[_Expression, Any], _Condition]]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def condition(source: EntrySource, tree: Filter, *, dialect: str) -> _Condition:
    """The condition that the rows of a source must meet. ``dialect`` is SQLAlchemy's name of the database."""
    match tree:
        case All(parts):
            return and_(true(), *[condition(source, part, dialect=dialect) for part in parts])
        case AnyOf(parts):
            return or_(false(), *[condition(source, part, dialect=dialect) for part in parts])
        case Comparison():
            return _comparison(source, tree, dialect)


def property_name(path: Sequence[str]) -> str:
    """The name of a custom property from its parts."""
    return ".".join(path)


def moment_of(milliseconds: int) -> datetime:
    """A time of the clients; the nearest possible time for a number that is none."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if milliseconds > 0 else EPOCH


def _comparison(source: EntrySource, tree: Comparison, dialect: str) -> _Condition:
    name = property_name(tree.path)
    if tree.type is None:
        columns = source.columns
        match name:
            case "id":
                return _number(columns["id"], tree)
            case "name":
                return _text(columns["name"], tree, dialect)
            case "externalId":
                return _text(columns["external_id"], tree, dialect)
            case "state":
                return _text(columns["state"], tree, dialect)
            case "createTimeSinceEpoch":
                return _time(columns["created_at"], tree)
            case "lastUpdateTimeSinceEpoch":
                return _time(columns["updated_at"], tree)
        if name in source.texts:
            return _text(source.texts[name], tree, dialect)
        if name in source.numbers:
            return _number(source.numbers[name], tree)
        if name in MEMBERS:
            return _member(source, name, tree, dialect)
    return _custom(source, name, tree, dialect)


def _member(source: EntrySource, name: str, tree: Comparison, dialect: str) -> _Condition:
    own = _property(source, name, tree, dialect, custom=0)
    said = source.spec_texts.get(name)
    if said is None:
        return own
    by_spec = and_(source.governed, _text(said, tree, dialect))
    if name == "uri":
        return or_(by_spec, and_(or_(~source.governed, said.is_(None)), own))
    return or_(own, and_(~_has_property(source, name, custom=0), by_spec))


def _custom(source: EntrySource, name: str, tree: Comparison, dialect: str) -> _Condition:
    own = _property(source, name, tree, dialect, custom=1)
    if _kind(tree) != "string":
        return own
    if name in source.governed_texts:
        said = source.governed_texts[name]
        return or_(own, and_(source.governed, said != "", _text(said, tree, dialect)))
    if not source.spec_properties:
        return own
    of_spec = json_text(source.columns["spec"], source.spec_properties, name)
    return or_(own, and_(source.governed, ~_has_property(source, name, custom=1), _text(of_spec, tree, dialect)))


def _has_property(source: EntrySource, name: str, *, custom: Literal[0, 1]) -> _Condition:
    if source.subject is None:
        return false()
    return exists().where(
        _P.subject == source.subject, _P.entry_id == source.columns["id"], _P.custom == custom, _P.name == name
    )


def _property(source: EntrySource, name: str, tree: Comparison, dialect: str, *, custom: Literal[0, 1]) -> _Condition:
    """Whether the entry has the property, of the type and with the value."""
    if source.subject is None:
        return false()
    kind = _kind(tree)
    if kind == "string":
        holds = and_(_P.type == "string", _text(_P.text, tree, dialect))
    else:
        types = _NUMBERS[kind] if kind in _NUMBERS else frozenset({"int", "double"})
        holds = and_(_P.type.in_(sorted(types)), _number(_P.number, tree, boolean=kind == "bool"))
    return exists().where(
        _P.subject == source.subject,
        _P.entry_id == source.columns["id"],
        _P.custom == custom,
        _P.name == name,
        holds,
    )


def _kind(tree: Comparison) -> ValueType | Literal["number"]:
    """The type of the compared property: the client's suffix, or that of the first value."""
    if tree.type is not None:
        return tree.type
    match tree.values[0] if tree.values else "":
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case _:
            return "string"


def _text(expression: _Expression, tree: Comparison, dialect: str) -> _Condition:
    values = [_as_text(value) for value in tree.values]
    match tree.operator:
        case "IN":
            return expression.in_(values)
        case "NOT IN":
            return expression.not_in(values)
        case "LIKE" | "ILIKE":
            return _like(expression, values[0], dialect, any_case=tree.operator == "ILIKE")
        case operator:
            return _ORDERED[operator](expression, values[0])


def _as_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(expression: _Expression, tree: Comparison, *, boolean: bool = False) -> _Condition:
    values = list(_as_numbers(tree.values, boolean=boolean))
    if tree.operator == "NOT IN":
        return expression.not_in(values) if values else expression.is_not(None)
    if not values or tree.operator in {"LIKE", "ILIKE"}:
        return false()
    return expression.in_(values) if tree.operator == "IN" else _ORDERED[tree.operator](expression, values[0])


def _as_numbers(values: Sequence[Scalar], *, boolean: bool) -> Iterator[int | float]:
    """The values that are numbers; bools only where bools are compared."""
    for value in values:
        if boolean:
            text = _as_text(value).lower()
            if text in {"true", "false", "0", "1"}:
                yield int(text in {"true", "1"})
            continue
        number = _as_number(value)
        if number is not None:
            yield number


def _as_number(value: Scalar) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value) if len(value) < 20 and value.lstrip("-").isdecimal() else float(value)
        except ValueError:
            return None
    if value != value or abs(value) > 1e308:  # noqa: PLR0124 - not a number
        return None
    return value if isinstance(value, float) or abs(value) < _LARGEST else float(value)


def _time(expression: _Expression, tree: Comparison) -> _Condition:
    """Compares milliseconds: rows are finer, so each value is a span of time."""
    values = [int(value) for value in _as_numbers(tree.values, boolean=False)]
    spans = [(moment_of(value), moment_of(value + 1)) for value in values]
    if tree.operator in _EQUAL:
        within = or_(false(), *[and_(expression >= start, expression < end) for start, end in spans])
        return within if tree.operator in {"=", "IN"} else ~within
    if not spans:
        return false()
    start, end = spans[0]
    match tree.operator:
        case "<":
            return expression < start
        case "<=":
            return expression < end
        case ">":
            return expression >= end
        case ">=":
            return expression >= start
        case _:
            return false()


# Patterns

_ESCAPE: Final = "|"


def _like(expression: _Expression, pattern: str, dialect: str, *, any_case: bool) -> _Condition:
    tokens = list(_tokens(pattern))
    if dialect == "sqlite" and not any_case:
        return expression.op("GLOB", is_comparison=True)("".join(map(_glob, tokens)))
    plain = "".join(map(_escaped, tokens))
    if dialect == "postgresql" and any_case:
        return expression.ilike(plain, escape=_ESCAPE)
    if any_case and dialect != "sqlite":
        return func.lower(expression).like(plain.lower(), escape=_ESCAPE)
    return expression.like(plain, escape=_ESCAPE)


def _tokens(pattern: str) -> Iterator[tuple[bool, str]]:
    """Each character, and whether it stands for others."""
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            yield False, next(characters, "\\")
        else:
            yield character in "%_", character


def _glob(token: tuple[bool, str]) -> str:
    wild, character = token
    if wild:
        return "*" if character == "%" else "?"
    return f"[{character}]" if character in "*?[" else character


def _escaped(token: tuple[bool, str]) -> str:
    wild, character = token
    return f"{_ESCAPE}{character}" if not wild and character in "%_|" else character
