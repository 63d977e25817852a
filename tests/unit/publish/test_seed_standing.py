"""When a model or version counts as registered, judged from statuses as the operator writes them."""

from __future__ import annotations

from typing import Any

import pytest

import worlds
from gatehouse.api import ModelVersion, RegisteredModel
from gatehouse.publish.standing import model_standing, version_standing


def condition(type_: str, status: str, reason: str, message: str = "", *, generation: int = 2) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }


def model(*conditions: dict[str, Any], observed: int | None = 2, row: str | None = "1") -> RegisteredModel:
    status = {"observedGeneration": observed, "registryId": row, "conditions": list(conditions)}
    body = worlds.model().model_dump(by_alias=True)
    return RegisteredModel.model_validate({**body, "metadata": {**body["metadata"], "generation": 2}, "status": status})


def version(phase: str, *conditions: dict[str, Any], observed: int | None = 2, row: str | None = "1") -> ModelVersion:
    status = {"phase": phase, "observedGeneration": observed, "registryId": row, "conditions": list(conditions)}
    return worlds.version(metadata={"generation": 2}, status=status)


READY, UP = condition("Ready", "True", "Registered"), condition("Registered", "True", "Registered")
OUTAGE = condition("Reconciling", "True", "ProgressingWithRetry", "DatabaseUnavailable: no answer of db:3306")


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (model(READY), "Done", ""),
        (model(), "Pending", "the operator has not looked at it yet"),
        (model(condition("Ready", "True", "Registered", generation=1), observed=1), "Pending", "has not looked"),
        (
            model(condition("Ready", "False", "X", "x"), OUTAGE, observed=None, row=None),
            "Pending",
            "look at the database",
        ),
        (model(condition("Ready", "False", "No", "no"), condition("Stalled", "True", "No", "no")), "Failed", "No: no"),
        (model(condition("Stalled", "True", "No", generation=1), observed=1), "Pending", "has not looked"),
        (model(READY, row=None), "Pending", "Registered"),
    ],
)
def test_a_model(found: RegisteredModel, state: str, words: str) -> None:
    standing = model_standing(found)
    assert standing.state == state
    assert words in str(standing)


MISSING = condition("Ready", "False", "ArtifactMissing", "nothing there")
INVALID = condition("Stalled", "True", "ArtifactInvalid", "half a file")
SCHEMA = condition("Stalled", "True", "SchemaTooNew", "tables of 9")
ARTIFACT = condition("ArtifactVerified", "False", "ArtifactInvalid", "half a file")


@pytest.mark.parametrize(
    ("found", "registered", "ready"),
    [
        (version("Ready to Deploy", READY, UP), "Done", "Done"),
        (version("Artifact Missing", MISSING, UP), "Done", "Pending"),
        (version("Artifact Invalid", MISSING, INVALID, ARTIFACT, UP), "Done", "Failed"),
        (version("Draft", condition("Ready", "False", "Draft"), UP), "Done", "Failed"),
        (version("Verifying", OUTAGE, observed=None, row=None), "Pending", "Pending"),
        (version("Waiting", condition("Stalled", "True", "VersionConflict"), row=None), "Failed", "Failed"),
        # What stalls apart from the gates is no finding about this generation: they are of an earlier look.
        (version("Ready to Deploy", MISSING, SCHEMA, UP), "Failed", "Failed"),
        (version("Ready to Deploy", READY, UP, observed=1), "Pending", "Pending"),
        (version("Ready to Deploy", READY, UP, OUTAGE), "Done", "Done"),
    ],
)
def test_a_version(found: ModelVersion, registered: str, ready: str) -> None:
    assert version_standing(found, goal="registered").state == registered
    assert version_standing(found, goal="ready").state == ready
