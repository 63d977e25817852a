"""What the audit trail of a registry is told of policies, and how seldom its database is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import delete

from auditcontract import reasons, records_of
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers import policy_trail
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.policy_trail import COMPARED_AGAIN, LOOK_AGAIN, PolicyTrail
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.domain.audit.policies import PolicyText
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.registry.rows import Rows
from gatehouse.registry.tables import audit_heads, audit_records, audited_policies
from registrycontract import Opened, open_file
from trails import NOW, REGISTRY


@dataclass
class World:
    """One registry with real rows in SQLite, and policies; their cache, connections, programs and clock."""

    opened: Opened
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    now_: datetime = NOW
    down: ReconcileError | None = None
    asked: int = 0

    def trail(self) -> PolicyTrail:
        return PolicyTrail(
            objects=Objects(self),  # type: ignore[arg-type]
            connections=self,  # type: ignore[arg-type]
            writers=self,
            clock=self,
            troubles=RegistryTroubles(events=self),
        )

    def apply(self, name: str = "strict", *, generation: int = 1, uid: str = "a", **spec: Any) -> None:
        """Status and labels are not told of, and a new resourceVersion of them is no change."""
        version = str(int(self.policies.get(name, {}).get("metadata", {}).get("resourceVersion", 0)) + 1)
        metadata = {"name": name, "uid": uid, "generation": generation, "resourceVersion": version}
        self.policies[name] = {"metadata": metadata, "spec": spec, "status": {"versions": int(version)}}

    async def told(self) -> list[str]:
        return [reason for _, reason in reasons(await records_of(self.opened))]

    # the cache

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind == "governancepolicies":
            return self.policies.get(name)
        return {"metadata": {"namespace": namespace, "name": name}, "spec": {}}

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        if kind == "governancepolicies":
            return str(self.policies[name]["metadata"]["resourceVersion"])
        return "1"

    def names(self, kind: str) -> Sequence[ObjectName]:
        if kind == "governancepolicies":
            return [ObjectName("", name) for name in self.policies]
        return [ObjectName(*REGISTRY.split("/"))]

    # connections, programs, clock

    async def rows(self, registry: ModelRegistry) -> Rows:
        self.asked += 1
        if self.down is not None:
            raise self.down
        return self.opened.rows

    async def writers(self) -> Mapping[str, str]:
        return dict.fromkeys(self.policies, "argocd-controller")

    def now(self) -> datetime:
        return self.now_

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        raise AssertionError(f"{reason}: {message}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_file(tmp_path)
    yield World(opened)
    await opened.databases.aclose()


async def test_a_policy_that_came_changed_and_went_is_told_once_each(world: World) -> None:
    trail = world.trail()
    for change in (
        lambda: world.apply(mode="Audit"),
        lambda: world.apply(mode="Audit"),
        lambda: world.apply(mode="Enforce", generation=2),
        world.policies.clear,
    ):
        change()
        await trail.sweep()
        await trail.sweep()
    assert await world.told() == ["PolicyAdded", "PolicyChanged", "PolicyDeleted"]
    changed = (await records_of(world.opened))[1].fact
    assert (changed.name, changed.before["spec"], changed.after["spec"]) == (
        "strict",
        {"mode": "Audit"},
        {"mode": "Enforce"},
    )
    assert changed.after["via"] == "argocd-controller"


async def test_a_policy_that_is_about_to_go_is_judged_by_no_more(world: World) -> None:
    trail = world.trail()
    world.apply()
    await trail.sweep()
    world.apply()
    world.policies["strict"]["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    await trail.sweep()
    assert await world.told() == ["PolicyAdded", "PolicyDeleted"]


async def test_the_next_process_writes_nothing(world: World) -> None:
    world.apply()
    await world.trail().sweep()
    world.opened.counts.rows.clear()
    transactions = world.opened.counts.transactions
    await world.trail().sweep()
    assert (world.opened.counts.rows, world.opened.counts.transactions) == ({}, transactions)


async def test_what_went_while_nobody_watched_is_told_by_the_next_process(world: World) -> None:
    world.apply()
    await world.trail().sweep()
    world.policies.clear()
    await world.trail().sweep()
    assert await world.told() == ["PolicyAdded", "PolicyDeleted"]


async def test_nobody_is_asked_while_nothing_changes(world: World) -> None:
    trail = world.trail()
    world.apply()
    for _ in range(100):
        await trail.sweep()
    assert world.asked == 1


async def test_after_an_outage_it_is_told(world: World) -> None:
    trail = world.trail()
    world.apply()
    world.down = Transient(reason="DatabaseUnavailable", message="down")
    await trail.sweep()
    await trail.sweep()
    assert world.asked == 1
    world.down = None
    world.now_ += LOOK_AGAIN
    await trail.sweep()
    assert await world.told() == ["PolicyAdded"]


async def test_a_database_that_was_set_back_is_told_again(world: World) -> None:
    trail = world.trail()
    world.apply()
    await trail.sweep()
    for table in (audited_policies, audit_records, audit_heads):
        world.opened.run(delete(table))
    world.now_ += COMPARED_AGAIN + timedelta(seconds=1)
    await trail.sweep()
    assert await world.told() == ["PolicyAdded"]


async def test_a_policy_that_cannot_be_read_is_not_told_to_have_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply("strict")
    world.apply("other")
    await world.trail().sweep()
    read = policy_trail.policy_text

    def faulty(body: Mapping[str, Any]) -> PolicyText:
        if body["metadata"]["name"] == "strict":
            raise TypeError("nobody foresaw this")
        return read(body)

    monkeypatch.setattr(policy_trail, "policy_text", faulty)
    world.apply("other", generation=2, mode="Enforce")
    trail = world.trail()
    for _ in range(3):
        await trail.sweep()
    assert await world.told() == ["PolicyAdded", "PolicyAdded", "PolicyChanged"]
