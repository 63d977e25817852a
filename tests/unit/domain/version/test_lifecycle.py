from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from gatehouse.domain.artifact.values import CheckProgress
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY, decide
from policies import policy


def gone(reason: str) -> Unmet:
    return Unmet(finding=Finding(reason=reason, found="no model", expected="a model", remedy="apply it"))


GONE = gone("ModelNotFound")
PROGRESS = CheckProgress(files_done=1, files=2, bytes_done=10, bytes=20)
PROBLEM = Finding(reason="HeaderTooLarge", found="x", expected="y", remedy="z")
INVALID = worlds.record(outcome="Invalid", digest=None, problems=(PROBLEM,))
MISSING = worlds.record(outcome="Missing", digest=None, summary=None)
UNVERIFIED = worlds.record(outcome="Unverified", digest=None)
OTHER_FORMAT = worlds.version(artifact={"uri": worlds.URI, "format": "other"})


def naming(*formats: str, mode: str = "Enforce") -> CompiledPolicy:
    """A policy that allows these formats."""
    return policy("-".join(formats) or "silent", mode=mode, artifact={"formats": list(formats)})


CASES: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("everything holds", {}, "Ready to Deploy", None),
    ("archived", {"version": worlds.version(state="Archived")}, "Archived", None),
    ("its model is archived", {"model": worlds.model(state="Archived")}, "Archived", None),
    ("deprecated", {"version": worlds.version(state="Deprecated")}, "Deprecated", None),
    ("draft", {"version": worlds.version(state="Draft"), "artifact": None}, "Draft", "NotVerified"),
    ("no model", {"model": GONE, "registry": GONE, "artifact": None}, "Waiting", "ModelNotFound"),
    ("no registry", {"registry": gone("RegistryNotFound")}, "Waiting", "RegistryNotFound"),
    ("no profile", {"profile": gone("ProfileNotFound")}, "Waiting", "ProfileNotFound"),
    ("nothing at the URI", {"artifact": MISSING}, "Artifact Missing", "ArtifactMissing"),
    ("broken files", {"artifact": INVALID}, "Artifact Invalid", "ArtifactInvalid"),
    (
        "other bytes than the row says",
        {"row": worlds.row(digest=worlds.OTHER_DIGEST)},
        "Artifact Changed",
        "ArtifactChanged",
    ),
    (
        "other bytes than declared",
        {"version": worlds.version(artifact={"uri": worlds.URI, "digest": worlds.OTHER_DIGEST})},
        "Artifact Changed",
        "ArtifactChanged",
    ),
    (
        "other files, and a manifest beside them that is not theirs",
        {
            "artifact": replace(INVALID, digest=worlds.DIGEST),
            "row": worlds.row(digest=worlds.OTHER_DIGEST),
        },
        "Artifact Changed",
        "ArtifactChanged",
    ),
    (
        "a manifest beside the files that is not theirs",
        {"artifact": replace(INVALID, digest=worlds.DIGEST), "row": worlds.row(digest=worlds.DIGEST)},
        "Artifact Invalid",
        "ArtifactInvalid",
    ),
    ("a format that nothing checks", {"version": OTHER_FORMAT}, "Artifact Invalid", "ArtifactInvalid"),
    (
        "a format that nothing checks, and a policy that only reports",
        {"version": OTHER_FORMAT, "policies": (naming("other", mode="Audit"),)},
        "Artifact Invalid",
        "ArtifactInvalid",
    ),
    (
        "a format that nothing checks, and a policy that does not name it",
        {"version": OTHER_FORMAT, "policies": (naming(), naming("gguf"))},
        "Artifact Invalid",
        "ArtifactInvalid",
    ),
    (
        "a format that nothing checks, which one policy names and another does not",
        {"version": OTHER_FORMAT, "policies": (naming("other"), naming("gguf"))},
        "Policy Denied",
        "FormatNotAllowed",
    ),
    (
        "a format that nothing checks, which a policy names",
        {"version": OTHER_FORMAT, "policies": (naming("other", "gguf"),)},
        "Ready to Deploy",
        None,
    ),
    ("nothing looked at", {"artifact": None}, "Verifying", "NotVerified"),
    ("content under way", {"artifact": PROGRESS}, "Verifying", "Verifying"),
    ("content not to be read", {"artifact": UNVERIFIED}, "Verifying", "ContentNotVerified"),
    ("too long", {"version": worlds.version(serving={"maxModelLen": 131072})}, "Does Not Fit", "ContextTooLong"),
    ("too small", {"profile": worlds.profile(memory="4Gi")}, "Does Not Fit", "WeightsTooLarge"),
    (
        "an argument that undoes the vetting",
        {"version": worlds.version(serving={"extraArgs": ["--model=evil/other"]})},
        "Policy Denied",
        "ReservedArgument",
    ),
    (
        "the version's name is held by another object",
        {"row": worlds.row(object_name="granite-other"), "holder_exists": True},
        "Waiting",
        "VersionConflict",
    ),
    ("the name stood for other files", {"row": worlds.row(uri="s3://models/old/")}, "Waiting", "VersionReused"),
]


