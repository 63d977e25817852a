"""In an outage of the store, Ready has the store's reason only if nothing else keeps the version from Ready."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
import worlds
from gatehouse.domain.artifact.values import CheckProgress
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, find
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.lifecycle import DECLARED_PHASES, decide
from gatehouse.domain.version.status import version_status

DOWN: Final = Transient(reason="StoreUnavailable", message="no answer")
FORBIDDEN: Final = Waiting(reason="SecretForbidden", message="no", after=timedelta(seconds=30))
NO_BUCKET: Final = Stalled(reason="BucketNotFound", message="no bucket")
NO_PROFILE: Final = Unmet(finding=Finding(reason="ProfileNotFound", found="no HardwareProfile", expected="a profile"))
PROGRESS: Final = CheckProgress(files=3, files_done=1, bytes=30, bytes_done=10)
ARTIFACTS: Final = (
    None,
    PROGRESS,
    worlds.record(),
    worlds.record(digest=worlds.OTHER_DIGEST),
    worlds.record(outcome="Missing", digest=None, summary=None),
    worlds.record(outcome="Unverified", digest=None),
)
VERSIONS: Final = tuple(
    worlds.version(state=state, serving=serving)
    for state in ("Submitted", "Draft", "Deprecated")
    for serving in ({}, {"maxModelLen": 100_000_000}, {"extraArgs": ["--model=other"]})
)
APPROVAL_OWED: Final = policies.policy(approvals=[{"stage": "staging", "count": 1}])


def reason_of(facts: Facts) -> str:
    decision = decide(facts)
    ready = find(version_status(facts, decision, registry_id=7, template=None, now=facts.now).conditions, READY)
    assert ready is not None
    return ready.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifact": None}, "StoreUnavailable"),
        ({"artifact": PROGRESS}, "StoreUnavailable"),
        ({"artifact": worlds.record(outcome="Missing", digest=None, summary=None)}, "StoreUnavailable"),
        ({"profile": NO_PROFILE}, "ProfileNotFound"),
        ({"artifact": None, "profile": NO_PROFILE}, "ProfileNotFound"),
        ({"version": worlds.version(serving={"maxModelLen": 100_000_000})}, "MaxModelLenTooLong"),
        ({"policies": (APPROVAL_OWED,), "version": worlds.version(submittedBy="carol")}, "ApprovalOwed"),
        ({"artifact": None, "policies": (APPROVAL_OWED,)}, "StoreUnavailable"),
        ({"version": worlds.version(state="Deprecated")}, "Deprecated"),
    ],
    ids=[
        "never verified",
        "being verified",
        "missing before",
        "no profile",
        "never verified, and no profile",
        "does not fit",
        "owes an approval",
        "never verified, and would owe an approval",
        "deprecated",
    ],
)
def test_the_reason_of_ready_in_an_outage(changes: dict[str, Any], reason: str) -> None:
    assert reason_of(worlds.facts(**changes, store_error=DOWN)) == reason


@given(
    artifact=st.sampled_from(ARTIFACTS),
    version=st.sampled_from(VERSIONS),
    profile=st.sampled_from([worlds.profile(), NO_PROFILE]),
    row=st.sampled_from([None, worlds.row()]),
    applying=st.sampled_from([(), (APPROVAL_OWED,), (policies.policy(artifact={"formats": ["gguf"]}),)]),
    error=st.sampled_from([DOWN, FORBIDDEN, NO_BUCKET]),
)
def test_the_first_cause_besides_the_store_names_the_reason(
    error: ReconcileError, applying: Any, **changes: Any
) -> None:
    facts = worlds.facts(**changes, policies=applying, store_error=error)
    decision = decide(facts)
    first = decision.standings[0].stage
    causes = [
        gate.finding.reason
        for gate in decision.gates
        if not (gate.open or gate.unknown or gate.waiting)
        and gate.name != "ArtifactVerified"
        and gate.stage in {"", first}
    ]
    status = version_status(facts, decision, registry_id=7, template=None, now=facts.now)
    ready = find(status.conditions, READY)
    assert ready is not None
    if decision.phase in DECLARED_PHASES:
        assert (ready.status, ready.reason) == ("False", decision.phase)
    elif causes:
        assert (ready.status, ready.reason) == ("False", causes[0])
    elif decision.ready and not isinstance(error, Stalled):
        assert (ready.status, ready.reason) == ("True", "ReadyToDeploy")
    else:
        assert (ready.status, ready.reason) == ("False", error.reason)
    # The outage is reported beside Ready, whatever the reason of Ready is.
    abnormal = find(status.conditions, STALLED if isinstance(error, Stalled) else RECONCILING)
    assert abnormal is not None
    assert error.reason in f"{abnormal.reason} {abnormal.message}"
