"""Each policy that is shipped, through ``decide``: a version that meets it is cleared, and each way not to is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import worlds
from gatehouse.api import GovernancePolicy
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import decide
from policies import approval, evaluation

SHIPPED = Path(__file__).parents[4] / "manifests" / "policies"
POLICIES = {
    each.metadata.name: each
    for each in (
        GovernancePolicy.model_validate(yaml.safe_load(path.read_text()))
        for path in sorted(SHIPPED.glob("*-risk.yaml"))
    )
}
LINEAGE = {
    "baseModel": "ibm-granite/granite",
    "trainingData": ["s3://data/train/"],
    "code": {"repository": "https://git.example.com/granite", "commit": "0123abc"},
}
BOTH = ("staging", "production")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One thing that is not as the policy wants it: which part of the policy sees that, and what is still cleared."""

    part: str
    change: Callable[[dict[str, Any]], dict[str, Any]]
    reason: str
    cleared: tuple[str, ...] = ()


def met(tier: str) -> dict[str, Any]:
    """Facts of a version that meets the policy of its tier."""
    approvals = [approval(who, stage=stage, riskTier=tier) for who in ("bob", "eve") for stage in BOTH]
    return {
        "version": worlds.version(submittedBy="carol", lineage=LINEAGE),
        "model": worlds.model(riskTier=tier, license="Apache-2.0", owners=["carol"]),
        "artifact": worlds.record(content_source="Bytes"),
        "evaluations": tuple(evaluation(f"e-{kind}".lower(), kind=kind) for kind in KINDS),
        "approvals": tuple(approvals),
    }


KINDS = ("Task", "Bias", "Safety", "Robustness")


