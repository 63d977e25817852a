"""BlueGreen and Canary: steps, failures, rollbacks, edits, clocks, and an operator that dies anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.api.model_deployment import StepStatus
from gatehouse.domain.common.conditions import find
from gatehouse.domain.deployment.facts import StepMeasurement
from gatehouse.domain.deployment.route import RouteMeans
from unit.domain.deployment.deployments import ready
from unit.domain.deployment.rollouts import AVAILABLE, Died, Rollout, split


def running(**spec: Any) -> Rollout:
    """Version one has all requests."""
    made = Rollout(deployment=split(**spec))
    made.run("one")
    assert (made.status.phase, made.shares) == ("Healthy", {"one": 100})
    return made


def coming(**spec: Any) -> Rollout:
    """Version two is brought in, and is at its first pause."""
    made = running(**spec)
    made.promote("two")
    made.settle()
    made.available()
    return made


def test_the_first_revision_has_no_steps_and_the_name_of_the_deployment() -> None:
    made = running()
    assert made.writes == ["Apply chat", "route"]
    assert made.status.canary is None
    assert made.condition("TrafficSplit") == ("True", "Accepted")


def test_a_canary_goes_through_its_steps() -> None:
    made = running()
    made.promote("two")
    made.settle()
    assert (made.status.phase, made.shares, made.runs) == ("Progressing", {"one": 100}, "one")
    made.available()
    assert made.shares == {"one": 90, "two": 10}
    assert made.condition("Ready") == ("False", "RunningStep")
    made.wait(minutes=4)
    made.settle()
    assert made.shares == {"one": 90, "two": 10}
    made.wait(minutes=2)
    made.settle()
    assert made.shares == {"one": 50, "two": 50}
    assert (made.status.phase, made.condition("Ready")) == ("Paused", ("False", "PausedAtStep"))
    made.wait(hours=100)
    made.settle()
    assert made.shares == {"one": 50, "two": 50}
    made.resume()
    assert (made.status.phase, made.shares, made.runs) == ("Healthy", {"two": 100}, "two")
    assert made.outcomes == [("two", "Healthy"), ("one", "Healthy")]
    assert [sum(each.values()) for each in made.weights] == [100] * len(made.weights)
    assert len(made.services) == 2
    made.wait(minutes=11)
    made.settle()
    assert len(made.services) == 1
    assert made.status.retired == []
    assert made.writes == [
        *("Apply chat", "route"),
        f"Apply {made.status.stable and made.status.stable.service}",
        *("route", "route", "route"),
        *("route", "delete chat"),
    ]


def test_a_resume_of_another_step_or_revision_resumes_nothing() -> None:
    made = coming()
    made.wait(minutes=6)
    made.settle()
    canary = made.status.canary
    assert canary is not None
    for value in (f"{canary.revision}/1", f"{canary.revision}", "chat-0000000000000000/3", "3"):
        made.annotate(resume=value)
        made.settle()
        assert made.status.phase == "Paused"


def test_blue_green_moves_all_requests_at_once_and_keeps_the_old_revision_warm() -> None:
    made = coming(strategy={"type": "BlueGreen", "steps": [{"pause": {}}], "scaleDownDelay": "1h"})
    assert (made.status.phase, made.shares) == ("Paused", {"one": 100})
    made.resume()
    assert (made.status.phase, made.shares) == ("Healthy", {"two": 100})
    made.wait(minutes=59)
    made.settle()
    assert len(made.services) == 2
    before = len(made.writes)
    made.annotate(rollback_to=made.status.history[1].revision, rollback_reason="wrong answers")
    made.settle()
    assert made.shares == {"one": 100}
    assert made.writes[before:] == ["route"], "a warm revision needs one write"
    assert (made.status.phase, made.condition("RolledBack")) == ("Degraded", ("True", "RolledBack"))
    made.wait(hours=2)
    made.settle()
    assert (made.shares, len(made.services)) == ({"one": 100}, 1)


def test_requests_wait_for_the_gateway() -> None:
    made = running()
    made.accepts = False
    made.promote("two")
    made.settle()
    made.available()
    canary = made.status.canary
    assert canary is not None
    assert canary.step is not None
    assert canary.step.index == 0
    made.wait(minutes=31)
    made.settle()
    assert made.status.rollback is not None
    assert "was not accepted" in made.status.rollback.reason
    assert made.shares == {"one": 100}


FAILURES: dict[str, tuple[Callable[[Rollout], None], str]] = {
    "archived": (lambda made: made.versions.update(two=ready("two", "2", phase="Archived")), "two is Archived"),
    "altered": (lambda made: made.versions.update(two=ready("two", "9")), "the digest"),
    "gone": (lambda made: made.versions.pop("two"), "no ModelVersion"),  # type: ignore[arg-type, return-value]
    "not cleared": (lambda made: made.versions.update(two=ready("two", "2", clearedFor=[])), "cleared for"),
    "too slow to start": (Rollout.slow_canary, "is not available"),
}


@pytest.mark.parametrize("which", FAILURES)
def test_a_revision_that_fails_in_mid_canary_loses_its_requests_and_then_its_service(which: str) -> None:
    made = coming()
    happens, said = FAILURES[which]
    happens(made)
    decision = made.step()
    assert made.shares == {"one": 100}, "the requests go back in the step that finds the failure"
    assert decision.delete == ()
    made.settle()
    assert made.status.rollback is not None
    assert said in made.status.rollback.reason
    assert (made.status.rollback.actor, made.status.phase) == ("gatehouse", "Degraded")
    assert made.outcomes[0][0] == "two"
    assert made.outcomes[0][1] in {"Failed", "RolledBack"}
    assert made.runs == "one"
    made.wait(seconds=31)
    made.settle()
    assert list(made.services) == ["chat"]


def test_gates_that_are_being_decided_move_no_requests() -> None:
    made = coming()
    made.versions["two"] = ready("two", "2", observedGeneration=0)
    made.settle()
    assert (made.shares, made.status.rollback) == ({"one": 90, "two": 10}, None)
    assert made.status.phase == "Held"


def test_a_failure_with_on_failure_pause_waits_for_a_person() -> None:
    made = coming(onFailure="Pause")
    made.slow_canary()
    made.settle()
    assert (made.status.phase, made.shares) == ("Paused", {"one": 90, "two": 10})
    made.annotate(rollback_to=made.status.history[1].revision, rollback_reason="it does not start")
    made.settle()
    assert (made.shares, made.status.phase) == ({"one": 100}, "Degraded")


@pytest.mark.parametrize(
    ("verdict", "phase", "shares"),
    [("Failed", "Degraded", {"one": 100}), ("Inconclusive", "Paused", {"one": 90, "two": 10})],
)
def test_an_analysis_that_does_not_pass(verdict: Any, phase: str, shares: dict[str, int]) -> None:
    made = coming(strategy={"type": "Canary", "steps": [{"setWeight": 10}, {"analysis": {}}]})
    assert made.shares == {"one": 90, "two": 10}
    state = StepStatus(index=1, since="2026-01-01T00:00:00Z", verdict=verdict, measured_at="2026-01-01T00:00:00Z")
    made.measured = StepMeasurement(state=state, told="ttft-p95 is 9 of at most 2")
    made.settle()
    assert (made.status.phase, made.shares) == (phase, shares)


def test_an_analysis_that_passes_goes_on() -> None:
    made = coming(strategy={"type": "Canary", "steps": [{"setWeight": 10}, {"analysis": {}}]})
    made.measured = StepMeasurement(
        state=StepStatus(index=1, since="2026-01-01T00:00:00Z", verdict="Passed"), told="3 of 3 measurements"
    )
    made.settle()
    assert (made.status.phase, made.shares) == ("Healthy", {"two": 100})


@pytest.mark.parametrize("verdict", ["Passed", "Failed", "Inconclusive"])
def test_a_retry_begins_the_measurements_of_the_first_step_again(verdict: Any) -> None:
    made = coming(strategy={"type": "BlueGreen", "steps": [{"analysis": {}}]}, onFailure="Pause")
    canary = made.status.canary
    assert canary is not None
    assert canary.step is not None
    made.measured = StepMeasurement(state=canary.step.model_copy(update={"verdict": verdict}), told="as before")
    made.annotate(retry="1")
    made.wait(seconds=10)
    made.step()
    canary = made.status.canary
    assert canary is not None
    assert canary.step is not None
    assert (canary.step.index, canary.step.verdict) == (0, "Running")
    assert (made.status.phase, made.shares) == ("Progressing", {"one": 100})


def test_another_version_in_mid_canary_replaces_the_canary() -> None:
    made = coming()
    made.promote("three")
    made.step()
    assert made.shares == {"one": 100}
    made.settle()
    made.available()
    assert made.shares == {"one": 90, "three": 10}
    assert made.outcomes[:2] == [("three", "Progressing"), ("two", "Replaced")]


def test_the_stable_version_in_mid_canary_ends_the_canary() -> None:
    made = coming()
    made.promote("one")
    made.settle()
    assert (made.shares, made.status.phase) == ({"one": 100}, "Healthy")
    assert made.status.canary is None


def test_a_person_pauses_in_mid_canary() -> None:
    made = coming()
    made.spec(paused=True)
    made.wait(hours=1)
    made.settle()
    assert (made.status.phase, made.shares) == ("Paused", {"one": 90, "two": 10})
    made.spec(paused=False)
    made.settle()
    assert made.shares == {"one": 50, "two": 50}


def test_a_retry_begins_the_steps_again() -> None:
    made = coming()
    made.wait(minutes=6)
    made.settle()
    assert made.shares == {"one": 50, "two": 50}
    made.annotate(retry="1")
    made.settle()
    assert made.shares == {"one": 90, "two": 10}


def test_without_a_way_to_split_requests_nothing_starts_and_the_reason_is_said() -> None:
    made = Rollout()
    made.means = RouteMeans(method="None", reason="no Gateway is named")
    made.settle()
    assert (made.writes, made.status.phase) == ([], "Held")
    assert made.condition("Ready") == ("False", "CannotSplitRequests")
    assert made.status.method is not None
    assert made.status.method.reason == "no Gateway is named"


def test_edits_of_services_and_of_the_route_are_put_back() -> None:
    made = coming()
    canary = made.status.canary
    assert canary is not None
    made.wait(seconds=11)
    for name in ("chat", canary.service):
        made.edit(name)
        made.settle()
        assert made.services[name].replicas == (1, 1)
    assert made.route is not None
    made.wait(seconds=11)
    made.route = replace(made.route, weights={"chat": 0, canary.service: 100})
    made.settle()
    assert made.shares == {"one": 90, "two": 10}
    made.route = replace(made.route, exact=False)
    before = len(made.writes)
    made.settle()
    assert len(made.writes) == before, "two writers do not compete at full speed"
    made.wait(seconds=11)
    made.settle()
    assert made.writes[before:] == ["route"]


def test_a_route_that_the_api_server_keeps_otherwise_is_said_with_the_way_out() -> None:
    made = coming()
    assert made.route is not None
    assert made.status.route is not None
    made.route = replace(made.route, exact=False)
    kept = made.status.route.model_copy(update={"altered": True})
    made.deployment = made.deployment.model_copy(update={"status": made.status.model_copy(update={"route": kept})})
    before = len(made.writes)
    made.settle()
    assert len(made.writes) == before, "to write the route again would change nothing"
    assert made.condition("TrafficSplit") == ("False", "RouteAltered")
    said = find(made.status.conditions, "TrafficSplit")
    assert said is not None
    assert "update the Gateway API" in said.message


def test_a_deleted_stable_service_is_made_again_in_mid_canary() -> None:
    made = coming()
    del made.services["chat"], made.rollouts["chat"]
    made.settle()
    assert "chat" in made.services
    assert made.runs == "one"


def test_a_strategy_that_changes_keeps_what_runs() -> None:
    made = coming()
    made.spec(strategy={"type": "Recreate"})
    made.settle()
    assert made.runs == "two", "Recreate replaces in place"
    made.available()
    assert made.shares == {"two": 100}
    made.wait(minutes=1)
    made.settle()
    assert list(made.services) == ["chat"]
    made.spec(strategy={"type": "BlueGreen"})
    made.promote("three")
    made.settle()
    made.available()
    assert (made.runs, made.shares) == ("three", {"three": 100})


def test_a_clock_that_jumps_ends_no_pause_twice_and_no_revision_early() -> None:
    made = coming()
    made.wait(days=-300)
    made.settle()
    assert made.shares == {"one": 90, "two": 10}
    made.wait(days=300, minutes=6)
    made.settle()
    assert made.shares == {"one": 50, "two": 50}


def test_the_history_stays_bounded_over_many_rollouts() -> None:
    made = running(strategy={"type": "BlueGreen", "scaleDownDelay": "0s"})
    made.starts = True
    for turn in range(40):
        made.versions["two" if turn % 2 else "three"] = ready("two" if turn % 2 else "three", str(turn % 9))
        made.promote("two" if turn % 2 else "three")
        made.settle()
        made.wait(minutes=1)
        made.settle()
        assert len(made.services) == 1
    assert len(made.status.history) <= 12


# An operator that dies anywhere


EVENTS: dict[str, Callable[[Rollout], None]] = {
    "one": lambda made: made.promote("one"),
    "two": lambda made: made.promote("two"),
    "three": lambda made: made.promote("three"),
    "available": lambda made: made.rollouts.update(dict.fromkeys(made.services, AVAILABLE)),
    "later": lambda made: made.wait(minutes=3),
    "much later": lambda made: made.wait(minutes=40),
    "back": lambda made: made.wait(minutes=-20),
    "resume": Rollout.resume_if_waiting,
    "retry": lambda made: made.annotate(retry=made.now.isoformat()),
    "roll back": Rollout.roll_back,
    "edit a service": Rollout.touch_service,
    "edit the route": Rollout.turn_by_hand,
    "delete a service": Rollout.lose_service,
    "shut two": lambda made: made.versions.update(two=ready("two", "2", phase="Archived")),
    "open two": lambda made: made.versions.update(two=ready("two", "2")),
    "pause": lambda made: made.spec(paused=True),
    "go on": lambda made: made.spec(paused=False),
}


@settings(max_examples=300)
@given(events=st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.none() | st.integers(0, 3)), max_size=30))
def test_whatever_happens_and_wherever_it_dies_the_end_is_the_same(events: list[tuple[str, int | None]]) -> None:
    made = Rollout(deployment=split(progressDeadline="30m"))
    for event, dies_after in events:
        EVENTS[event](made)
        for _ in range(2):
            with suppress(Died):
                written = len(made.writes)
                made.step(dies_after=dies_after)
                assert len(made.writes) - written <= 3
            made.gateway_answers()
    # Everybody wants version three now, and nothing disturbs.
    made.spec(paused=False)
    made.settle()
    made.promote("three")
    made.annotate(retry="at last")
    made.starts = True
    for _ in range(12):
        made.settle()
        made.available()
        made.resume_if_waiting()
        made.settle()
        made.gateway_answers()
        made.wait(minutes=12)
    assert (made.status.phase, made.runs, made.shares) == ("Healthy", "three", {"three": 100})
    assert len(made.services) == 1
    assert made.status.retired == []
