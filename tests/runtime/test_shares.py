"""No group of keys holds all workers: what waits for a thing that is silent leaves workers to all else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from gatehouse.runtime.controller import Controller, Groups
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.shares import Shares
from gatehouse.runtime.workqueue import WorkQueue
from runtime.fakes import FakeClock, settle

KIND = "modelversions"


class Outcome:
    retry = False
    after = None


class Databases:
    """Reconciles keys named ``GROUP-NUMBER``. Those of a silent group wait until it answers."""

    def __init__(self, *silent: str, all_groups: int) -> None:
        self.silent = {group: asyncio.Event() for group in silent}
        self.all_groups = all_groups
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: Counter[str] = Counter()

    def groups(self) -> Groups:
        return Groups(of=lambda key: group_of(key.name), count=lambda: self.all_groups)

    async def reconcile(self, _namespace: str, name: str, /) -> Outcome:
        group = str(group_of(name))
        self.running[group] += 1
        self.most[group] = max(self.most[group], self.running[group])
        try:
            await (self.silent[group].wait() if group in self.silent else asyncio.sleep(0))
        finally:
            self.running[group] -= 1
        self.done[name] += 1
        return Outcome()


def group_of(name: str) -> Hashable | None:
    group = name.partition("-")[0]
    return None if group == "free" else group


def controller(databases: Databases, workers: int, registry: CollectorRegistry | None = None) -> Controller:
    return Controller(
        kind=KIND,
        reconcile=databases.reconcile,
        workers=workers,
        clock=FakeClock(),
        metrics=EngineMetrics(registry or CollectorRegistry()),
        groups=databases.groups(),
    )


@given(
    workers=st.integers(2, 9),
    names=st.lists(st.sampled_from([f"{group}-{number}" for group in ("a", "b", "c", "free") for number in range(12)])),
    silent=st.sets(st.sampled_from("ab")),
)
@example(workers=3, names=["b-0", "b-1", "a-0", "c-0"], silent={"a", "b"})
@settings(max_examples=150, deadline=None)
def test_what_is_silent_holds_a_part_and_all_else_goes_on(workers: int, names: list[str], silent: set[str]) -> None:
    """With fewer silent databases than workers, everything of every other one is reconciled while they are silent."""
    silent = set(sorted(silent)[: workers - 1])

    async def scenario() -> None:
        databases = Databases(*silent, all_groups=3)
        working = controller(databases, workers)
        run = asyncio.create_task(working.run())
        for name in names:
            working.queue.add(ObjectKey(KIND, "team", name))
        for _ in range(20):
            await settle()
        answered = {name for name in names if group_of(name) not in silent}
        assert {name for name in databases.done if databases.done[name]} == answered
        assert all(count == 1 for count in databases.done.values())
        for group in silent:
            assert databases.most[group] <= max(workers // 2, 1)
        held = sum(databases.running.values())
        assert held < workers or not silent
        assert working.queue.depth == len(set(names)) - len(answered) - held
        # It answers again: nobody was forgotten, and nobody was asked twice.
        for event in databases.silent.values():
            event.set()
        for _ in range(40):
            await settle()
        assert databases.done == Counter(set(names))
        assert working.queue.idle
        working.close()
        await run

    asyncio.run(scenario())


async def test_one_database_alone_has_all_workers() -> None:
    databases = Databases("a", all_groups=1)
    working = controller(databases, 4)
    run = asyncio.create_task(working.run())
    for number in range(10):
        working.queue.add(ObjectKey(KIND, "team", f"a-{number}"))
    await settle()
    assert databases.running["a"] == 4
    databases.silent["a"].set()
    working.close()
    await run


async def test_a_second_database_counts_at_once_and_a_gauge_tells_who_waits() -> None:
    registry = CollectorRegistry()
    databases = Databases("a", all_groups=2)
    working = controller(databases, 4, registry)
    run = asyncio.create_task(working.run())
    for number in range(10):
        working.queue.add(ObjectKey(KIND, "team", f"a-{number}"))
    await settle()
    assert databases.running["a"] == 2
    assert registry.get_sample_value("gatehouse_queue_set_aside", {"kind": KIND}) == 8
    assert (working.queue.set_aside_of("a"), working.queue.set_aside_of("b")) == (8, 0)
    assert working.queue.depth == 8
    assert not working.queue.idle
    databases.silent["a"].set()
    for _ in range(10):
        await settle()
    assert registry.get_sample_value("gatehouse_queue_set_aside", {"kind": KIND}) == 0
    assert sum(databases.done.values()) == 10
    working.close()
    await run


async def test_a_key_that_waits_for_its_share_counts_as_waiting_and_is_next_in_turn() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock, shares=Shares(workers=2, group=lambda key: key[0], groups=lambda: 2))
    for key in ("a1", "a2", "a3", "b1"):
        queue.add(key)
    assert await queue.get() == "a1"
    assert await queue.get() == "b1", "a2 would be the second of two workers"
    clock.advance(30)
    assert (queue.oldest_wait(), queue.stalled_for()) == (30, 30)
    queue.add("b2")
    queue.done("b1")
    assert await queue.get() == "b2"
    queue.add("a2")
    queue.done("a1")
    assert [await queue.get()] == ["a2"]
    queue.done("a2")
    assert await queue.get() == "a3"
    assert queue.depth == 0


async def test_a_key_of_another_group_by_now_is_let_in_by_that_group() -> None:
    groups = {"x1": "a", "x2": "a", "x3": "a"}
    queue: WorkQueue[str] = WorkQueue(
        clock=FakeClock(), shares=Shares(workers=4, group=lambda key: groups[key], groups=lambda: 2)
    )
    for key in groups:
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["x1", "x2"]
    waiting = asyncio.create_task(queue.get())
    await settle()
    assert not waiting.done()
    groups["x3"] = "b"
    queue.done("x1")
    await settle()
    assert waiting.done()
    assert await waiting == "x3"
    queue.done("x2")
    queue.done("x3")
    assert queue.idle


async def test_thousands_of_keys_of_a_silent_database_are_set_aside_in_many_turns() -> None:
    """None of the turns is long, and whoever is behind them all is found."""
    tried = 0

    def group(key: str) -> str:
        nonlocal tried
        tried += 1
        return key[0]

    queue: WorkQueue[str] = WorkQueue(clock=FakeClock(), shares=Shares(workers=2, group=group, groups=lambda: 2))
    for number in range(5_000):
        queue.add(f"a{number}")
    queue.add("b")
    assert await queue.get() == "a0"
    other = asyncio.create_task(queue.get())
    turns, most, before = 0, 0, tried
    while not other.done():
        await asyncio.sleep(0)
        turns, most, before = turns + 1, max(most, tried - before), tried
    assert await other == "b"
    assert turns > 5_000 // 256
    assert most <= 256
    assert queue.set_aside == 4_999


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 64])
def test_the_share_is_half_and_leaves_one(workers: int) -> None:
    shares: Shares[str] = Shares(workers=workers, group=lambda key: key[0], groups=lambda: 9)
    taken = 0
    while shares.may_take("a") and taken < workers:
        shares.take(f"a{taken}", "a")
        taken += 1
    assert taken == max(1, workers // 2)
    assert workers == 1 or taken < workers
    for number in range(taken):
        shares.give_back(f"a{number}")
    assert shares.held("a") == 0


@pytest.mark.parametrize(("workers", "silent"), [(2, 1), (3, 2), (4, 2), (5, 2), (8, 3), (16, 4), (64, 6)])
def test_several_silent_groups_leave_a_worker(workers: int, silent: int) -> None:
    """Each takes all that it may, one after the other."""
    shares: Shares[str] = Shares(workers=workers, group=lambda key: key[0], groups=lambda: 9)
    held = 0
    for group in "abcdefgh"[:silent]:
        while shares.may_take(group) and held < workers:
            shares.take(f"{group}{held}", group)
            held += 1
    assert held < workers


class SharesAgainstModel(RuleBasedStateMachine):
    """The model is the set of keys that are wanted, those that are held, and the rule in words of sets."""

    workers = 1

    @initialize(workers=st.integers(1, 5))
    def begin(self, workers: int) -> None:
        self.workers = workers
        self.groups = 3
        self.queue: WorkQueue[str] = WorkQueue(
            clock=FakeClock(),
            shares=Shares(workers=workers, group=group_of, groups=lambda: self.groups),
        )
        self.wanted: set[str] = set()
        self.held: set[str] = set()

    def admissible(self) -> set[str]:
        found = set()
        for key in self.wanted - self.held:
            group = group_of(key)
            mine = sum(1 for other in self.held if group is not None and group_of(other) == group)
            if mine == 0 or self.groups == 1 or mine + 1 <= self.workers - len(self.held) - 1:
                found.add(key)
        return found

    @rule(key=st.sampled_from([f"{group}-{number}" for group in ("a", "b", "free") for number in range(3)]))
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.wanted.add(key)

    @rule(groups=st.sampled_from([1, 3]))
    def registries_come_and_go(self, groups: int) -> None:
        self.groups = groups

    @precondition(lambda self: len(getattr(self, "held", ())) < self.workers)
    @rule()
    def get(self) -> None:
        admissible = self.admissible()

        async def taken() -> str | None:
            task = asyncio.ensure_future(self.queue.get())
            await settle()
            if task.done():
                return task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return None

        key = asyncio.run(taken())
        if key is None:
            assert not admissible
        else:
            assert key in admissible
            self.wanted.remove(key)
            self.held.add(key)

    @precondition(lambda self: getattr(self, "held", None))
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.held.remove(key)
        self.queue.done(key)

    @invariant()
    def agrees_with_the_model(self) -> None:
        if hasattr(self, "queue"):
            assert self.queue.depth == len(self.wanted - self.held)
            assert self.queue.processing == len(self.held)
            assert self.queue.idle == (not self.wanted and not self.held)


TestSharesAgainstModel = SharesAgainstModel.TestCase
TestSharesAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
