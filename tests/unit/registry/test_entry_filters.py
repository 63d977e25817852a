"""Filters as SQL: whatever the tree, SQLite finds the entries for which the filter holds in Python."""

from __future__ import annotations

import asyncio
import operator as operators
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.domain.entries.entry import Entry, EntryKind, NewEntry
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.query.filters import All, Comparison, Filter, Scalar
from gatehouse.domain.query.filters import Any as AnyOf
from gatehouse.domain.query.pages import Order, Page
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.registry.entries import Entries
from gatehouse.registry.entry_filters import MEMBERS
from gatehouse.registry.entry_pages import position_of
from gatehouse.registry.rows import Rows
from registrycontract import NOW, Opened, a_version, open_file

KINDS: tuple[EntryKind, ...] = ("model_version", "model_artifact", "metric")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = (
    "",
    "a",
    "A",
    "b",
    "ab",
    "a%b",
    "a_b",
    "a\\b",
    "[a]",
    "*",
    "?",
    "|",
    "ä",
    "Ä",
    "7",
    "true",
    "模型",
    "a'b",
    'a"b',
)
NUMBERS = (-1, 0, 1, 2, 7, 0.5, 1.0, 2**31, 2**53)
PROPERTY_NAMES = ("p", "q.r", "odd name", 'quo"te', "gatehouse.phase", "description2")
MEMBER_NAMES = ("description", "author", "uri", "modelFormatName", "step")

texts = st.sampled_from(TEXTS)
patterns = st.lists(st.sampled_from(["%", "_", "\\", "\\%", "a", "A", "b", "|", "*", "[", "ä"]), max_size=5).map(
    "".join
)
values: st.SearchStrategy[Scalar] = st.one_of(texts, st.sampled_from(NUMBERS), st.booleans())
properties = st.dictionaries(
    st.sampled_from(PROPERTY_NAMES),
    st.one_of(
        texts.map(lambda value: Property("string", value)),
        st.sampled_from([-1, 0, 1, 2, 7]).map(lambda value: Property("int", value)),
        st.sampled_from([0.5, 1.0, 7.0, -1.5]).map(lambda value: Property("double", value)),
        st.booleans().map(lambda value: Property("bool", value)),
        st.just(Property("struct", "eyJhIjoxfQ==")),
    ),
    max_size=3,
)
members = st.dictionaries(st.sampled_from(MEMBER_NAMES), values | st.just(["a"]), max_size=3)
names = st.one_of(
    st.sampled_from(["id", "name", "externalId", "state", "artifactType", "registeredModelId", "createTimeSinceEpoch"]),
    st.sampled_from(["lastUpdateTimeSinceEpoch", *MEMBER_NAMES, *PROPERTY_NAMES]),
)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    """Comparisons that often hold for one of the entries."""
    name = draw(names)
    operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN"]))
    given_type = draw(st.sampled_from([None, None, "string", "int", "double", "bool"]))
    if operator in {"LIKE", "ILIKE"}:
        return Comparison(tuple(name.split(".")), operator, (draw(patterns),), given_type)
    value = values
    if name.endswith("SinceEpoch") and given_type is None:
        at = int(NOW.timestamp() * 1000)
        value = st.sampled_from([at - 1, at, at + 1, at + 2, str(at), "x", True])
    elif name in {"id", "registeredModelId"}:
        value = st.one_of(values, st.integers(1, 12), st.integers(1, 12).map(str))
    size = (1, 3) if operator.endswith("IN") else (1, 1)
    chosen = draw(st.lists(value, min_size=size[0], max_size=size[1]))
    return Comparison(tuple(name.split(".")), operator, tuple(chosen), given_type)


trees: st.SearchStrategy[Filter] = st.recursive(
    comparisons(),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3).map(lambda some: All(tuple(some))),
        st.lists(parts, max_size=3).map(lambda some: AnyOf(tuple(some))),
    ),
    max_leaves=5,
)


@dataclass(frozen=True)
class Recorded:
    """What a client and, for a governed version, an object say about an entry."""

    name: str
    external: bool
    state: str
    members: Mapping[str, Any]
    properties: Mapping[str, Property]
    spec: Mapping[str, Any] | None = field(default=None)
    delay: int = 0


