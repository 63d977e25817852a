"""The workqueue against a model that is too simple to be wrong."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatehouse.runtime.workqueue import Backoff, WorkQueue
from runtime.fakes import FakeClock

KEYS = st.sampled_from("abcd")
DELAYS = st.integers(1, 20).map(float)


class QueueAgainstModel(RuleBasedStateMachine):
    """The model is the time from which each key is wanted, and the set of keys that workers hold."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(time=0.0)
        self.queue: WorkQueue[str] = WorkQueue(clock=self.clock, backoff=Backoff(base=1.0, cap=8.0, jitter=0.0))
        self.wanted: dict[str, float] = {}
        self.held: set[str] = set()
        self.failures: dict[str, int] = {}

    def want(self, key: str, at: float) -> None:
        self.wanted[key] = min(at, self.wanted.get(key, at))

    @property
    def ready(self) -> set[str]:
        now = self.clock.now()
        return {key for key, at in self.wanted.items() if at <= now and key not in self.held}

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.want(key, self.clock.now())

    @rule(key=KEYS, seconds=DELAYS)
    def add_after(self, key: str, seconds: float) -> None:
        self.queue.add_after(key, seconds)
        self.want(key, self.clock.now() + seconds)

    @rule(key=KEYS)
    def add_rate_limited(self, key: str) -> None:
        self.queue.add_rate_limited(key)
        failures = self.failures.get(key, 0)
        self.failures[key] = failures + 1
        self.want(key, self.clock.now() + min(8.0, 2.0**failures))

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=DELAYS)
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.ready)
    @rule()
    def get(self) -> None:
        key = asyncio.run(self.queue.get())
        assert key in self.ready
        del self.wanted[key]
        self.held.add(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.queue.done(key)
        self.held.remove(key)

    @invariant()
    def agrees_with_the_model(self) -> None:
        now = self.clock.now()
        assert self.queue.depth == len(self.ready)
        assert self.queue.processing == len(self.held)
        assert self.queue.delayed == sum(1 for at in self.wanted.values() if at > now)
        assert {key: self.queue.failures(key) for key in self.failures} == self.failures

    @invariant()
    def needs_at_most_one_timer(self) -> None:
        assert self.clock.pending <= 1


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
