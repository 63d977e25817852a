"""An outage of the store keeps what was established for the grace; every fact from elsewhere counts all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import policies
import worlds
from gatehouse.api import ModelApproval, ModelVersion
from gatehouse.controllers.verification.scheduler import Observation
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.serving.names import served_digest
from registrycontract import open_file
from unit.controllers.estates import ONE, World, body, estate

DOWN = Transient(reason="StoreUnavailable", message="http://127.0.0.1:9000 does not answer")
FORBIDDEN = Waiting(reason="SecretForbidden", message="no", after=timedelta(seconds=30))


@dataclass
class Outage(World):
    """A world whose store ends every look with ``error`` while there is one."""

    error: ReconcileError | None = None
    writes: int = 0

    async def observe(self, facts: Any, rows: Any) -> Observation:
        if self.error is not None:
            raise self.error
        return await super().observe(facts, rows)

    async def write_status(self, kind: str, made: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        self.writes += kind == ModelVersion.info.plural
        await super().write_status(kind, made, status)

    def condition(self, kind: str) -> Mapping[str, Any]:
        return next((each for each in self.status("one")["conditions"] if each["type"] == kind), {})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outage]:
    opened = await open_file(tmp_path)
    made = Outage(opened)
    for (kind, _), each in estate().items():
        made.put(kind, each)
    await made.settle()
    assert ONE in made.cleared
    yield made
    assert made.failures == []
    await opened.databases.aclose()


async def decide(world: Outage, decision: Any) -> None:
    judged = ModelVersion.model_validate(world.reader.get("modelversions", "team", "one"))
    rejected = policies.approval(
        approver="erin",
        decision=decision,
        versionRef={"name": "one", "uid": "uid-of-one"},
        servedDigest=served_digest(judged.spec, worlds.DIGEST),
    )
    world.put(ModelApproval, body(rejected, "erin-decides"))
    await world.settle()


@pytest.mark.parametrize("error", [DOWN, FORBIDDEN], ids=["unreachable", "refused"])
async def test_an_outage_alone_keeps_a_version_cleared_until_the_grace_is_over(
    world: Outage, error: ReconcileError
) -> None:
    world.error = error
    await world.settle()
    assert (world.status("one")["phase"], world.condition("Ready")["status"]) == ("Ready to Deploy", "True")
    assert error.reason in world.condition("Reconciling")["message"] + world.condition("Reconciling")["reason"]
    assert ONE in world.cleared

    before = world.writes
    await world.settle()
    assert world.writes == before

    world.now_ += timedelta(days=2)
    await world.settle()
    assert world.condition("Ready")["status"] == "False"
    assert ONE not in world.cleared

    world.error = None
    await world.settle()
    assert (world.status("one")["phase"], world.condition("Reconciling")) == ("Ready to Deploy", {})
    assert ONE in world.cleared


async def test_what_a_person_must_mend_shuts_at_once(world: Outage) -> None:
    world.error = Stalled(reason="BucketNotFound", message="no bucket models")
    await world.settle()
    assert (world.condition("Ready")["status"], world.condition("Stalled")["reason"]) == ("False", "BucketNotFound")
    assert ONE not in world.cleared


@pytest.mark.parametrize(("decision", "phase"), [("Rejected", "Rejected"), ("ChangesRequested", "Changes Requested")])
async def test_a_rejection_counts_while_the_store_is_down(world: Outage, decision: str, phase: str) -> None:
    """Deny overrides: what somebody decides does not wait for the store."""
    world.error = DOWN
    await world.settle()
    await decide(world, decision)
    assert (world.status("one")["phase"], world.condition("Ready")["status"]) == (phase, "False")
    assert ONE not in world.cleared


async def test_a_look_that_somebody_asked_for_is_owed_until_the_store_answers(world: Outage) -> None:
    world.error = DOWN
    asked = world.reader.get("modelversions", "team", "one")
    assert asked is not None
    annotations = {"gatehouse.dev/reconcile-requested-at": "now"}
    world.put(ModelVersion, {**asked, "metadata": {**asked["metadata"], "annotations": annotations}})
    await world.settle()
    assert world.status("one").get("lastHandledReconcileAt") is None

    world.error = None
    await world.settle()
    assert world.status("one")["lastHandledReconcileAt"] == "now"