specs = st.fixed_dictionaries(
    {"artifact": st.just({"format": "a"})},
    optional={
        "description": texts,
        "submittedBy": texts,
        "customProperties": st.dictionaries(st.sampled_from(PROPERTY_NAMES), texts, max_size=2),
    },
)
recorded = st.builds(
    Recorded,
    name=texts.filter(bool),
    external=st.booleans(),
    state=st.sampled_from(["LIVE", "ARCHIVED", ""]),
    members=members,
    properties=properties,
    delay=st.integers(0, 2500),
)
versions = st.builds(
    Recorded,
    name=texts.filter(bool),
    external=st.booleans(),
    state=st.sampled_from(["LIVE", "ARCHIVED"]),
    members=members,
    properties=properties,
    spec=st.none() | specs,
    delay=st.integers(0, 2500),
)


def unique(some: list[Recorded]) -> list[Recorded]:
    return list({each.name: each for each in some}.values())


# The same filter in Python, written from the rules and not from the SQL.

ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def holds(tree: Filter, entry: Entry) -> bool:
    match tree:
        case All(parts):
            return all(holds(part, entry) for part in parts)
        case AnyOf(parts):
            return any(holds(part, entry) for part in parts)
        case Comparison():
            return compared(tree, entry)


def compared(tree: Comparison, entry: Entry) -> bool:
    name = ".".join(tree.path)
    if tree.type is None:
        fixed: dict[str, Any] = {
            "id": entry.id,
            "name": entry.name,
            "externalId": entry.external_id,
            "state": entry.state,
        }
        if entry.kind == "model_version":
            fixed["registeredModelId"] = entry.parent_id
        else:
            fixed["artifactType"] = entry.kind.replace("_", "-")
        if name in fixed:
            value = fixed[name]
            return value is not None and (by_number if isinstance(value, int) else by_text)(tree, value)
        if name == "createTimeSinceEpoch":
            return by_time(tree, entry.created_at)
        if name == "lastUpdateTimeSinceEpoch":
            return by_time(tree, entry.updated_at)
        if name in MEMBERS:
            return name in entry.members and by_member(tree, entry, name)
    own = entry.properties.get(name)
    if name == "gatehouse.phase" and entry.governed is not None and by_kind(tree) == "string":
        return by_text(tree, entry.governed.phase) or (own is not None and by_property(tree, own))
    if name == 'quo"te' and entry.governed is not None and own is not None and is_of_spec(entry, name):
        return False  # a name with a quote in a spec is not searched
    return own is not None and by_property(tree, own)


SPEC_PROPERTIES: dict[int, frozenset[str]] = {}


def is_of_spec(entry: Entry, name: str) -> bool:
    return name in SPEC_PROPERTIES.get(entry.id, frozenset())


def by_member(tree: Comparison, entry: Entry, name: str) -> bool:
    value = entry.members[name]
    of_spec = entry.governed is not None and (
        name in {"description", "author"} or (entry.id < 500_000_000 and entry.kind == "model_artifact")
    )
    if of_spec and isinstance(value, str) and name in SPEC_MEMBERS.get((entry.kind, entry.id), {name}):
        return by_text(tree, value)
    match value:
        case bool():
            return by_property(tree, Property("bool", value))
        case int():
            return by_property(tree, Property("int", value))
        case float():
            return by_property(tree, Property("double", value))
        case str():
            return by_property(tree, Property("string", value))
    return False


SPEC_MEMBERS: dict[tuple[str, int], frozenset[str]] = {}
"""Members that came from the spec of a version, by its id: any literal compares with them as text."""


def by_kind(tree: Comparison) -> str:
    if tree.type is not None:
        return tree.type
    first = tree.values[0]
    return "bool" if isinstance(first, bool) else "string" if isinstance(first, str) else "number"


def by_property(tree: Comparison, own: Property) -> bool:
    kind = by_kind(tree)
    if kind == "string":
        return own.type == "string" and by_text(tree, str(own.value))
    if own.type not in ({"int", "double"} if kind == "number" else {kind}):
        return False
    return by_number(tree, float(own.value), boolean=kind == "bool")


def as_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def by_text(tree: Comparison, value: str) -> bool:
    asked = [as_text(each) for each in tree.values]
    match tree.operator:
        case "IN":
            return value in asked
        case "NOT IN":
            return value not in asked
        case "LIKE" | "ILIKE":
            flags = re.DOTALL | (re.IGNORECASE | re.ASCII if tree.operator == "ILIKE" else 0)
            return re.fullmatch("".join(expression(asked[0])), value, flags) is not None
        case operator:
            # SQLite compares the bytes of UTF-8.
            return ORDERED[operator](value.encode(), asked[0].encode())


