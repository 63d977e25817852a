"""What a version says of itself when others stand against it: gates, phase, claim and refusals, from its facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import worlds
from gatehouse.domain.admission.contest import VersionStanding, endpoints_of, standing_of
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import Decision, decide
from gatehouse.domain.version.status import version_status
from policies import approval, policy

ROW = worlds.row()


def rival(**changes: Any) -> VersionStanding:
    values: dict[str, Any] = {
        "registry": "gatehouse-system/local",
        "version": "team/granite-2",
        "uid": "v-2",
        "uri": worlds.URI,
        "digest": worlds.DIGEST,
        "phase": "Ready to Deploy",
        "cleared_for": ("staging",),
        "policies": (),
        "shut": "",
        "claimed_at": "2026-12-01T00:00:00Z",
        "verified": True,
        "judged_at": "2026-11-21T11:00:00Z",
    }
    return VersionStanding(**(values | changes))


def decided(*rivals: VersionStanding, **changes: Any) -> Decision:
    return decide(worlds.facts(**{"row": ROW, "rivals": rivals, **changes}))


def test_a_rival_that_is_not_refused_changes_nothing() -> None:
    assert decided(rival()).cleared_for == ("staging", "production")
    assert [gate.name for gate in decided(rival()).gates] == [gate.name for gate in decided().gates]


def test_a_refused_rival_shuts_a_gate_that_names_it_and_the_version_waits() -> None:
    decision = decided(rival(refusals=(("staging", "Rejected"),), phase="Rejected"))

    assert (decision.phase, decision.cleared_for) == ("Waiting", ())
    assert decision.first_shut is not None
    assert (decision.first_shut.name, decision.first_shut.finding.reason) == ("Uncontested", "Rejected")
    assert decision.first_shut.finding.found.startswith("team/granite-2 is Rejected")
    assert "gatehouse explain granite-2 -n team" in decision.first_shut.finding.remedy
    template = next(gate for gate in decision.gates if gate.name == "TemplateEmitted")
    assert not template.open


def test_a_rival_that_is_refused_for_a_later_stage_shuts_that_alone() -> None:
    decision = decided(rival(refusals=(("production", "Rejected"),)))

    assert (decision.phase, decision.cleared_for) == ("Ready to Deploy", ("staging",))
    assert [(gate.stage, gate.open) for gate in decision.gates if gate.name == "Uncontested"] == [("production", False)]


def test_a_version_of_an_uri_of_another_namespace_waits_and_says_whose_it_is() -> None:
    decision = decided(rival(version="owner/granite", claimed_at="2026-01-01T00:00:00Z"))

    assert (decision.phase, decision.cleared_for) == ("Waiting", ())
    assert decision.first_shut is not None
    assert decision.first_shut.finding.reason == "UriBelongsToAnother"
    assert "namespace owner" in decision.first_shut.finding.found


def test_a_version_in_a_bucket_with_two_endpoints_waits() -> None:
    other = worlds.registry(objectStores=[{"uriPrefix": "s3://models/", "endpoint": "http://elsewhere:9000"}])
    decision = decided(endpoints=endpoints_of([worlds.registry(), other]))

    assert (decision.phase, decision.cleared_for) == ("Waiting", ())
    assert decision.first_shut is not None
    assert decision.first_shut.finding.reason == "BucketHasTwoEndpoints"
    assert "http://elsewhere:9000" in decision.first_shut.finding.found


def test_what_was_said_of_the_version_itself_comes_first() -> None:
    decision = decided(
        rival(refusals=(("staging", "Rejected"),), phase="Rejected"),
        approvals=(approval(decision="Rejected"),),
    )

    assert decision.phase == "Rejected"
    assert decision.first_shut is not None
    assert decision.first_shut.name == "Approved"


# The claim


def claim(*rivals: VersionStanding, **changes: Any) -> str | None:
    return decided(*rivals, **changes).claimed_at


def created(at: str, **status: Any) -> Any:
    return worlds.version(metadata={"creationTimestamp": at}, status=status)


def test_a_claim_is_as_old_as_the_object_and_what_its_namespace_had_before() -> None:
    version = created("2026-05-05T05:05:05Z")

    assert claim(version=version) == "2026-05-05T05:05:05Z"
    assert claim(rival(claimed_at="2026-01-01T00:00:00Z"), version=version) == "2026-01-01T00:00:00Z"
    assert claim(rival(version="other/v", claimed_at="2026-01-01T00:00:00Z"), version=version) == "2026-05-05T05:05:05Z"
    assert claim(rival(uri=f"{worlds.URI}a/", claimed_at="2026-01-01T00:00:00Z"), version=version) != "2026-01-01"
    kept = created("2026-05-05T05:05:05Z", claimedAt="2026-01-01T00:00:00Z", phase="Waiting")
    assert claim(version=kept) == "2026-01-01T00:00:00Z"


def test_who_waited_for_a_registry_claims_only_from_when_it_was_let_in() -> None:
    waited = created("2026-01-01T00:00:00Z", phase="Waiting")

    assert claim(version=waited) == "2026-11-21T12:00:00Z"
    registered = created("2026-01-01T00:00:00Z", phase="Waiting", registry="gatehouse-system/local", registryId="7")
    assert claim(version=registered) == "2026-01-01T00:00:00Z"


def test_what_is_not_registered_claims_nothing() -> None:
    assert claim(row=worlds.row(object_name="other"), holder_exists=True) is None


# What counts for others


@pytest.mark.parametrize(
    ("changes", "refusals"),
    [
        ({}, ()),
        ({"artifact": worlds.record(digest=worlds.OTHER_DIGEST)}, (("", "ArtifactChanged"),)),
        ({"artifact": worlds.record(outcome="Invalid", digest=None)}, (("", "ArtifactInvalid"),)),
        ({"artifact": worlds.record(outcome="Missing", digest=None, summary=None)}, (("", "ArtifactMissing"),)),
        ({"artifact": worlds.record(outcome="Missing", digest=None, summary=None), "row": None}, ()),
        ({"artifact": None}, ()),
        ({"version": worlds.version(serving={"extraArgs": ["--model=evil/other"]})}, ()),
        ({"version": worlds.version(serving={"maxModelLen": 131072})}, ()),
        ({"approvals": (approval(decision="Rejected"),)}, (("staging", "Rejected"),)),
        ({"approvals": (approval(decision="ChangesRequested"),)}, (("staging", "ChangesRequested"),)),
        (
            {"approvals": (approval(decision="Rejected"),), "version": worlds.version(state="Archived")},
            (),
        ),
        (
            {"policies": (policy(expressions=[{"name": "no", "expression": "false", "message": "no"}]),)},
            (("staging", "PolicyDenied"), ("production", "PolicyDenied")),
        ),
    ],
)
def test_which_standings_are_refusals(changes: dict[str, Any], refusals: tuple[tuple[str, str], ...]) -> None:
    assert decided(**changes).refusals == refusals


# Looking at once


SEEN = worlds.record(verified_at=worlds.NOW - timedelta(minutes=1))


@pytest.mark.parametrize(
    ("found", "at_once"),
    [
        (rival(), False),
        (rival(held=True, verified=False, judged_at="2026-11-21T11:59:30Z"), True),
        (rival(held=True, verified=False, judged_at="2026-11-21T11:58:58Z"), False),
        (rival(digest=worlds.OTHER_DIGEST, judged_at="2026-11-21T11:59:30Z"), True),
        (rival(digest=worlds.OTHER_DIGEST, judged_at="2026-11-21T11:59:30Z", version="stranger/v"), True),
        (rival(held=True, verified=False, judged_at="2026-11-21T11:59:30Z", uri=f"{worlds.URI}inside/"), True),
        (rival(held=True, verified=False, judged_at="2026-11-21T11:59:30Z", uri="s3://models/other/"), False),
    ],
)
def test_a_version_looks_at_once_when_another_saw_other_bytes(found: VersionStanding, at_once: bool) -> None:
    decision = decided(found, artifact=SEEN)

    assert decision.check_due is not None
    assert (decision.check_due <= worlds.NOW) == at_once


# The status


def written(facts: Facts) -> dict[str, Any]:
    status = version_status(facts, decide(facts), registry_id=7, template=None, now=facts.now)
    body = facts.version.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**body, "status": status.wire()}


def test_the_status_says_all_that_a_standing_needs() -> None:
    facts = worlds.facts(row=ROW, approvals=(approval(decision="Rejected"),), served_in=(("staging", "chatbots"),))
    standing = standing_of(written(facts))

    assert standing is not None
    assert standing.refusals == (("staging", "Rejected"),)
    assert (standing.verified, standing.held, standing.digest) == (True, False, worlds.DIGEST)
    assert standing.claimed_at == "2026-11-21T12:00:00Z"
    assert standing.cleared_for == ()
    changed = standing_of(written(replace(facts, artifact=worlds.record(digest=worlds.OTHER_DIGEST))))
    assert changed is not None
    assert (changed.verified, changed.held, changed.digest) == (False, True, worlds.DIGEST)


def test_a_namespace_is_remembered_only_if_its_service_was_seen_while_the_version_was_cleared() -> None:
    cleared = worlds.facts(row=ROW, served_in=(("staging", "chatbots"), ("qa", "elsewhere")))
    first = written(cleared)
    assert first["status"]["admittedTo"] == [{"stage": "staging", "namespace": "chatbots"}]

    known = worlds.version(status=first["status"])
    revoked = replace(
        cleared,
        version=known,
        approvals=(approval(decision="Rejected"),),
        served_in=(("staging", "chatbots"), ("staging", "newcomer")),
    )
    assert written(revoked)["status"]["admittedTo"] == [{"stage": "staging", "namespace": "chatbots"}]
    assert written(replace(revoked, served_in=None))["status"]["admittedTo"] == first["status"]["admittedTo"]
    gone = written(replace(revoked, served_in=()))["status"]
    assert gone["admittedTo"] == []
    back = replace(revoked, version=worlds.version(status=gone))
    assert written(back)["status"]["admittedTo"] == []


@pytest.mark.parametrize("member", ["type", "status", "reason", "lastTransitionTime"])
def test_of_conditions_that_do_not_read_nothing_follows(member: str) -> None:
    """The API server takes [] where the schema wants a time; the operator reads no condition then."""
    body = written(worlds.facts(row=ROW))
    cleared = standing_of(body)
    assert cleared is not None
    assert cleared.cleared_for == ("staging", "production")

    for at in range(len(body["status"]["conditions"])):
        broken = [dict(each) for each in body["status"]["conditions"]]
        broken[at][member] = []
        standing = standing_of({**body, "status": {**body["status"], "conditions": broken}})
        assert standing is None or (standing.cleared_for, standing.verified) == ((), False)
