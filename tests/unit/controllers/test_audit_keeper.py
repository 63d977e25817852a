"""What the operator signs, copies and summarises, and what it refuses to sign."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import delete, update

from auditcontract import look
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.audit import AuditKeeper
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.domain.audit.checkpoints import Checkpoint, read_checkpoint
from gatehouse.domain.audit.keys import Signer
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.registry.rows import Rows
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records
from registrycontract import Opened, open_file
from trails import NOW, OTHER_SIGNER, REGISTRY, SIGNER, a_fact, found, recomputed, rehashed

URI = "s3://audit/trail/"


@dataclass
class Archive:
    """Copies by key."""

    copies: dict[str, bytes] = field(default_factory=dict)
    until: list[datetime] = field(default_factory=list)
    refuses: ReconcileError | None = None

    async def put(self, key: str, data: bytes, *, retain_until: datetime) -> bool:
        if self.refuses is not None:
            raise self.refuses
        self.copies[key] = data
        self.until.append(retain_until)
        return True


@dataclass
class World:
    """One registry, with real rows in SQLite; its cache, connections, events and clock."""

    opened: Opened
    spec: dict[str, Any] = field(default_factory=dict)
    now_: datetime = NOW
    down: ReconcileError | None = None
    store: Archive = field(default_factory=Archive)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    written: int = 0
    revisions: int = 0

    def keeper(self, signer: Signer = SIGNER) -> AuditKeeper:
        return AuditKeeper(
            objects=Objects(self),  # type: ignore[arg-type]
            connections=self,  # type: ignore[arg-type]
            events=self,
            clock=self,
            signer=signer,
            interval=timedelta(minutes=5),
            written=lambda: self.written,
            troubles=RegistryTroubles(events=self),
        )

    async def append(self, count: int, *, at: datetime = NOW) -> None:
        await self.opened.rows.audit.append([a_fact(number, at=at) for number in range(count)])
        self.written += count

    async def checkpoints(self) -> Sequence[Checkpoint]:
        return await self.opened.rows.audit.checkpoints_to_copy(uri="", limit=1000)

    def later(self, minutes: float = 5) -> None:
        self.now_ += timedelta(minutes=minutes)

    # the cache

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return {"metadata": {"namespace": namespace, "name": name}, "spec": self.spec}

    def revision(self, kind: str, namespace: str, name: str) -> str:
        self.revisions += 1
        return str(self.revisions)

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [ObjectName(*REGISTRY.split("/"))]

    # connections, events, clock

    async def rows(self, registry: ModelRegistry) -> Rows:
        if self.down is not None:
            raise self.down
        return self.opened.rows

    async def archive(self, registry: ModelRegistry, uri: str) -> Archive:
        assert uri == URI
        return self.store

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        assert (kind, body["metadata"]["name"]) == ("ModelRegistry", "local")
        self.events.append((type_, reason, message))

    def now(self) -> datetime:
        return self.now_


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_file(tmp_path)
    yield World(opened)
    await opened.databases.aclose()


async def test_what_is_new_is_signed_on_the_interval_and_told(world: World) -> None:
    keeper = world.keeper()
    await keeper.sweep()
    assert not world.events
    await world.append(3)
    await keeper.sweep()
    assert not await world.checkpoints(), "it is not due yet"
    world.later()
    await keeper.sweep()
    await keeper.sweep()
    (first,) = await world.checkpoints()
    assert (first.seq, first.at, first.previous_seq) == (3, world.now_, 0)
    assert [(type_, reason) for type_, reason, _ in world.events] == [("Normal", "AuditCheckpoint")]
    assert first.hash in world.events[0][2]
    world.later()
    await keeper.sweep()
    assert len(await world.checkpoints()) == 1, "nothing is new"
    await world.append(1)
    world.later()
    await keeper.sweep()
    assert [each.seq for each in await world.checkpoints()] == [3, 4]
    verdict = look(world.opened)
    assert verdict.intact
    assert (verdict.checkpoints, verdict.vouched) == (2, 4)


async def test_there_is_a_checkpoint_each_thousand_records(world: World) -> None:
    keeper = world.keeper()
    await keeper.sweep()
    await world.append(999)
    await keeper.sweep()
    assert not await world.checkpoints()
    await world.append(2_501)
    queries = world.opened.counts.queries
    await keeper.sweep()
    assert [each.seq for each in await world.checkpoints()] == [1000, 2000, 3000]
    assert world.opened.counts.queries > queries
    queries = world.opened.counts.queries
    for _ in range(10):
        await keeper.sweep()
    assert world.opened.counts.queries == queries, "a look that finds nothing due asks no database"
    world.later()
    await keeper.sweep()
    assert [each.seq for each in await world.checkpoints()] == [1000, 2000, 3000, 3500]
    assert len([reason for _, reason, _ in world.events if reason == "AuditCheckpoint"]) == 2


async def test_the_registry_says_how_often(world: World) -> None:
    world.spec = {"audit": {"checkpointInterval": "1h"}}
    keeper = world.keeper()
    await keeper.sweep()
    await world.append(1)
    world.later(59)
    await keeper.sweep()
    assert not await world.checkpoints()
    world.later(1)
    await keeper.sweep()
    assert len(await world.checkpoints()) == 1


async def test_a_new_process_goes_on_where_the_old_one_was(world: World) -> None:
    await world.append(3)
    await world.keeper().sweep()
    await world.append(2)
    await world.keeper(OTHER_SIGNER).sweep()
    first, second = await world.checkpoints()
    assert (second.seq, second.previous_seq, second.previous_hash) == (5, 3, first.hash)
    assert (first.key_id, second.key_id) == (SIGNER.key_id, OTHER_SIGNER.key_id)


async def touched(world: World, how: str) -> None:
    """Five records of which three were signed, and then somebody came."""
    rows = list(await world.opened.rows.audit.records(after=0, limit=100))
    match how:
        case "edited":
            statement = update(audit_records).where(audit_records.c.seq == 5).values(content="{}")
        case "deleted":
            statement = delete(audit_records).where(audit_records.c.seq == 4)
        case "cut off":
            statement = delete(audit_records).where(audit_records.c.seq > 3)
        case "checkpoint deleted":
            statement = delete(audit_checkpoints)
        case "checkpoint edited":
            statement = update(audit_checkpoints).values(previous_seq=2)
        case _:
            rows[2] = rehashed(rows[2], actor="mallory")
            for row in recomputed(rows, 2):
                values = {"content": row.content, "hash": row.hash}
                world.opened.run(update(audit_records).where(audit_records.c.seq == row.seq).values(values))
            statement = update(audit_heads).values(hash=recomputed(rows, 2)[-1].hash)
    world.opened.run(statement)


@pytest.mark.parametrize(
    "how", ["edited", "deleted", "cut off", "checkpoint deleted", "checkpoint edited", "recomputed"]
)
async def test_a_trail_that_was_touched_is_not_signed(world: World, how: str) -> None:
    keeper = world.keeper()
    await world.append(3)
    await keeper.sweep()
    await world.append(2)
    signed = await world.checkpoints()
    await touched(world, how)
    world.events.clear()
    world.later()
    await keeper.sweep()
    assert [(type_, reason) for type_, reason, _ in world.events] == [("Warning", "AuditChainBroken")]
    assert len(await world.checkpoints()) == len(signed) - (how == "checkpoint deleted")
    assert found(look(world.opened, copies=signed)) is not None


async def test_an_outage_is_looked_at_again_soon(world: World) -> None:
    keeper = world.keeper()
    await world.append(1)
    world.down = Transient(reason="DatabaseUnavailable", message="no")
    await keeper.sweep()
    world.down = None
    world.later(0.5)
    await keeper.sweep()
    assert not await world.checkpoints()
    world.later(0.5)
    await keeper.sweep()
    assert len(await world.checkpoints()) == 1


async def test_copies_are_made_once_and_caught_up_after_an_outage(world: World) -> None:
    world.spec = {
        "audit": {"uri": URI, "retention": "720h"},
        "objectStores": [{"uriPrefix": "s3://audit/", "endpoint": "http://127.0.0.1:1", "tls": "Disabled"}],
    }
    keeper = world.keeper()
    world.store.refuses = Transient(reason="StoreUnavailable", message="no")
    await world.append(1)
    await keeper.sweep()
    await world.append(1)
    world.later()
    await keeper.sweep()
    signed = await world.checkpoints()
    assert len(signed) == 2
    assert not world.store.copies
    world.store.refuses = None
    world.later()
    await keeper.sweep()
    assert [read_checkpoint(data, where=key) for key, data in sorted(world.store.copies.items())] == list(signed)
    assert set(world.store.copies) == {
        f"trail/registries/local/{each.seq:012d}-{each.hash[:16]}.json" for each in signed
    }
    assert world.store.until == [each.at + timedelta(hours=720) for each in signed]
    world.store.copies.clear()
    world.later()
    await keeper.sweep()
    assert not world.store.copies


async def test_records_past_their_retention_are_summarised(world: World) -> None:
    world.spec = {"audit": {"retention": "24h"}}
    keeper = world.keeper()
    await world.append(4, at=NOW - timedelta(days=2))
    await world.append(2, at=NOW - timedelta(hours=1))
    await world.append(1, at=NOW - timedelta(days=3))
    await keeper.sweep()
    verdict = look(world.opened)
    assert verdict.intact
    assert (verdict.summarised, verdict.first, verdict.last) == (4, 5, 8)
    world.later()
    await keeper.sweep()
    assert look(world.opened).summarised == 4
    world.later(24 * 60)
    for summarised, last in ((7, 9), (8, 10), (8, 10)):
        await keeper.sweep()
        verdict = look(world.opened)
        assert verdict.intact
        assert (verdict.summarised, verdict.last) == (summarised, last), "at the end the newest summary stands alone"
        world.later()


class Two(World):
    """Another registry beside it, whose trail nobody can look after."""

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [ObjectName("gatehouse-system", "broken"), *super().names(kind)]

    async def rows(self, registry: ModelRegistry) -> Rows:
        if registry.metadata.name == "broken":
            raise ZeroDivisionError("hunter2")
        return await super().rows(registry)

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        self.events.append((type_, reason, message))


async def test_a_registry_that_cannot_be_looked_after_keeps_no_other_one_from_it(tmp_path: Path) -> None:
    opened = await open_file(tmp_path)
    world = Two(opened)
    keeper = world.keeper()
    await world.append(3)
    for _ in range(2):
        world.later()
        await keeper.sweep()
    assert [each.seq for each in await world.checkpoints()] == [3]
    warned = [(reason, message) for type_, reason, message in world.events if type_ == "Warning"]
    assert [reason for reason, _ in warned] == ["AuditKeepingFailed"]
    assert "hunter2" not in warned[0][1]
    await opened.databases.aclose()


async def test_a_clock_that_was_set_back_puts_no_checkpoint_off(world: World) -> None:
    world.now_ += timedelta(days=3650)
    keeper = world.keeper()
    await keeper.sweep()
    world.now_ = NOW
    await world.append(3)
    await keeper.sweep()
    assert [each.seq for each in await world.checkpoints()] == [3]


async def test_a_record_of_the_future_keeps_no_older_one_from_being_summarised(world: World) -> None:
    world.spec = {"audit": {"retention": "24h"}}
    await world.append(2, at=NOW - timedelta(days=9))
    await world.append(1, at=NOW + timedelta(days=3650))
    await world.append(2, at=NOW - timedelta(days=8))
    await world.append(2)
    keeper = world.keeper()
    await keeper.sweep()
    world.later()
    await keeper.sweep()
    world.later()
    await keeper.sweep()
    standing = await world.opened.rows.audit.standing()
    assert standing.first == 6
    assert look(world.opened).intact
