"""When a model or version counts as registered, judged from statuses as the operator writes them."""

from __future__ import annotations

from typing import Any

import pytest

import worlds
from gatehouse.actions.readiness import artifact_standing, model_standing, version_standing
from gatehouse.actions.seed import SeededVersion
from gatehouse.api import ModelVersion, RegisteredModel
from gatehouse.api.model_version import Progress


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
        (model(), "Pending", "the operator has not reconciled it yet"),
        (model(condition("Ready", "True", "Registered", generation=1), observed=1), "Pending", "has not reconciled"),
        (
            model(condition("Ready", "False", "X", "x"), OUTAGE, observed=None, row=None),
            "Pending",
            "check the database",
        ),
        (model(condition("Ready", "False", "No", "no"), condition("Stalled", "True", "No", "no")), "Failed", "No: no"),
        (model(condition("Stalled", "True", "No", generation=1), observed=1), "Pending", "has not reconciled"),
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


UNREACHED = condition("Reconciling", "True", "ProgressingWithRetry", "StoreUnavailable: bucket models: no connection")
HASHING = {"filesDone": 2, "files": 5, "bytesDone": 3, "bytes": 9}


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (version("Verifying", UNREACHED), "Pending", "no connection; check the object store"),
        (version("Verifying", condition("Ready", "False", "NotVerified", "not yet")), "Pending", "not yet"),
        (version("Verifying"), "Pending", "the operator has not reconciled it yet"),
        (version("Artifact Missing", MISSING), "Done", ""),
        (version("Artifact Invalid", INVALID), "Done", ""),
        (version("Ready to Deploy", READY, OUTAGE), "Done", ""),
    ],
)
def test_whether_the_files_were_looked_at(found: ModelVersion, state: str, words: str) -> None:
    standing = artifact_standing(found)
    assert standing.state == state
    assert words in str(standing)


def test_files_that_are_being_hashed_were_looked_at() -> None:
    found = version("Verifying", UNREACHED)
    hashing = found.model_copy(
        update={"status": found.status.model_copy(update={"verification": Progress.model_validate(HASHING)})}
    )
    assert artifact_standing(hashing).state == "Done"
    none = Progress.model_validate({**HASHING, "filesDone": 0, "files": 0})
    listing = found.model_copy(update={"status": found.status.model_copy(update={"verification": none})})
    assert artifact_standing(listing).state == "Pending"


@pytest.mark.parametrize(
    ("phase", "looked_at", "hashing", "words"),
    [
        ("Artifact Missing", True, "", "nothing at s3://models/m/\n  upload it: gatehouse upload DIR s3://models/m/"),
        ("Verifying", False, "", "the store has not answered yet, so the content of s3://models/m/ is unknown"),
        ("Verifying", True, "2 of 5 files are hashed", "2 of 5 files are hashed; no action is needed"),
        ("Artifact Invalid", True, "", "half a file"),
    ],
)
def test_what_is_to_be_done_is_said_of_each_version(phase: str, looked_at: bool, hashing: str, words: str) -> None:
    seeded = SeededVersion(
        namespace="team",
        name="m-1",
        model="m",
        version="1",
        phase=phase,
        ready=False,
        message="half a file",
        uri="s3://models/m/",
        hardware="nvidia-l4",
        runtime="vLLM",
        registry="team/registry",
        registry_id="1",
        looked_at=looked_at,
        hashing=hashing,
    )
    assert seeded.advice.startswith(words)
    assert ("gatehouse explain m-1 -n team" in seeded.advice) == (phase == "Verifying")
