"""Which revision runs: gates, promotions, rollbacks, deadlines, edits by others, and an operator that dies anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.deployment.decision import decide
from gatehouse.domain.deployment.facts import DeployedService
from gatehouse.domain.deployment.revision import candidate
from gatehouse.domain.deployment.rollout import RevisionRollout
from gatehouse.domain.deployment.standing import shut_gate
from unit.domain.deployment.deployments import COMING, Rehearsal, deployment, digest, ready

LATE = {"minutes": 31}


def running(*versions: str) -> Rehearsal:
    """A deployment through which these versions went, each available."""
    made = Rehearsal()
    for name in versions:
        made.promote(name)
        made.settle()
        made.available()
        made.wait(minutes=1)
    return made


def test_the_first_version_is_applied_and_becomes_healthy_when_its_pods_are_available() -> None:
    made = Rehearsal()
    made.settle()
    assert made.writes == ["chat-" + made.writes[0].removeprefix("chat-")]
    assert (made.status.phase, made.runs) == ("Progressing", "one")
    assert made.condition("Ready") == ("False", "RollingOut")
    assert made.condition("Reconciling") == ("True", "RollingOut")
    assert made.status.last_good is None

    made.available()
    assert (made.status.phase, made.condition("Ready")) == ("Healthy", ("True", "Healthy"))
    assert made.condition("Available") == ("True", "Available")
    assert made.condition("Reconciling") is None
    assert made.status.last_good is not None
    assert made.status.last_good.digest == digest("1")
    assert len(made.writes) == 1


def test_a_promotion_replaces_the_revision_and_keeps_the_earlier_one_as_good() -> None:
    made = running("one", "two")
    assert made.outcomes == [("two", "Healthy"), ("one", "Healthy")]
    assert made.status.history[0].from_ == made.status.history[1].revision
    assert len(made.writes) == 2


GATES: dict[str, tuple[Callable[[Rehearsal], None], str]] = {
    "absent": (lambda made: made.versions.pop("two"), "VersionNotFound"),  # type: ignore[arg-type, return-value]
    "going": (
        lambda made: made.versions.update(
            two=ready("two", "2").model_copy(
                update={
                    "metadata": ready("two").metadata.model_copy(update={"deletion_timestamp": made.now}),
                }
            )
        ),
        "VersionNotFound",
    ),
    "unreadable": (
        lambda made: made.versions.update(
            two=Unreadable(kind="ModelVersion", namespace="team", name="two", problem="spec: no")
        ),
        "VersionUnreadable",
    ),
    "of another model": (
        lambda made: made.versions.update(
            two=ready("two", "2").model_copy(
                update={"spec": ready().spec.model_validate({**ready().spec.wire(), "modelRef": {"name": "llama"}})}
            )
        ),
        "OtherModel",
    ),
    "in review": (lambda made: made.versions.update(two=ready("two", "2", phase="Pending Review")), "VersionNotReady"),
    "archived": (lambda made: made.versions.update(two=ready("two", "2", phase="Archived")), "VersionNotReady"),
    "altered": (lambda made: made.versions.update(two=ready("two", "2", phase="Artifact Changed")), "VersionNotReady"),
    "edited just now": (
        lambda made: made.versions.update(two=ready("two", "2", observedGeneration=0)),
        "VersionNotReady",
    ),
    "not cleared": (lambda made: made.versions.update(two=ready("two", "2", clearedFor=["staging"])), "NotCleared"),
    "without a template": (lambda made: made.versions.update(two=ready("two", "2", template=None)), "VersionNotReady"),
    "without a stage": (lambda made: setattr(made, "stage", None), "NamespaceWithoutStage"),
}


@pytest.mark.parametrize("which", GATES)
def test_a_shut_gate_holds_what_runs_and_says_so(which: str) -> None:
    made = running("one")
    shut, reason = GATES[which]
    shut(made)
    made.promote("two")
    made.settle()
    assert (made.status.phase, made.runs) == ("Held", "one")
    assert made.condition("Ready") == ("False", reason)
    assert made.condition("Available") == ("True", "Available")
    assert len(made.writes) == 1


@pytest.mark.parametrize("which", sorted(set(GATES) - {"without a template"}))
def test_a_gate_that_shuts_behind_a_running_version_stops_nothing(which: str) -> None:
    made = running("two")
    shut, reason = GATES[which]
    shut(made)
    made.settle()
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs) == ("Held", "two")
    assert made.condition("Cleared") == ("False", reason)
    assert made.condition("Available") == ("True", "Available")
    assert len(made.writes) == 1


def test_a_service_whose_gates_are_shut_is_not_made_again() -> None:
    made = running("one")
    made.versions["one"] = ready(phase="Archived")
    made.service = made.rollout = None
    made.settle()
    assert (made.status.phase, made.runs) == ("Held", None)
    assert len(made.writes) == 1


def test_other_bytes_of_a_version_are_another_revision_and_the_old_one_is_no_target() -> None:
    made = running("one", "two")
    made.versions["one"] = ready("one", "9")
    made.annotate(rollback_to=made.status.history[1].revision, rollback_reason="slow")
    made.settle()
    assert made.runs == "two"
    assert made.condition("RolledBack") == ("False", "DigestChanged")


def test_settings_that_were_approved_anew_are_another_revision() -> None:
    made = running("one")
    made.versions["one"] = ready("one", "1", servedDigest=digest("8"), template="b")
    made.settle()
    assert [entry.served_digest for entry in made.status.history] == [digest("8"), digest("1")]


def test_a_new_template_alone_waits_for_a_person() -> None:
    made = running("one")
    made.versions["one"] = ready("one", "1", template="b")
    made.settle()
    assert len(made.writes) == 1
    made.annotate(retry="today")
    made.settle()
    assert len(made.writes) == 2
    assert made.status.history[0].template_digest == digest("b")
    assert made.status.last_handled_retry == "today"


# Deadlines


def test_a_missed_deadline_rolls_back_to_the_last_good_revision_and_stays_there() -> None:
    made = running("one")
    made.promote("two")
    made.settle()
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs) == ("RollingBack", "one")
    made.available()
    assert made.outcomes == [("one", "Healthy"), ("two", "Failed"), ("one", "Healthy")]
    assert made.condition("RolledBack") == ("True", "RolledBack")
    assert made.condition("Ready") == ("False", "RolledBack")
    assert made.condition("Stalled") == ("True", "RolledBack")
    assert made.condition("Available") == ("True", "Available")
    assert made.status.rollback is not None
    assert made.status.rollback.actor == "gatehouse"
    assert made.deployment.spec.version_ref.name == "two", "the spec is the author's"
    written = len(made.writes)
    for _ in range(3):
        made.wait(days=1)
        made.settle()
    assert len(made.writes) == written, "the rolled back version is not applied again"

    made.annotate(retry="1")
    made.settle()
    assert (made.runs, made.status.rollback) == ("two", None)
    made.available()
    assert made.status.phase == "Healthy"


def test_a_rollback_ends_with_another_version_in_the_spec() -> None:
    made = running("one")
    made.promote("two")
    made.settle()
    made.wait(**LATE)
    made.settle()
    made.versions["three"] = ready("three", "3")
    made.promote("three")
    made.settle()
    assert (made.runs, made.status.rollback) == ("three", None)


def test_an_operator_that_dies_in_a_rollback_does_not_take_it_for_a_promotion() -> None:
    made = running("one")
    made.promote("two")
    made.settle()
    made.wait(**LATE)
    made.step()
    assert made.status.rollback is not None, "the intent is written before the service"
    made.step(dies=True)
    made.settle()
    assert made.runs == "one"
    assert [entry.version for entry in made.status.history] == ["one", "two", "one"]


def test_pods_that_become_available_before_the_deadline_keep_the_revision() -> None:
    made = running("one")
    made.promote("two")
    made.settle()
    made.wait(minutes=29)
    made.settle()
    made.available()
    made.wait(**LATE)
    made.settle()
    assert (made.runs, made.status.phase) == ("two", "Healthy")


def test_a_revision_that_was_healthy_is_degraded_later_and_not_rolled_back() -> None:
    made = running("one", "two")
    made.rollout = COMING
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs) == ("Degraded", "two")
    assert made.condition("Ready") == ("False", "Unavailable")


def test_without_a_good_revision_the_failed_one_stays_and_says_so() -> None:
    made = Rehearsal()
    made.settle()
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs) == ("Degraded", "one")
    assert made.condition("Stalled") == ("True", "NoRollbackTarget")
    made.available()
    assert made.status.phase == "Healthy", "a slow load may recover"


def test_a_good_revision_whose_gates_are_shut_is_no_target() -> None:
    made = running("one")
    made.versions["one"] = ready(phase="Rejected")
    made.promote("two")
    made.settle()
    made.wait(**LATE)
    made.settle()
    assert made.runs == "two"
    assert made.condition("Stalled") == ("True", "NoRollbackTarget")

    made.versions["one"] = ready()
    made.settle()
    assert made.runs == "one", "the gate is asked again"


def test_a_lost_revision_is_passed_over_for_an_older_good_one() -> None:
    made = running("one", "two")
    made.versions["three"] = ready("three", "3")
    made.promote("three")
    made.settle()
    lost = Finding(reason="RevisionGone", found="no ControllerRevision", expected="it")
    made.lost = {made.status.history[1].revision: lost}
    made.wait(**LATE)
    made.settle()
    assert made.runs == "one"


def test_on_failure_pause_leaves_the_failed_revision() -> None:
    made = running("one")
    made.spec(onFailure="Pause", versionRef={"name": "two"})
    made.settle()
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs) == ("Paused", "two")
    assert made.condition("Stalled") == ("True", "ProgressDeadlineExceeded")


def test_a_service_that_a_person_stopped_is_not_failing() -> None:
    made = running("one")
    made.promote("two")
    made.settle()
    made.rollout = RevisionRollout(state="Stopped", found="stopped")
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs) == ("Paused", "two")
    assert made.condition("Ready") == ("False", "ServiceStopped")


def test_paused_writes_nothing() -> None:
    made = running("one")
    made.spec(paused=True, versionRef={"name": "two"})
    made.settle()
    made.wait(**LATE)
    made.settle()
    assert (made.status.phase, made.runs, len(made.writes)) == ("Paused", "one", 1)
    assert made.condition("Paused") == ("True", "Paused")
    made.spec(paused=False)
    made.settle()
    assert made.runs == "two"


# A person's rollback


def test_a_person_rolls_back_with_a_reason() -> None:
    made = running("one", "two")
    one = made.status.history[1].revision
    made.annotate(rollback_to=one, rollback_reason="answers in French")
    made.settle()
    made.available()
    assert made.runs == "one"
    assert made.outcomes == [("one", "Healthy"), ("two", "RolledBack"), ("one", "Healthy")]
    assert made.status.history[0].reason == "answers in French"
    assert made.status.rollback is not None
    assert (made.status.rollback.version, made.status.rollback.to) == ("two", one)

    made.versions["three"] = ready("three", "3")
    made.promote("three")
    made.settle()
    assert made.runs == "three", "the request was handled once"
    made.promote("two")
    made.settle()
    made.annotate(rollback_requested_at="later")
    made.settle()
    assert made.runs == "one", "the same request at another time is another one"


def test_the_history_has_who_chose_and_who_went_back() -> None:
    made = running("one")
    made.annotate(deployed_by="dora")
    made.promote("two")
    made.settle()
    made.available()
    one = made.status.history[1].revision
    made.annotate(rollback_to=one, rollback_reason="slow", rollback_by="otto")
    made.settle()
    made.available()
    assert [entry.actor for entry in made.status.history] == ["otto", "dora", "unknown"]
    assert made.status.rollback is not None
    assert made.status.rollback.actor == "otto"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"rollback_to": "chat-0000"}, "RollbackReasonMissing"),
        ({"rollback_to": "chat-0000", "rollback_reason": " "}, "RollbackReasonMissing"),
        ({"rollback_to": "chat-0000", "rollback_reason": "slow"}, "RevisionNotFound"),
    ],
)
def test_a_request_that_cannot_be_granted_is_refused_once_and_changes_nothing(
    asked: dict[str, str], reason: str
) -> None:
    made = running("one", "two")
    made.annotate(**asked)
    made.settle()
    assert (made.runs, made.status.phase, len(made.writes)) == ("two", "Healthy", 2)
    assert made.condition("RolledBack") == ("False", reason)
    assert made.status.rollback_refusal is not None


def test_a_refused_rollback_is_not_granted_later_by_itself() -> None:
    made = running("one", "two")
    made.versions["one"] = ready(phase="Rejected")
    made.annotate(rollback_to=made.status.history[1].revision, rollback_reason="slow")
    made.settle()
    made.versions["one"] = ready()
    made.settle()
    assert made.runs == "two"


# Others


def test_an_edit_of_the_service_is_put_back_at_most_every_ten_seconds() -> None:
    made = running("one")
    for _ in range(3):
        assert made.service is not None
        edited = DeployedService(
            name="chat",
            uid=made.service.uid,
            generation=made.service.generation + 1,
            owned=True,
            revision=made.service.revision,
            digest=made.service.digest,
            replicas=(5, 5),
        )
        made.service = edited
        made.settle()
    assert len(made.writes) == 2
    made.wait(seconds=11)
    made.settle()
    assert len(made.writes) == 3
    assert made.service.replicas == (1, 1)


def test_replicas_are_no_revision() -> None:
    made = running("one")
    made.spec(replicas=3)
    made.settle()
    assert made.service is not None
    assert made.service.replicas == (3, 3)
    assert len(made.status.history) == 1


def test_a_deleted_service_is_made_again() -> None:
    made = running("one")
    made.service = made.rollout = None
    made.settle()
    made.available()
    assert (made.status.phase, len(made.writes), len(made.status.history)) == ("Healthy", 2, 1)


def test_a_foreign_service_of_the_name_is_left_alone() -> None:
    made = Rehearsal()
    made.service = DeployedService(
        name="chat", uid="x", generation=1, owned=False, revision=None, digest=None, replicas=(1, 1)
    )
    made.settle()
    assert made.writes == []
    assert made.condition("Stalled") == ("True", "NameTaken")


def test_a_name_that_is_too_long_for_kserve_is_refused_at_once() -> None:
    made = Rehearsal(deployment=deployment(metadata={"name": "c" * 49}))
    made.settle()
    assert made.writes == []
    assert made.condition("Stalled") == ("True", "NameInvalid")


def test_what_admission_refuses_is_held_and_tried_again() -> None:
    made = running("one")
    made.promote("two")
    made.refuses = True
    decision = made.step()
    assert decision.again is not None
    assert (made.status.phase, made.runs) == ("Held", "one")
    assert made.condition("Ready") == ("False", "AdmissionRefused")
    made.refuses = False
    made.settle()
    assert made.runs == "two"


def test_unknown_services_write_nothing() -> None:
    made = running("one")
    made.promote("two")
    decision = decide(made.facts(services=None))
    assert (decision.phase, decision.write) == ("Held", None)


def test_the_history_is_bounded_and_keeps_the_last_good_revision() -> None:
    made = Rehearsal()
    made.spec(revisionHistoryLimit=3)
    for number in range(9):
        made.versions[f"v{number}"] = ready(f"v{number}", str(number))
        made.promote(f"v{number}")
        made.settle()
        made.available()
    assert [entry.version for entry in made.status.history] == ["v8", "v7", "v6"]
    names = {candidate(made.deployment, made.versions[f"v{number}"]).name for number in range(6)}  # type: ignore[union-attr]
    assert set(made.pruned) == names


def test_promotions_that_never_become_available_keep_the_history_bounded_too() -> None:
    made = Rehearsal()
    made.spec(revisionHistoryLimit=2)
    for number in range(70):
        name = f"v{number}"
        made.versions[name] = ready(name, "1", servedDigest=digest("2"), template=str(number % 10))
        made.promote(name)
        made.step()
    assert len(made.status.history) <= 52
    for _ in range(20):
        decision = made.step()
    assert [entry.version for entry in made.status.history] == ["v69", "v68"]
    assert decision.prune == ()


# Whatever happens


@st.composite
def happenings(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Things that happen one after the other."""
    one = st.one_of(
        st.tuples(st.just("promote"), st.sampled_from(["one", "two", "three"])),
        st.tuples(
            st.just("phase"),
            st.tuples(
                st.sampled_from(["one", "two", "three"]),
                st.sampled_from(["Ready to Deploy", "Archived", "Artifact Changed", "Rejected"]),
            ),
        ),
        st.tuples(st.just("cleared"), st.tuples(st.sampled_from(["one", "two", "three"]), st.booleans())),
        st.tuples(st.just("bytes"), st.tuples(st.sampled_from(["one", "two", "three"]), st.sampled_from("1234"))),
        st.tuples(st.just("template"), st.tuples(st.sampled_from(["one", "two", "three"]), st.sampled_from("ab"))),
        st.tuples(st.just("available"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 400, 1900])),
        st.tuples(st.just("rollback"), st.integers(0, 4)),
        st.tuples(st.just("retry"), st.integers(0, 3)),
        st.tuples(st.just("paused"), st.booleans()),
        st.tuples(st.just("deleted"), st.none()),
        st.tuples(st.just("edited"), st.none()),
        st.tuples(st.just("dies"), st.none()),
        st.tuples(st.just("refuses"), st.booleans()),
        st.tuples(st.just("step"), st.none()),
    )
    return draw(st.lists(one, max_size=40))