def version(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    spec = {"submittedBy": "carol", "lineage": LINEAGE, **changes}
    return lambda _: {"version": worlds.version(**spec)}


def model(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(facts: dict[str, Any]) -> dict[str, Any]:
        before = facts["model"]
        return {"model": before.model_copy(update={"spec": before.spec.model_copy(update=changes)})}

    return changed


def artifact(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda facts: {"artifact": replace(facts["artifact"], **changes)}


def without(kind: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda facts: {"evaluations": tuple(each for each in facts["evaluations"] if each.spec.kind != kind)}


def approved(*people: str, stage: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Only these people approved the stage."""
    return lambda facts: {
        "approvals": tuple(
            each for each in facts["approvals"] if each.spec.stage != stage or each.spec.approver in people
        )
    }


REMOTE_CODE = artifact(summary=worlds.summary(config=replace(worlds.config(), auto_map=True)))
OTHER_FORMAT = version(artifact={"uri": worlds.URI, "format": "other"})
WAYS: Mapping[str, tuple[Way, ...]] = {
    "low-risk": (
        Way(part="artifact.formats", change=OTHER_FORMAT, reason="ArtifactInvalid"),
        Way(part="artifact.remoteCode", change=REMOTE_CODE, reason="RemoteCode"),
    ),
    "medium-risk": (
        Way(part="artifact.formats", change=OTHER_FORMAT, reason="ArtifactInvalid"),
        Way(part="artifact.remoteCode", change=REMOTE_CODE, reason="RemoteCode"),
        Way(part="licenses", change=model(license="proprietary"), reason="LicenseNotAllowed"),
        Way(part="licenses", change=model(license=None), reason="LicenseNotAllowed"),
        Way(part="lineage.baseModel", change=version(lineage={}), reason="LineageMissing"),
        Way(
            part="approvals.production",
            change=approved(stage="production"),
            reason="ApprovalOwed",
            cleared=("staging",),
        ),
    ),
    "high-risk": (
        Way(
            part="artifact.formats",
            change=version(artifact={"uri": worlds.URI, "format": "gguf"}),
            reason="FormatNotAllowed",
        ),
        Way(part="artifact.remoteCode", change=REMOTE_CODE, reason="RemoteCode"),
        Way(
            part="artifact.verification",
            change=artifact(content_source="StoreChecksum"),
            reason="ContentNotRead",
        ),
        Way(
            part="hardware.unknownFit",
            change=artifact(summary=worlds.summary(weights_bytes=None, config=None)),
            reason="FitUnknown",
        ),
        Way(part="licenses", change=model(license="proprietary"), reason="LicenseNotAllowed"),
        *(
            Way(part=f"lineage.{name}", change=version(lineage=left), reason="LineageMissing")
            for name, left in {
                "baseModel": {**LINEAGE, "baseModel": None},
                "trainingData": {**LINEAGE, "trainingData": []},
                "code.repository": {**LINEAGE, "code": {"commit": "0123abc"}},
                "code.commit": {**LINEAGE, "code": {"repository": "https://git.example.com/granite"}},
            }.items()
        ),
        Way(part="rules.evaluated-for-its-task", change=without("Task"), reason="RuleNotMet"),
        *(
            Way(
                part="rules.evaluated-for-bias-safety-robustness",
                change=without(kind),
                reason="RuleNotMet",
                cleared=("staging",),
            )
            for kind in KINDS
            if kind != "Task"
        ),
        Way(part="rules.has-owners", change=model(owners=[]), reason="RuleNotMet"),
        Way(part="approvals.staging", change=approved(stage="staging"), reason="ApprovalOwed"),
        *(
            Way(
                part="approvals.production",
                change=approved(*people, stage="production"),
                reason="ApprovalOwed",
                cleared=("staging",),
            )
            for people in ((), ("bob",))
        ),
    ),
}
CASES = [
    pytest.param(name, way, id=f"{name}-{way.part}-{n}") for name, ways in WAYS.items() for n, way in enumerate(ways)
]


def facts_of(name: str, changes: dict[str, Any]) -> Facts:
    policy = POLICIES[name]
    return worlds.facts(policies=(CompiledPolicy(policy),), policy_names=frozenset({name}), **changes)


def tier_of(name: str) -> str:
    (tier,) = POLICIES[name].spec.match.risk_tiers
    return tier


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_shipped_policy_wants_can_be_met(name: str) -> None:
    found = decide(facts_of(name, met(tier_of(name))))

    assert (found.phase, found.message) == ("Ready to Deploy", "every gate is open for staging, production")
    assert found.outcomes == {name: "Complies"}


@pytest.mark.parametrize(("name", "way"), CASES)
def test_what_it_wants_is_wanted(name: str, way: Way) -> None:
    facts = met(tier_of(name))
    found = decide(facts_of(name, facts | way.change(facts)))

    assert found.cleared_for == way.cleared
    assert way.reason in {gate.finding.reason for gate in found.gates if not gate.open}


def parts_of(policy: GovernancePolicy) -> Iterator[str]:
    """Whatever a policy asks for, by the names that the ways use."""
    spec = policy.spec.model_dump(by_alias=True, exclude_defaults=True)
    yield from (f"artifact.{name}" for name in spec.get("artifact", {}))
    yield from (f"hardware.{name}" for name in spec.get("hardware", {}))
    yield from (name for name in ("licenses",) if name in spec)
    yield from (f"lineage.{name}" for name in spec.get("lineage", {}).get("required", ()))
    yield from (f"{part}.{each['name']}" for part in ("rules", "evaluations") for each in spec.get(part, ()))
    yield from (f"approvals.{each['stage']}" for each in spec.get("approvals", ()))
    known = {"description", "match", "running", "artifact", "hardware", "licenses", "lineage", "rules", "approvals"}
    yield from (f"unknown to this test: {name}" for name in spec if name not in known | {"evaluations"})


@pytest.mark.parametrize("name", POLICIES)
def test_every_part_of_a_shipped_policy_has_a_way_that_does_not_meet_it(name: str) -> None:
    assert {way.part for way in WAYS[name]} == set(parts_of(POLICIES[name]))
