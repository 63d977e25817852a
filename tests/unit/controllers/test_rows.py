"""Rows and objects that do not know of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import pytest

import worlds
from gatehouse.controllers import model_version, registered_model
from gatehouse.controllers.ports import ObjectName, RegistryRows
from gatehouse.controllers.rows import RowSweep
from gatehouse.domain.version.records import KnownIds, StateChange

REGISTRY = "gatehouse-system/local"
INDEXES = {made.kind: made.indexes for made in (registered_model.DECLARATION, model_version.DECLARATION)}
Held = tuple[Literal["model", "version"], str, str]


def an_object(
    kind: str, name: str, registry_id: str | None, *, registry: str = REGISTRY, archived: bool = False
) -> dict[str, Any]:
    """A registered object in namespace team, as the cache keeps it."""
    versions = kind == "modelversions"
    spec: dict[str, Any] = {"state": "Archived"} if archived and not versions else {}
    if versions:
        spec |= {"modelRef": {"name": "granite"}, "version": name, "hardwareProfileRef": {"name": "l4"}}
    status = {"registry": registry, "registryId": registry_id, "phase": "Archived" if archived else "Ready to Deploy"}
    return {"kind": kind, "metadata": {"namespace": "team", "name": name}, "spec": spec, "status": status}


class Cache:
    """Objects, found by the operator's own indexes."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self._bodies = {(body["kind"], "team", body["metadata"]["name"]): body for body in bodies}

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._bodies.get((kind, namespace, name))

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return "1" if (kind, namespace, name) in self._bodies else None

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [ObjectName(*key[1:]) for key in self._bodies if key[0] == kind]

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        return [
            ObjectName(*key[1:])
            for key, body in self._bodies.items()
            if key[0] == kind and value in INDEXES[kind][index](body)
        ]

    def created(self, kind: str, namespace: str, name: str) -> str:
        raise NotImplementedError


@dataclass
class Rows:
    """Live rows, and what was done about them."""

    live: list[Held] = field(default_factory=list)
    archived: list[Held] = field(default_factory=list)
    reserved: list[KnownIds] = field(default_factory=list)

    async def live_objects(self) -> AsyncIterator[Held]:
        for each in self.live:
            yield each

    async def archive_object(
        self, kind: Literal["model", "version"], *, namespace: str, name: str, change: StateChange
    ) -> int:
        self.archived.append((kind, namespace, name))
        return 1

    async def reserve(self, highest: KnownIds) -> None:
        self.reserved.append(highest)


class StoppedClock:
    def now(self) -> Any:
        return worlds.NOW


@dataclass
class Swept:
    """A sweep of some objects, and what it had reconciled."""

    cache: Cache
    namespaces: tuple[str, ...] = ()
    enqueued: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sweep = RowSweep(
            reader=self.cache,
            enqueue=lambda key: self.enqueued.append((key.kind, key.name)),
            clock=StoppedClock(),
            namespaces=self.namespaces,
        )

    async def __call__(self, *live: Held) -> Rows:
        rows = Rows(live=list(live))
        await self.sweep(worlds.registry(), cast("RegistryRows", rows))
        return rows


MODEL = an_object("registeredmodels", "granite", "3")
FIRST = an_object("modelversions", "v1", "7")
SECOND = an_object("modelversions", "v2", "9")
ARCHIVED = an_object("modelversions", "v3", "12", archived=True)
MODEL_ROW: Held = ("model", "team", "granite")
FIRST_ROW: Held = ("version", "team", "v1")
SECOND_ROW: Held = ("version", "team", "v2")


async def test_where_rows_and_objects_agree_nothing_is_done() -> None:
    swept = Swept(Cache(MODEL, FIRST, SECOND, ARCHIVED))
    assert await swept(MODEL_ROW, FIRST_ROW, SECOND_ROW) == Rows(live=[MODEL_ROW, FIRST_ROW, SECOND_ROW])
    assert swept.enqueued == []


async def test_objects_whose_rows_are_lost_are_looked_at_with_all_others_and_their_ids_are_reserved() -> None:
    swept = Swept(Cache(MODEL, FIRST, SECOND, ARCHIVED))
    rows = await swept(MODEL_ROW, FIRST_ROW)
    assert rows.reserved == [KnownIds(model=3, version=12)]
    assert sorted(swept.enqueued) == [
        ("modelversions", "v1"),
        ("modelversions", "v2"),
        ("modelversions", "v3"),
        ("registeredmodels", "granite"),
    ]


async def test_a_row_that_stays_lost_is_looked_at_alone_from_then_on() -> None:
    swept = Swept(Cache(MODEL, FIRST, SECOND))
    await swept(MODEL_ROW, FIRST_ROW)
    swept.enqueued.clear()
    assert (await swept(MODEL_ROW, FIRST_ROW)).reserved == [KnownIds(version=9)]
    assert swept.enqueued == [("modelversions", "v2")]
    swept.enqueued.clear()
    await swept(MODEL_ROW, FIRST_ROW, SECOND_ROW)
    assert swept.enqueued == []
    await swept(MODEL_ROW, FIRST_ROW)
    assert len(swept.enqueued) == 3


@pytest.mark.parametrize(
    "other",
    [
        an_object("modelversions", "v2", "9", registry="gatehouse-system/other"),
        an_object("modelversions", "v2", None),
        an_object("modelversions", "v2", "0"),
        an_object("modelversions", "v2", "-9"),
        an_object("modelversions", "v2", "9" * 32),
        an_object("modelversions", "v2", "nine"),
        an_object("modelversions", "v2", "9", archived=True),
    ],
    ids=["another registry", "not registered", "zero", "negative", "too large", "no number", "archived"],
)
async def test_an_object_that_knows_no_live_row_here_misses_none(other: dict[str, Any]) -> None:
    swept = Swept(Cache(MODEL, FIRST, other))
    rows = await swept(MODEL_ROW, FIRST_ROW)
    assert (rows.reserved, swept.enqueued) == ([], [])


@pytest.mark.parametrize(
    ("namespaces", "archived"),
    [((), [("model", "team", "gone"), ("version", "other", "x")]), (("team",), [("model", "team", "gone")])],
    ids=["all are watched", "one is watched"],
)
async def test_only_rows_of_watched_namespaces_are_judged_by_what_the_cache_lacks(
    namespaces: tuple[str, ...], archived: list[Held]
) -> None:
    swept = Swept(Cache(MODEL), namespaces=namespaces)
    rows = await swept(MODEL_ROW, ("model", "team", "gone"), ("version", "other", "x"))
    assert rows.archived == archived