def expression(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\" and at + 1 < len(pattern):
            at += 1
            yield re.escape(pattern[at])
        else:
            yield {"%": ".*", "_": "."}.get(character, re.escape(character))
        at += 1


def by_number(tree: Comparison, value: float, *, boolean: bool = False) -> bool:
    asked: list[float] = []
    for each in tree.values:
        if boolean:
            if as_text(each).lower() in {"true", "false", "0", "1"}:
                asked.append(as_text(each).lower() in {"true", "1"})
        elif not isinstance(each, bool):
            try:
                asked.append(float(each))
            except ValueError:
                continue
    if tree.operator == "NOT IN":
        return value not in asked
    if not asked or tree.operator in {"LIKE", "ILIKE"}:
        return False
    return value in asked if tree.operator == "IN" else ORDERED[tree.operator](value, asked[0])


def by_time(tree: Comparison, at: datetime) -> bool:
    milliseconds = (at - EPOCH) // timedelta(milliseconds=1)
    return by_number(tree, milliseconds) if tree.operator != "!=" else not by_number(negated(tree), milliseconds)


def negated(tree: Comparison) -> Comparison:
    return Comparison(tree.path, "=", tree.values, tree.type)


# The comparison


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def opened(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    opened = runner.run(open_file(Path(tmp_path_factory.mktemp("filters"))))
    yield opened
    runner.run(opened.databases.aclose())


REGISTRIES = count()


async def population(
    rows: Rows, entries: Callable[[int], Entries], of_versions: list[Recorded], of_metrics: list[Recorded]
) -> None:
    clock = entries(0)
    model = await clock.create(NewEntry(kind="registered_model", namespace="team-a", name="granite"), actor="a")

    def new(kind: EntryKind, parent_id: int, each: Recorded) -> NewEntry:
        return NewEntry(
            kind=kind,
            namespace="team-a",
            name=each.name,
            external_id=f"x{each.name}" if each.external else None,
            parent_id=parent_id,
            state=each.state,
            members=each.members,
            properties=each.properties,
        )

    for number, each in enumerate(of_versions):
        made = await entries(each.delay).create(new("model_version", model.id, each), actor="a")
        SPEC_MEMBERS[made.kind, made.id] = frozenset()
        SPEC_PROPERTIES[made.id] = frozenset()
        if each.spec is not None:
            record = a_version(number, version=made.key, id=made.id, model_id=model.id, state=each.state)
            spec = orjson.dumps({**each.spec}).decode()
            shown = ShownDecision(fit="Fits").text()
            record = replace(record, spec=spec, shown=shown)
            await rows.save_version(record, files=None, change=None)
            said = {"description": "description", "submittedBy": "author"}
            SPEC_MEMBERS["model_version", made.id] = frozenset(said[name] for name in each.spec if name in said) - {
                name for name, value in each.members.items() if isinstance(value, bool | int | float | str)
            }
            SPEC_PROPERTIES[made.id] = frozenset(each.spec.get("customProperties", {})) - frozenset(each.properties)
        for metric in of_metrics:
            await entries(metric.delay).create(new("metric", made.id, replace(metric, external=False)), actor="a")
        of_metrics = []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    of_versions=st.lists(versions, min_size=1, max_size=4).map(unique),
    of_metrics=st.lists(recorded, max_size=3).map(unique),
    asked=st.lists(trees, min_size=8, max_size=8),
)
def test_sql_finds_what_python_finds(
    runner: asyncio.Runner, opened: Opened, of_versions: list[Recorded], of_metrics: list[Recorded], asked: list[Filter]
) -> None:
    name, database = f"registries/r{next(REGISTRIES)}", opened.rows._database

    def entries(delay: int) -> Entries:
        return Entries(registry=name, database=database, now=lambda: NOW + timedelta(microseconds=delay))

    async def check() -> None:
        await population(Rows(registry=name, database=database, now=lambda: NOW), entries, of_versions, of_metrics)
        everything = (await entries(0).page(kinds=KINDS, page=Page())).entries
        assert len(everything) >= len(of_versions)
        for tree in asked:
            expected = [entry for entry in everything if holds(tree, entry)]
            found = await entries(0).page(kinds=KINDS, page=Page(), tree=tree)
            assert [describe(entry) for entry in found.entries] == [describe(entry) for entry in expected], tree
            artifacts = KINDS[1:]
            first = (await entries(0).page(kinds=artifacts, page=Page(size=1), tree=tree)).entries
            after = position_of(first[0], Order()) if first else None
            rest = (await entries(0).page(kinds=artifacts, page=Page(after=after), tree=tree)).entries if first else ()
            chosen = sorted((entry for entry in expected if entry.kind in artifacts), key=lambda entry: entry.id)
            assert [*first, *rest] == chosen

    runner.run(check())


def describe(entry: Entry) -> tuple[str, int, str]:
    return entry.kind, entry.id, entry.name
