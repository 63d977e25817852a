"""What becomes of an object that does not read, or whose reconcile fails: it is shut, and says why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

import worlds
from gatehouse.api.model_version import ModelVersion, ModelVersionStatus
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.reconciler import Result, Runner
from gatehouse.domain.admission.contest import standing_of
from gatehouse.domain.common.conditions import RECONCILING, STALLED, ConditionState, find, merge
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.domain.version.outcome import Requeue

GRACE = timedelta(hours=24)
WHERE = ObjectName("team", "granite-1")
READY = [ConditionState("Ready", "True", "ReadyToDeploy", "open")]


class World:
    """One version that is cleared, in a cache and at an API server."""

    def __init__(self) -> None:
        status = {
            "phase": "Ready to Deploy",
            "clearedFor": ["staging"],
            "registry": "gatehouse-system/local",
            "registryId": "7",
            "artifact": {"digest": worlds.DIGEST},
            "conditions": [each.wire() for each in merge([], READY, generation=1, now=worlds.NOW)],
            "gates": [{"name": "Registered", "open": True, "rule": "", "found": "", "wanted": ""}],
        }
        self.body: dict[str, Any] | None = worlds.version(metadata={"resourceVersion": "1"}, status=status).model_dump(
            mode="json", by_alias=True, exclude_none=True
        )
        self.now_ = worlds.NOW
        self.raises: Exception | None = None
        self.refuses: Exception | None = None
        self.events: list[str] = []
        self.writes = 0
        self.told = 0
        self.faults = Faults(self, on_silenced=self._tell)  # type: ignore[arg-type]  # the part that is used
        self.runner = Runner[ModelVersion](
            self,  # type: ignore[arg-type]  # so are these
            reader=self,  # type: ignore[arg-type]
            writer=self,  # type: ignore[arg-type]
            events=self,
            clock=self,
            faults=self.faults,
        )

    def _tell(self) -> None:
        self.told += 1

    @property
    def status(self) -> ModelVersionStatus:
        assert self.body is not None
        return ModelVersionStatus.model_validate(self.body["status"])

    @property
    def cleared_for(self) -> tuple[str, ...]:
        """As the list of what is vetted has it."""
        assert self.body is not None
        standing = standing_of(self.body)
        silenced = WHERE in self.faults.silenced("modelversions")
        return () if standing is None or silenced else standing.cleared_for

    async def run(self) -> Requeue:
        return await self.runner(*WHERE)

    # reader, clock, events, writer

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.body

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return None if self.body is None else str(self.body["metadata"]["resourceVersion"])

    def now(self) -> datetime:
        return self.now_

    def record(self, kind: str, body: Mapping[str, Any], *, type_: str, reason: str, message: str) -> None:
        self.events.append(f"{type_} {reason}")

    async def write_status(self, kind: str, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.writes += 1
        self.body = {**body, "status": dict(status)}

    # the controller

    kind = ModelVersion

    async def reconcile(self, resource: ModelVersion, body: Mapping[str, Any]) -> Result:
        if self.raises is not None:
            raise self.raises
        return Result(status=resource.status, requeue=Requeue())

    async def gone(self, namespace: str, name: str) -> None:
        """Nothing is kept."""

    def outage(self, resource: ModelVersion) -> ModelVersionStatus:
        return resource.status

    def grace(self, resource: ModelVersion) -> timedelta:
        return GRACE


@pytest.fixture
def world() -> World:
    return World()


def poison(world: World) -> None:
    assert world.body is not None
    world.body = {**world.body, "spec": {**world.body["spec"], "metrics": {"count": "many"}}}


async def test_a_version_that_does_not_read_is_shut_at_once_with_a_condition_an_event_and_a_count(
    world: World,
) -> None:
    poison(world)

    requeue = await world.run()

    assert world.cleared_for == ()
    assert world.status.phase == "Waiting"
    stalled, ready = find(world.status.conditions, STALLED), find(world.status.conditions, "Ready")
    assert stalled is not None
    assert ready is not None
    assert (stalled.reason, ready.status) == ("Unreadable", "False")
    assert "spec.metrics" in stalled.message
    shut = [gate for gate in world.status.gates if not gate.open]
    assert [gate.name for gate in shut] == ["Registered"]
    assert world.events == ["Warning Unreadable"]
    assert world.faults.count_unreadable("modelversions") == 1
    assert requeue.after is not None

    await world.run()
    assert (world.writes, world.events) == (1, ["Warning Unreadable"])


async def test_once_it_is_mended_it_is_reconciled_and_counts_as_one_again(world: World) -> None:
    fine = world.body
    poison(world)
    await world.run()

    assert fine is not None
    world.body = {**fine, "metadata": {**fine["metadata"], "resourceVersion": "2"}}
    await world.run()

    assert world.cleared_for == ("staging",)
    assert world.faults.count_unreadable("modelversions") == 0


async def test_what_nobody_foresaw_is_said_at_once_and_shuts_when_the_grace_is_over(world: World) -> None:
    world.raises = KeyError("hunter2")

    with pytest.raises(KeyError):
        await world.run()

    reconciling = find(world.status.conditions, RECONCILING)
    assert reconciling is not None
    assert "ReconcileFailed" in reconciling.message
    assert "KeyError" in reconciling.message
    assert "hunter2" not in reconciling.message
    assert world.cleared_for == ("staging",)
    assert world.events == ["Warning ProgressingWithRetry"]
    assert world.faults.count_failing("modelversions") == 1

    world.now_ += GRACE
    with pytest.raises(KeyError):
        await world.run()
    assert world.cleared_for == ()
    assert world.status.phase == "Verifying"
    assert world.status.registry_id == "7"

    world.raises = None
    await world.run()
    assert world.faults.count_failing("modelversions") == 0


@pytest.mark.parametrize(
    "error",
    [Transient(reason="StoreUnavailable", message="no answer"), Stalled(reason="SchemaTooNew", message="newer")],
    ids=["an outage beyond the grace", "what somebody must mend"],
)
async def test_what_is_not_ready_any_more_is_cleared_for_nothing(world: World, error: Exception) -> None:
    world.raises = error
    await world.run()
    world.now_ += GRACE
    await world.run()

    ready = find(world.status.conditions, "Ready")
    assert ready is not None
    assert (ready.status, world.cleared_for, world.status.phase) == ("False", (), "Verifying")


@pytest.mark.parametrize(
    "refusal", [Stalled(reason="Invalid", message="too large"), ValueError("no status")], ids=["refused", "fault"]
)
async def test_a_version_whose_status_cannot_be_written_is_silenced_until_it_can(
    world: World, refusal: Exception
) -> None:
    poison(world)
    world.refuses = refusal

    for _ in range(2):
        try:
            await world.run()
        except ValueError:
            assert refusal.args == ("no status",)
        assert (world.cleared_for, world.told) == ((), 1)

    world.refuses = None
    await world.run()
    assert world.told == 2
    assert world.cleared_for == ()


async def test_an_api_server_that_does_not_answer_silences_nobody(world: World) -> None:
    poison(world)
    world.refuses = Transient(reason="ApiUnavailable", message="no answer")

    requeue = await world.run()

    assert (requeue.retry, world.told) == (True, 0)


async def test_a_status_that_reads_only_in_part_is_written_anew(world: World) -> None:
    assert world.body is not None
    world.body["status"]["policies"] = [{"name": "UPPER", "outcome": "Blesses"}]

    await world.run()

    assert world.writes == 1
    assert world.status.policies == []