class Life:
    """A deployment to which things happen, with what must hold after each step."""

    def __init__(self) -> None:
        self.made = Rehearsal()
        self.about = {
            name: {"letter": str(place), "template": "a", "phase": "Ready to Deploy", "cleared": True}
            for place, name in enumerate(["one", "two", "three"], start=1)
        }
        self.tell()

    def tell(self) -> None:
        self.made.versions = {
            name: ready(
                name,
                known["letter"],
                template=known["template"],
                phase=known["phase"],
                clearedFor=["staging", "production"] if known["cleared"] else ["staging"],
            )
            for name, known in self.about.items()
        }

    def happen(self, what: str, value: Any) -> None:
        if what in {"phase", "cleared", "template"}:
            self.about[value[0]][what] = value[1]
        elif what == "bytes":
            self.about[value[0]]["letter"] = value[1]
        elif what in {"promote", "rollback", "retry", "paused"}:
            self.people(what, value)
        else:
            self.around(what, value)
        self.tell()
        if what == "dies":
            self.made.step(dies=True)
        elif what == "step":
            self.step()

    def people(self, what: str, value: Any) -> None:
        """What people ask of the deployment."""
        made = self.made
        match what:
            case "promote":
                made.promote(value)
            case "rollback" if len(made.status.history) > value:
                made.annotate(rollback_to=made.status.history[value].revision, rollback_reason="slow")
            case "retry":
                made.annotate(retry=str(value))
            case "paused":
                made.spec(paused=value)

    def around(self, what: str, value: Any) -> None:
        """What others do to the service, and time."""
        made = self.made
        match what:
            case "available":
                made.rollout = RevisionRollout(state="Available", found="") if value else COMING
            case "wait":
                made.wait(seconds=value)
            case "refuses":
                made.refuses = value
            case "deleted":
                made.service = made.rollout = None
            case "edited" if made.service is not None:
                made.service = replace(made.service, generation=made.service.generation + 1, replicas=(7, 7))

    def step(self) -> None:
        made, before = self.made, len(self.made.writes)
        facts = made.facts()
        decision = made.step()
        assert len(made.writes) - before <= 1
        if len(made.writes) > before:
            assert decision.target is not None
            shut = shut_gate(decision.target, facts.deployment, facts.versions, facts.place)
            assert shut is None, "never a target whose gates are shut"
            assert not facts.deployment.spec.paused
            in_force = facts.status.rollback
            if (
                in_force is not None
                and in_force.version == facts.deployment.spec.version_ref.name
                and (facts.status.last_handled_retry == facts.retry or facts.retry is None)
                and facts.request is None
            ):
                assert decision.target.name == in_force.to, "a rolled back version is not applied again"
        status = made.status
        assert len(status.history) <= 52
        assert (status.phase == "Healthy") == (made.condition("Ready") == ("True", "Healthy"))


@given(happenings())
@settings(max_examples=60, deadline=None)
def test_whatever_happens_no_gate_is_passed_and_it_comes_to_rest(life: list[tuple[str, Any]]) -> None:
    lived = Life()
    for what, value in life:
        lived.happen(what, value)
    lived.made.wait(seconds=11)
    for _ in range(12):
        before = (lived.made.deployment, len(lived.made.writes))
        lived.step()
        if (lived.made.deployment, len(lived.made.writes)) == before:
            break
    else:
        raise AssertionError("it does not come to rest")
