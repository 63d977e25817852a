"""Who chose what runs: the name that admission bound to the caller, or nobody."""

from __future__ import annotations

import pytest

from gatehouse.api.model_deployment import ANNOTATION_DEPLOYED_BY, ANNOTATION_ROLLBACK_BY, ModelDeployment
from gatehouse.domain.audit.records import UNKNOWN_ACTOR
from gatehouse.domain.deployment.actors import deployer, requester
from unit.domain.deployment.deployments import deployment


def by(**names: str) -> ModelDeployment:
    keys = {"deployed": ANNOTATION_DEPLOYED_BY, "asked": ANNOTATION_ROLLBACK_BY}
    return deployment(metadata={"annotations": {keys[key]: name for key, name in names.items()}})


def test_each_name_is_of_its_own_annotation() -> None:
    found = by(deployed="dora", asked="otto")
    assert (deployer(found), requester(found)) == ("dora", "otto")


def test_without_a_name_nobody_is_known() -> None:
    assert (deployer(by(asked="otto")), requester(by(deployed="dora"))) == (UNKNOWN_ACTOR, UNKNOWN_ACTOR)


@pytest.mark.parametrize(
    ("written", "actor"),
    [
        ("", UNKNOWN_ACTOR),
        ("  ", UNKNOWN_ACTOR),
        ("do\nra", UNKNOWN_ACTOR),
        ("do\x1b[2Jra", UNKNOWN_ACTOR),
        ("system:serviceaccount:argocd:argocd-application-controller",) * 2,
        ("x" * 300, "x" * 253),
    ],
)
def test_a_name_is_one_that_a_status_holds_and_a_terminal_shows(written: str, actor: str) -> None:
    assert deployer(by(deployed=written)) == actor
