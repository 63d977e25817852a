from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from gatehouse.runtime.controller import Controller, KeyOutcome, jittered
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.workqueue import Backoff
from runtime.fakes import FakeClock, settle


@dataclass(frozen=True)
class Ended:
    retry: bool = False
    after: float | None = None


@dataclass
class Script:
    """A reconcile that does what it is told, one answer a call, and then ends well."""

    answers: list[KeyOutcome | BaseException] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    ended: int = 0

    async def __call__(self, namespace: str, name: str) -> KeyOutcome:
        self.calls.append((namespace, name))
        if self.gate is not None:
            await self.gate.wait()
        self.ended += 1
        answer = self.answers.pop(0) if self.answers else Ended()
        if isinstance(answer, BaseException):
            raise answer
        return answer


KEY = ObjectKey("widgets", "team", "a")


class Bench:
    def __init__(self, script: Script, workers: int = 1) -> None:
        self.clock = FakeClock()
        self.script = script
        self.registry = CollectorRegistry()
        self.controller = Controller(
            kind="widgets",
            reconcile=script,
            workers=workers,
            clock=self.clock,
            metrics=EngineMetrics(self.registry),
            backoff=Backoff(base=1.0, cap=60.0, jitter=0.0),
        )
        self.running = asyncio.create_task(self.controller.run())

    async def stop(self) -> None:
        self.controller.close()
        await self.running

    def count(self, outcome: str) -> float | None:
        labels = {"kind": "widgets", "outcome": outcome}
        return self.registry.get_sample_value("gatehouse_reconciles_total", labels)


async def test_a_reconcile_that_is_done_is_not_repeated() -> None:
    bench = Bench(Script())
    bench.controller.queue.add(KEY)
    await bench.clock.run(1000)
    assert bench.script.calls == [("team", "a")]
    assert bench.count("done") == 1
    await bench.stop()


async def test_after_looks_again_then() -> None:
    bench = Bench(Script([Ended(after=30.0)]))
    bench.controller.queue.add(KEY)
    await bench.clock.run(29)
    assert len(bench.script.calls) == 1
    await bench.clock.run(2)
    assert len(bench.script.calls) == 2
    assert bench.count("later") == 1
    await bench.stop()


async def test_retry_backs_off_and_success_resets_the_backoff() -> None:
    retry = Ended(retry=True)
    bench = Bench(Script([retry, retry, Ended(), retry]))
    bench.controller.queue.add(KEY)
    await bench.clock.run(0.9)
    assert len(bench.script.calls) == 1
    await bench.clock.run(0.2)
    assert len(bench.script.calls) == 2
    await bench.clock.run(2)
    assert len(bench.script.calls) == 3
    bench.controller.queue.add(KEY)
    await bench.clock.run(1)
    assert len(bench.script.calls) == 5
    assert bench.count("retry") == 3
    await bench.stop()


async def test_retry_waits_at_least_as_long_as_asked() -> None:
    bench = Bench(Script([Ended(retry=True, after=20.0)]))
    bench.controller.queue.add(KEY)
    await bench.clock.run(19)
    assert len(bench.script.calls) == 1
    await bench.clock.run(2)
    assert len(bench.script.calls) == 2
    await bench.stop()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(RuntimeError("boom"), id="exception"),
        pytest.param(asyncio.CancelledError(), id="cancelled from within"),
        pytest.param(Ended(after=float("nan")), id="nonsense"),
    ],
)
async def test_pitfall_04_on_event_never_retries_so_the_controller_does(
    answer: KeyOutcome | BaseException,
) -> None:
    bench = Bench(Script([answer]))
    bench.controller.queue.add(KEY)
    await bench.clock.run(0.5)
    assert bench.count("error") == 1
    assert not bench.running.done()
    await bench.clock.run(1)
    assert len(bench.script.calls) == 2
    await bench.stop()


async def test_workers_bound_how_many_reconciles_run_at_once() -> None:
    bench = Bench(Script(gate=asyncio.Event()), workers=3)
    for number in range(10):
        bench.controller.queue.add(ObjectKey("widgets", "team", str(number)))
    await settle()
    assert len(bench.script.calls) == 3
    assert bench.script.gate is not None
    bench.script.gate.set()
    await settle()
    assert bench.script.ended == 10
    await bench.stop()


async def test_closing_lets_what_is_in_flight_end_and_takes_nothing_new() -> None:
    gate = asyncio.Event()
    bench = Bench(Script(gate=gate), workers=2)
    for number in range(5):
        bench.controller.queue.add(ObjectKey("widgets", "team", str(number)))
    await settle()
    bench.controller.close()
    await settle()
    assert not bench.running.done()
    gate.set()
    await bench.running
    assert (len(bench.script.calls), bench.script.ended) == (2, 2)


async def test_cancelling_ends_what_is_in_flight() -> None:
    bench = Bench(Script(gate=asyncio.Event()), workers=2)
    bench.controller.queue.add(KEY)
    await settle()
    bench.running.cancel()
    await asyncio.gather(bench.running, return_exceptions=True)
    assert bench.running.cancelled()
    assert (len(bench.script.calls), bench.script.ended) == (1, 0)


async def test_it_has_not_stalled_before_its_workers_run() -> None:
    bench = Bench(Script(gate=asyncio.Event()))
    bench.controller.queue.add(KEY)
    bench.clock.advance(1000)
    assert bench.controller.stalled_for() == 0
    await settle()
    bench.controller.queue.add(ObjectKey("widgets", "team", "b"))
    bench.clock.advance(10)
    assert bench.controller.stalled_for() == 10
    bench.running.cancel()
    await asyncio.gather(bench.running, return_exceptions=True)


async def test_its_queue_is_in_the_metrics() -> None:
    bench = Bench(Script(gate=asyncio.Event()))
    for number in range(3):
        bench.controller.queue.add(ObjectKey("widgets", "team", str(number)))
    await settle()
    bench.clock.advance(4)

    def value(name: str) -> float | None:
        return bench.registry.get_sample_value(name, {"kind": "widgets"})

    assert value("gatehouse_queue_depth") == 2
    assert value("gatehouse_queue_oldest_seconds") == 4
    assert value("gatehouse_queue_unfinished_seconds") == 4
    assert value("gatehouse_queue_wait_seconds_count") == 1
    bench.running.cancel()
    await asyncio.gather(bench.running, return_exceptions=True)


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 90.0), (0.5, 100.0), (1.0, 110.0)])
def test_an_interval_is_spread_by_a_tenth(draw: float, seconds: float) -> None:
    assert jittered(100.0, draw=lambda: draw) == pytest.approx(seconds)


def test_a_controller_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="widgets has 0 workers"):
        Controller(
            kind="widgets",
            reconcile=Script(),
            workers=0,
            clock=FakeClock(),
            metrics=EngineMetrics(CollectorRegistry()),
        )
