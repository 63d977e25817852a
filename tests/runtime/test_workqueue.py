from __future__ import annotations

import asyncio
import math

import pytest

from gatehouse.runtime.workqueue import Backoff, QueueClosed, WorkQueue
from runtime.fakes import FakeClock, settle

STEADY = Backoff(base=1.0, cap=60.0, jitter=0.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, backoff=STEADY)


async def take_ready(queue: WorkQueue[str]) -> list[str]:
    """Take and finish every ready key."""
    taken = []
    while queue.depth:
        key = await queue.get()
        taken.append(key)
        queue.done(key)
    return taken


async def test_a_key_added_many_times_is_handed_out_once_and_in_order(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "a", "b"):
        queue.add(key)
    assert await take_ready(queue) == ["a", "b"]


async def test_a_key_added_while_processed_is_handed_out_once_more_after_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0
    queue.done("a")
    assert await take_ready(queue) == ["a"]


async def test_no_key_is_held_by_two_workers(queue: WorkQueue[str]) -> None:
    held: list[str] = []
    most_at_once = 0

    async def work() -> None:
        nonlocal most_at_once
        while True:
            key = await queue.get()
            held.append(key)
            most_at_once = max(most_at_once, held.count(key))
            await asyncio.sleep(0)
            queue.add(key) if len(held) < 5 else None
            held.remove(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for key in ("a", "b", "a"):
        queue.add(key)
    await settle()
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert most_at_once == 1


@pytest.mark.parametrize("delays", [(5.0, 2.0), (2.0, 5.0), (2.0, 2.0)])
async def test_the_earliest_due_time_wins(queue: WorkQueue[str], clock: FakeClock, delays: tuple[float, float]) -> None:
    for delay in delays:
        queue.add_after("a", delay)
    clock.advance(1.9)
    assert queue.depth == 0
    clock.advance(0.2)
    assert await take_ready(queue) == ["a"]
    clock.advance(10)
    assert queue.depth == 0


async def test_adding_now_replaces_a_delay(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 5.0)
    queue.add("a")
    assert await take_ready(queue) == ["a"]
    clock.advance(10)
    assert queue.depth == 0


async def test_a_delay_that_ends_during_processing_waits_for_done(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add("a")
    await queue.get()
    queue.add_after("a", 1.0)
    clock.advance(2)
    assert queue.depth == 0
    queue.done("a")
    assert queue.depth == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_delay_of_nothing_is_now(queue: WorkQueue[str], seconds: float) -> None:
    queue.add_after("a", seconds)
    assert queue.depth == 1


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
async def test_a_delay_that_is_not_finite_is_refused(queue: WorkQueue[str], seconds: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        queue.add_after("a", seconds)


async def test_backoff_doubles_for_each_key_alone_until_forgotten(queue: WorkQueue[str], clock: FakeClock) -> None:
    waits = []
    for _ in range(4):
        queue.add_rate_limited("a")
        started = clock.now()
        while not queue.depth:
            clock.advance(0.5)
        waits.append(clock.now() - started)
        await take_ready(queue)
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert queue.failures("b") == 0
    queue.forget("a")
    queue.add_rate_limited("a")
    clock.advance(1.0)
    assert queue.depth == 1


async def test_a_longer_wait_asked_for_beats_the_backoff(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_rate_limited("a", at_least=7.0)
    clock.advance(6.9)
    assert queue.depth == 0
    clock.advance(0.2)
    assert queue.depth == 1


def test_backoff_is_capped_and_shortened_by_jitter() -> None:
    backoff = Backoff(base=0.5, cap=30.0, jitter=0.2, random=lambda: 0.5)
    assert backoff.delay(0) == pytest.approx(0.45)
    assert backoff.delay(3) == pytest.approx(3.6)
    assert backoff.delay(10**9) == pytest.approx(27.0)


async def test_a_waiting_worker_gets_a_key_that_comes_later(queue: WorkQueue[str]) -> None:
    worker = asyncio.create_task(queue.get())
    await settle()
    queue.add("a")
    assert await worker == "a"


async def test_a_wakeup_meant_for_a_cancelled_worker_goes_to_another(queue: WorkQueue[str]) -> None:
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await settle()
    queue.add("a")
    first.cancel()
    assert await second == "a"
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()


async def test_a_cancelled_waiter_leaves_nothing_behind(queue: WorkQueue[str]) -> None:
    worker = asyncio.create_task(queue.get())
    await settle()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    queue.add("a")
    assert await queue.get() == "a"


async def test_closing_hands_out_nothing_more(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add("held")
    await queue.get()
    queue.add("ready")
    queue.add_after("later", 1.0)
    queue.add("held")
    queue.close()
    clock.advance(5)
    queue.done("held")
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_closing_wakes_all_waiting_workers(queue: WorkQueue[str]) -> None:
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await settle()
    queue.close()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert [type(result) for result in results] == [QueueClosed] * 3


async def test_a_key_nobody_holds_cannot_be_done(queue: WorkQueue[str]) -> None:
    with pytest.raises(KeyError):
        queue.done("a")


async def test_waits_and_retries_are_told(clock: FakeClock) -> None:
    waits: list[float] = []
    retries: list[None] = []
    queue: WorkQueue[str] = WorkQueue(
        clock=clock, backoff=STEADY, on_wait=waits.append, on_retry=lambda: retries.append(None)
    )
    queue.add("a")
    clock.advance(3)
    assert queue.oldest_wait() == 3
    key = await queue.get()
    clock.advance(2)
    assert queue.longest_processing() == 2
    queue.add_rate_limited(key)
    queue.done(key)
    assert (waits, len(retries), queue.oldest_wait(), queue.longest_processing()) == ([3.0], 1, 0.0, 0.0)


async def test_the_wait_of_a_key_added_while_processed_counts_from_then(
    queue: WorkQueue[str], clock: FakeClock
) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    clock.advance(4)
    queue.done("a")
    assert queue.oldest_wait() == 4


async def test_it_stalls_only_when_a_key_waits_and_no_worker_moves(queue: WorkQueue[str], clock: FakeClock) -> None:
    clock.advance(1000)
    assert queue.stalled_for() == 0
    queue.add("a")
    queue.add("b")
    clock.advance(10)
    assert queue.stalled_for() == 10
    await queue.get()
    assert queue.stalled_for() == 0
    clock.advance(5)
    assert queue.stalled_for() == 5
    queue.done("a")
    assert queue.stalled_for() == 0


async def test_memory_is_bounded_when_a_key_is_rescheduled_again_and_again(
    queue: WorkQueue[str], clock: FakeClock
) -> None:
    for round_ in range(10_000):
        queue.add_after("a", 10_000.0 - round_ / 10)
    assert queue.delayed == 1
    assert len(queue._heap) < 200
    assert clock.pending == 1


async def test_ten_thousand_delayed_keys_need_one_timer_and_no_task(queue: WorkQueue[str], clock: FakeClock) -> None:
    for number in range(10_000):
        queue.add_after(f"key {number}", 60.0 + number / 1000)
    assert clock.pending == 1
    assert len(asyncio.all_tasks()) == 1
    clock.advance(100)
    assert queue.depth == 10_000
