"""Available means that all of KServe's signs agree, and that the Deployment has rolled out this revision."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.deployment.rollout import rollout_of, service_says
from unit.controllers.servings import loaded, rolled_out

REVISION = "chat-0123456789abcdef"


def conditions(**changes: dict[str, str] | None) -> dict[str, Any]:
    """The good status with other conditions; None takes one away."""
    known = {each["type"]: each for each in loaded()["conditions"]}
    for type_, change in changes.items():
        known[type_] = {} if change is None else {**known.get(type_, {"type": type_}), **change}
    return loaded(conditions=[each for each in known.values() if each])


def model(**changes: Any) -> dict[str, Any]:
    return loaded(modelStatus={**loaded()["modelStatus"], **changes})


def test_all_signs_together_are_available() -> None:
    assert rollout_of(loaded(), rolled_out(REVISION), revision=REVISION).state == "Available"


def test_a_failure_of_the_past_says_nothing() -> None:
    status = model(lastFailureInfo={"message": "out of memory", "reason": "ModelLoadFailed"})
    assert rollout_of(status, rolled_out(REVISION), revision=REVISION).state == "Available"


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (None, "no condition"),
        ({}, "no condition"),
        (conditions(Ready={"status": "False", "reason": "MinimumReplicasUnavailable"}), "MinimumReplicasUnavailable"),
        (conditions(Ready={"status": "Unknown"}), "Ready is Unknown"),
        (conditions(PredictorReady={"reason": "MinimumReplicasAvailable"}), "MinimumReplicasAvailable"),
        (conditions(PredictorReady=None), "PredictorReady is absent"),
        (conditions(PredictorReady={"status": "False", "reason": "FailedCreate", "message": "no key"}), "Failed"),
        (model(transitionStatus="InProgress"), "Loaded"),
        (model(transitionStatus="InvalidSpec"), "InvalidSpec"),
        (model(transitionStatus="BlockedByFailedLoad", lastFailureInfo={"message": "exit 1"}), "exit 1"),
        (model(states={"targetModelState": "Loading"}), "Loading"),
        (model(copies={"totalCopies": 0}), "no Pod"),
        (model(copies={}), "no Pod"),
    ],
)
def test_one_sign_that_disagrees_is_not_available(status: Any, found: str) -> None:
    said = rollout_of(status, rolled_out(REVISION), revision=REVISION)
    assert (said.state, found in said.found) == ("Progressing", True), said


@pytest.mark.parametrize(
    ("deployment", "found"),
    [
        (None, "no Deployment"),
        (rolled_out("chat-of-before"), "chat-of-before"),
        (rolled_out(REVISION, observedGeneration=1), "controller"),
        (rolled_out(REVISION, updatedReplicas=0), "0 of 1 Pods"),
        (rolled_out(REVISION, availableReplicas=0, unavailableReplicas=1), "0 are available"),
        (rolled_out(REVISION, replicas=2), "1 of 2 Pods"),
        (rolled_out(REVISION, unavailableReplicas=1), "available"),
        (rolled_out(REVISION) | {"status": {}}, "controller"),
        ({**rolled_out(REVISION), "spec": {**rolled_out(REVISION)["spec"], "replicas": 3}}, "1 of 1"),
    ],
)
def test_a_deployment_that_has_not_rolled_out_the_revision_is_not_available(deployment: Any, found: str) -> None:
    said = rollout_of(loaded(), deployment, revision=REVISION)
    assert (said.state, found in said.found) == ("Progressing", True), said


def test_a_stopped_service_is_stopped() -> None:
    assert service_says(conditions(Ready={"status": "False", "reason": "Stopped"})).state == "Stopped"
    assert service_says(conditions(Ready={"status": "False"}, Stopped={"status": "True"})).state == "Stopped"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["conditions", "modelStatus", "type", "status", "copies", "states", "spec", "template"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_whatever_stands_there_is_read_and_never_available(status: Any, deployment: Any) -> None:
    counts = deployment if isinstance(deployment, dict) else None
    assert rollout_of(status, counts, revision=REVISION).state != "Available"
