from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gatehouse.runtime.leader import Leader, LeadershipLost
from gatehouse.runtime.lease import LeaderOptions
from runtime.fakes import FakeClock, FakeLease, settle

EPOCH = datetime(2026, 11, 21, tzinfo=UTC)


def wall(clock: FakeClock, skew: float = 0.0) -> Callable[[], datetime]:
    return lambda: EPOCH + timedelta(seconds=clock.now() + skew)


def candidate(lease: FakeLease, clock: FakeClock, identity: str, skew: float = 0.0) -> Leader:
    return Leader(client=lease, identity=identity, clock=clock, wall=wall(clock, skew), draw=lambda: 1.0)


@contextlib.asynccontextmanager
async def holds(leader: Leader) -> AsyncIterator[None]:
    """The leader renews its lease meanwhile."""
    task = asyncio.create_task(leader.hold())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lease() -> FakeLease:
    return FakeLease()


async def test_the_first_candidate_creates_the_lease(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    assert leader.leads
    assert lease.record is not None
    assert (lease.record.holder, lease.record.duration_seconds, lease.record.transitions) == ("one", 10, 0)


@pytest.mark.parametrize("skew", [0.0, 60.0, -60.0, 3600.0])
async def test_while_it_renews_nobody_else_leads_whatever_their_clocks_say(
    lease: FakeLease, clock: FakeClock, skew: float
) -> None:
    first, second = candidate(lease, clock, "one"), candidate(lease, clock, "two", skew)
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await clock.run(120)
    assert first.leads
    assert not holding.done()
    assert not waiting.done()
    assert {record.holder for record in lease.writes} == {"one"}
    for task in (holding, waiting):
        task.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)


@pytest.mark.parametrize("skew", [0.0, 60.0, -60.0])
async def test_a_holder_that_died_is_followed_within_15_seconds(
    lease: FakeLease, clock: FakeClock, skew: float
) -> None:
    first, second = candidate(lease, clock, "one"), candidate(lease, clock, "two", skew)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.run(9.9)
    assert not waiting.done()
    await clock.run(5.0)
    assert waiting.done()
    assert second.leads
    assert lease.record is not None
    assert (lease.record.holder, lease.record.transitions) == ("two", 1)


async def test_it_gives_up_before_anybody_else_can_lead(lease: FakeLease, clock: FakeClock) -> None:
    first = candidate(lease, clock, "one")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    lease.down = True
    await clock.run(6.9)
    led_before = first.leads
    await clock.run(0.2)
    assert (led_before, first.leads) == (True, False)
    with pytest.raises(LeadershipLost, match="not renewed within 7 s"):
        await holding


async def test_a_request_that_hangs_does_not_outlive_the_deadline(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    await settle()
    lease.hanging = asyncio.Event()
    await clock.run(7.1)
    assert isinstance(holding.exception(), LeadershipLost)


async def test_an_outage_shorter_than_the_deadline_is_survived(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    async with holds(leader):
        for _ in range(5):
            lease.down = True
            await clock.run(4)
            lease.down = False
            await clock.run(5)
        assert leader.leads


async def test_a_conflict_is_read_again_before_leadership_is_lost(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    async with holds(leader):
        lease.conflicts = 1
        await clock.run(20)
        assert leader.leads


async def test_a_renewal_is_one_request(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    async with holds(leader):
        read, written = lease.reads, len(lease.writes)
        await clock.run(15.1)
        assert (lease.reads - read, len(lease.writes) - written) == (0, 10)


async def test_a_lease_that_was_deleted_is_created_again_by_its_holder(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    async with holds(leader):
        await settle()
        lease.record = None
        await clock.run(10)
        assert leader.leads
        assert lease.record is not None
        assert lease.record.holder == "one"


async def test_a_lease_taken_by_another_is_lost_at_the_next_look(lease: FakeLease, clock: FakeClock) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    await settle()
    assert lease.record is not None
    lease.store(replace(lease.record, holder="two"))
    await clock.run(2.1)
    assert not leader.leads
    with pytest.raises(LeadershipLost, match="held by 'two'"):
        await holding


async def test_a_released_lease_is_taken_at_once(lease: FakeLease, clock: FakeClock) -> None:
    first, second = candidate(lease, clock, "one"), candidate(lease, clock, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await settle()
    await first.release()
    assert not first.leads
    await clock.run(2.5)
    assert waiting.done()
    assert second.leads


async def test_releasing_what_is_not_held_writes_nothing(lease: FakeLease, clock: FakeClock) -> None:
    await candidate(lease, clock, "one").release()
    assert lease.writes == []


@pytest.mark.parametrize("fault", ["down", "conflict", "hanging"])
async def test_a_release_that_fails_is_left_to_expire(lease: FakeLease, clock: FakeClock, fault: str) -> None:
    leader = candidate(lease, clock, "one")
    await leader.acquire()
    if fault == "down":
        lease.down = True
    elif fault == "conflict":
        lease.conflicts = 1
    else:
        lease.update = lambda _record: asyncio.Event().wait()  # type: ignore[assignment,method-assign,return-value]  # never answers
    release = asyncio.create_task(leader.release())
    await clock.run(3)
    await release
    assert not leader.leads


async def test_of_two_that_try_at_once_one_leads(lease: FakeLease, clock: FakeClock) -> None:
    candidates = [candidate(lease, clock, name) for name in ("one", "two", "three")]
    tasks = [asyncio.create_task(each.acquire()) for each in candidates]
    await clock.run(5)
    assert sum(each.leads for each in candidates) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_knows_who_leads(lease: FakeLease, clock: FakeClock) -> None:
    first, second = candidate(lease, clock, "one"), candidate(lease, clock, "two")
    assert second.holder == ""
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await settle()
    assert second.holder == "one"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "options",
    [{"retry_period": 8.0}, {"renew_deadline": 10.0}, {"retry_period": 0.0}],
)
def test_options_that_could_let_two_lead_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < retry_period < renew_deadline < duration"):
        LeaderOptions(**options)  # type: ignore[arg-type]  # a table of keyword arguments