@pytest.mark.parametrize(("changes", "phase", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_first_match_wins(changes: dict[str, Any], phase: str, reason: str | None) -> None:
    decision = decide(worlds.facts(**changes))

    assert decision.phase == phase
    if reason is not None:
        assert decision.first_shut is not None
        assert decision.first_shut.finding.reason == reason


def test_a_ready_version_is_cleared_for_every_stage_and_gets_a_row() -> None:
    decision = decide(worlds.facts())

    assert decision.cleared_for == ("staging", "production")
    assert decision.record is not None
    assert decision.record.digest == worlds.DIGEST
    assert decision.change is not None
    assert (decision.change.before, decision.change.after) == (None, READY_TO_DEPLOY)


def test_an_open_template_gate_says_what_kserves_initializer_cannot_do() -> None:
    def found(**store: Any) -> str:
        registry = worlds.registry(objectStores=[{"uriPrefix": "s3://models/", **store}])
        decision = decide(worlds.facts(registry=registry))
        gate = next(gate for gate in decision.gates if gate.name == "TemplateEmitted")
        assert gate.open
        return gate.finding.found

    assert found(region="eu-west-1", addressing="VirtualHost") == "the serving template is in place"
    assert found(region="nowhere") == "the serving template is in place"
    assert "S3_USER_VIRTUAL_BUCKET=true" in found(endpoint="https://oss.example.com", addressing="VirtualHost")
    assert "Pods of these models do not start" in found(region="eu-west-1", requesterPays=True)


def test_a_fit_that_is_unknown_neither_opens_nor_shuts_its_gate() -> None:
    unknown = worlds.summary(config=replace(worlds.config(), architecture="NobodyKnowsForCausalLM"))
    decision = decide(worlds.facts(artifact=worlds.record(summary=unknown)))
    gate = next(gate for gate in decision.gates if gate.name == "HardwareFits")
    assert (gate.open, gate.unknown, gate.shut, gate.status) == (False, True, False, "Unknown")
    assert (decision.phase, decision.first_shut) == ("Ready to Deploy", None)
    assert "limit is 131,072" in gate.message


def test_the_fit_is_of_the_release_that_the_registry_names() -> None:
    turing = worlds.profile(computeCapability="7.5")
    old = decide(worlds.facts(profile=turing, registry=worlds.registry(serving={"vllmImage": "vllm:v0.11.0"})))
    new = decide(worlds.facts(profile=turing))
    assert (old.phase, old.fit and old.fit.finding.reason) == ("Does Not Fit", "Fp8NotSupported")
    assert new.fit is not None
    assert new.fit.verdict == "Fits"


def test_a_converged_version_changes_nothing() -> None:
    known = worlds.row(artifact=worlds.record())
    decision = decide(worlds.facts(row=known, artifact=known.artifact))

    assert decision.record == known
    assert decision.change is None


def test_the_row_of_an_object_that_is_gone_is_taken_over_when_it_stands_for_the_same_files() -> None:
    decision = decide(worlds.facts(row=worlds.row(object_name="old", uid="old"), holder_exists=False))

    assert decision.phase == READY_TO_DEPLOY
    assert decision.record is not None
    assert (decision.record.id, decision.record.object_name) == (7, "granite-1")


def test_changed_bytes_leave_the_recorded_digest_in_the_row() -> None:
    found = worlds.record(digest=worlds.OTHER_DIGEST)
    decision = decide(worlds.facts(row=worlds.row(), artifact=found))

    assert decision.phase == "Artifact Changed"
    assert decision.record is not None
    assert decision.record.digest == worlds.DIGEST
    assert decision.record.artifact == found


def test_nothing_is_recorded_in_a_row_that_belongs_to_another_object() -> None:
    assert decide(worlds.facts(row=worlds.row(object_name="other"), holder_exists=True)).record is None


@pytest.mark.parametrize(
    ("found", "least", "most"),
    [
        (worlds.record(), 54, 66),
        (MISSING, 0.5, 0.5),
        (replace(MISSING, missing_since=MISSING.verified_at), 2 / 60, 2 / 60),
        (INVALID, 1, 1),
        (worlds.record(digest=worlds.OTHER_DIGEST), 1, 1),
    ],
    ids=["verified", "missing", "missing since now", "invalid", "changed"],
)
def test_when_to_look_again(found: Any, least: float, most: float) -> None:
    decision = decide(worlds.facts(artifact=found, row=worlds.row()))

    assert decision.check_due is not None
    after = decision.check_due - found.verified_at
    assert timedelta(minutes=least) <= after <= timedelta(minutes=most)


def test_what_is_missing_is_looked_for_after_two_seconds_four_and_so_on_up_to_thirty() -> None:
    """The times of the row are all that it takes, so that a restart moves nothing."""
    at, waits = worlds.NOW, []
    for _ in range(7):
        found = replace(MISSING, missing_since=worlds.NOW, verified_at=at)
        due = decide(worlds.facts(now=at, artifact=found, row=worlds.row(digest=None))).check_due
        assert due is not None
        waits.append((due - at).total_seconds())
        at = due
    assert waits == [2, 4, 8, 16, 30, 30, 30]
    backwards = replace(MISSING, missing_since=worlds.NOW + timedelta(hours=1))
    due = decide(worlds.facts(artifact=backwards, row=worlds.row(digest=None))).check_due
    assert due == backwards.verified_at + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("found", "seconds"), [(MISSING, 30), (INVALID, 60), (worlds.record(digest=worlds.OTHER_DIGEST), 60)]
)
def test_a_gate_that_a_check_opens_says_when_the_next_one_is_and_how_to_have_it_now(found: Any, seconds: int) -> None:
    shut = decide(worlds.facts(artifact=found, row=worlds.row())).first_shut
    assert shut is not None
    assert f"checks again within {seconds} s" in shut.message
    assert "kubectl annotate modelversion granite-1 -n team --overwrite gatehouse.dev/reconcile-requested-at=" in (
        shut.message
    )
    # Nothing of it changes from check to check, and so no status is written.
    later = replace(found, verified_at=found.verified_at + timedelta(seconds=30))
    again = decide(worlds.facts(artifact=later, row=worlds.row(), now=worlds.NOW + timedelta(seconds=30))).first_shut
    assert again == shut


def test_no_artifact_is_wanted_of_what_the_registry_does_not_allow() -> None:
    assert not worlds.facts(registry=gone("NamespaceNotAllowed")).wants_artifact
    assert not worlds.facts(version=worlds.version(state="Draft")).wants_artifact
    assert worlds.facts().wants_artifact


any_facts = st.builds(
    worlds.facts,
    version=st.sampled_from(
        [
            worlds.version(),
            worlds.version(state="Draft"),
            worlds.version(state="Archived"),
            worlds.version(state="Deprecated"),
            worlds.version(serving={"maxModelLen": 131072}),
            worlds.version(serving={"extraArgs": ["--trust-remote-code"]}),
            worlds.version(artifact={"uri": worlds.URI, "digest": worlds.OTHER_DIGEST}),
        ]
    ),
    model=st.sampled_from([worlds.model(), worlds.model(state="Archived"), GONE]),
    registry=st.sampled_from([worlds.registry(), GONE]),
    profile=st.sampled_from([worlds.profile(), worlds.profile(memory="4Gi"), GONE]),
    row=st.sampled_from([None, worlds.row(), worlds.row(object_name="other"), worlds.row(digest=worlds.OTHER_DIGEST)]),
    holder_exists=st.booleans(),
    artifact=st.sampled_from([None, PROGRESS, worlds.record(), INVALID, MISSING, UNVERIFIED]),
)


@settings(max_examples=500, deadline=None)
@given(any_facts)
def test_decide_is_total_pure_and_fails_closed(known: Facts) -> None:
    decision = decide(known)

    assert decision == decide(known)
    assert decision.ready == (all(gate.open for gate in decision.gates) and known.version.spec.state == "Submitted")
    assert bool(decision.cleared_for) == decision.ready
    for gate in decision.gates:
        assert gate.rule
        assert gate.finding.found
        assert gate.finding.expected
        if not gate.open and gate.attention == "Person":
            assert gate.finding.remedy, gate
        assert not (gate.open and gate.waiting)
    if known.version.spec.state == "Submitted" and not decision.ready:
        assert (
            any(not gate.open and not gate.waiting for gate in decision.gates)
            or isinstance(known.model, Unmet)
            or known.model.spec.state == "Archived"
        ), "every gate waits for another"
    if decision.ready:
        assert decision.record is not None
        assert decision.record.digest == worlds.DIGEST
    if decision.record is not None and known.row is not None and known.row.digest is not None:
        assert decision.record.digest == known.row.digest


@settings(max_examples=200, deadline=None)
@given(any_facts)
def test_deciding_again_on_what_was_recorded_changes_nothing(known: Facts) -> None:
    first = decide(known)
    if first.record is None:
        return
    again = decide(replace(known, row=replace(first.record, id=7, model_id=3)))

    assert again.phase == first.phase
    assert again.change is None
