"""How a version stands before each stage: policies and approvals. Evaluated only once its bytes are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gatehouse.api.governance_policy import ApprovalRequirement
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry, protected_stages
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.governance.approvals import Ballot, ballots, count_approvals
from gatehouse.domain.governance.eligibility import submitter_finding
from gatehouse.domain.governance.evaluations import Results, expiry, judge_evaluation
from gatehouse.domain.governance.held import Held
from gatehouse.domain.governance.policy import CompiledPolicy, PolicyFinding
from gatehouse.domain.governance.rules import Case, judge
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.gates import GateState, open_gate, shut_gate

__all__ = ["APPROVED", "POLICY_COMPLIANT", "Outcome", "Standing", "next_expiry", "outcomes", "standings"]

POLICY_COMPLIANT: Final = "PolicyCompliant"
APPROVED: Final = "Approved"
POLICY_RULE: Final = "every policy that applies to the version holds"
APPROVAL_RULE: Final = "enough people other than the submitter approved these bytes with these serving settings"
NOT_JUDGED: Final = "NotJudged"
"""Why both gates are shut while the bytes are not known."""
Outcome = Literal["Complies", "Owes", "Denies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The two gates of one stage, and the facts that they were evaluated from."""

    stage: str
    policy: GateState
    approval: GateState
    findings: tuple[PolicyFinding, ...] = ()
    ballots: tuple[Ballot, ...] = ()

    @property
    def open(self) -> bool:
        """Whether both gates are open."""
        return self.policy.open and self.approval.open

    @property
    def denied(self) -> bool:
        """Whether a policy denies the version; more evaluations or approvals would not help."""
        return any(finding.enforced and finding.weight == "Denied" for finding in self.findings)

    @property
    def decided(self) -> Literal["Rejected", "ChangesRequested"] | None:
        """A current refusal, if any."""
        said = {ballot.approval.spec.decision for ballot in self.ballots if ballot.counts}
        return "Rejected" if "Rejected" in said else "ChangesRequested" if "ChangesRequested" in said else None


def standings(
    facts: Facts, fit: Fit | None, *, verified: bool, held: Held, gone: Sequence[ModelEvaluation] = ()
) -> tuple[Standing, ...]:
    """How the version stands before each stage of its registry, in order. ``held`` is what it is held to now."""
    registry, model, artifact = facts.registry, facts.model, facts.artifact
    if not isinstance(registry, ModelRegistry):
        return ()
    if not verified or not isinstance(model, RegisteredModel) or not isinstance(artifact, ArtifactRecord):
        return tuple(_not_judged(stage) for stage in registry.spec.stages)
    case = Case(
        now=facts.now,
        version=facts.version,
        model=model,
        artifact=artifact,
        digest=facts.recorded_digest or artifact.digest,
        fit=fit,
        reads_content=registry.spec.verification.content,
        rereading=facts.rereading,
        evaluations=facts.evaluations,
        gone=gone,
        held=held,
    )
    missing = tuple(_missing(name) for name in registry.spec.required_policies if name not in facts.policy_names)
    protected = protected_stages(registry.spec)
    return tuple(
        _standing(facts, case, stage, (*missing, *_unspoken(facts, stage, protected))) for stage in registry.spec.stages
    )


def _not_judged(stage: str) -> Standing:
    def gate(name: str, rule: str) -> GateState:
        return shut_gate(
            name,
            rule,
            Finding(reason=NOT_JUDGED, found="not evaluated yet", expected="a verified artifact"),
            status="Unknown",
            attention="None",
            stage=stage,
            waiting=True,
        )

    return Standing(stage=stage, policy=gate(POLICY_COMPLIANT, POLICY_RULE), approval=gate(APPROVED, APPROVAL_RULE))


def _missing(name: str) -> PolicyFinding:
    return PolicyFinding(
        policy=name,
        rule="requiredPolicies",
        weight="Denied",
        enforced=True,
        finding=Finding(
            reason="PolicyMissing",
            found=f"the registry requires GovernancePolicy {name}, which does not exist",
            expected=f"GovernancePolicy {name}",
            remedy="apply the policy, or remove it from requiredPolicies of the ModelRegistry",
        ),
    )


def _unspoken(facts: Facts, stage: str, protected: frozenset[str]) -> Iterator[PolicyFinding]:
    """The finding on a protected stage without any requirement: such a stage is not cleared."""
    if stage not in protected or any(policy.speaks_to(stage) for policy in facts.policies):
        return
    applying = ", ".join(policy.name for policy in facts.policies)
    yield PolicyFinding(
        policy="",
        rule="protectedStages",
        weight="Denied",
        enforced=True,
        finding=Finding(
            reason="StageUnguarded",
            found=f"stage {stage} is protected, and no enforced policy that applies to the version has a "
            "requirement for it" + (f" (policies that apply: {applying})" if applying else ""),
            expected=f"a GovernancePolicy in mode Enforce that applies to the version and has a rule for {stage}",
            remedy="apply the default policies (kubectl apply --server-side -k manifests/policies) or your own, or "
            f"take {stage} out of spec.protectedStages of the ModelRegistry",
        ),
    )


def _standing(facts: Facts, case: Case, stage: str, missing: tuple[PolicyFinding, ...]) -> Standing:
    findings = (*missing, *(finding for policy in facts.policies for finding in judge(policy, case, stage)))
    cast = ballots(facts.approvals, version=case.version, digest=case.digest, tier=case.held.risk_tier, stage=stage)
    required = _requirements(facts.policies, stage)
    named = {account for _, requirement in required for account in requirement.service_accounts}
    heard = tuple(ballot for ballot in cast if ballot.is_heard(named))
    return Standing(
        stage=stage,
        policy=_policy_gate(facts.policies, findings, stage),
        approval=_approval_gate(facts, heard, stage),
        findings=findings,
        ballots=heard,
    )


def _requirements(policies: Iterable[CompiledPolicy], stage: str) -> Iterator[tuple[str, ApprovalRequirement]]:
    for policy in policies:
        if policy.enforced:
            for requirement in policy.policy.spec.approvals:
                if requirement.stage == stage:
                    yield policy.name, requirement


def _policy_gate(policies: Sequence[CompiledPolicy], findings: Sequence[PolicyFinding], stage: str) -> GateState:
    shut = sorted((finding for finding in findings if finding.enforced), key=lambda finding: finding.weight != "Denied")
    if not shut:
        reported = [finding for finding in findings if not finding.enforced]
        said = f"{len(policies)} policies apply and hold" if policies else "no policy applies"
        if reported:
            audited = "; ".join(f"{finding.policy}: {finding.finding.found}" for finding in reported[:3])
            said += f"; in audit only: {audited}"
        return open_gate(
            POLICY_COMPLIANT,
            POLICY_RULE,
            Finding(reason="Compliant", found=said, expected="no objection"),
            stage=stage,
        )
    first = shut[0]
    more = f" (and {len(shut) - 1} more)" if len(shut) > 1 else ""
    return shut_gate(
        POLICY_COMPLIANT,
        f"{POLICY_RULE} ({first.policy}: {first.rule})" if first.policy else f"{POLICY_RULE} ({first.rule})",
        Finding(
            reason=first.finding.reason,
            found=f"{first.finding.found}{more}",
            expected=first.finding.expected,
            remedy=first.finding.remedy,
        ),
        attention="Person" if first.weight == "Denied" else "Time",
        stage=stage,
    )


def _approval_gate(facts: Facts, cast: Sequence[Ballot], stage: str) -> GateState:
    for decision in ("Rejected", "ChangesRequested"):
        against = [ballot for ballot in cast if ballot.counts and ballot.approval.spec.decision == decision]
        if against:
            return _refused(decision, against[0], stage)
    refusal = next((decision for decision in facts.unreadable if decision.may_refuse), None)
    if refusal is not None:
        return _unreadable_refusal(refusal, stage)
    requirements = list(_requirements(facts.policies, stage))
    if not requirements:
        return open_gate(
            APPROVED,
            APPROVAL_RULE,
            Finding(reason="NotRequired", found=f"no policy requires an approval for {stage}", expected="none"),
            stage=stage,
        )
    unknown = submitter_finding(facts.version)
    if unknown is not None:
        return shut_gate(APPROVED, APPROVAL_RULE, unknown, attention="Time", stage=stage)
    approvers: set[str] = set()
    for policy, requirement in requirements:
        count = count_approvals(requirement, cast)
        approvers.update(count.approvers)
        if not count.met:
            return _owed(facts, policy, requirement, count.approvers, count.passed_over)
    return open_gate(
        APPROVED,
        APPROVAL_RULE,
        Finding(
            reason="Approved",
            found=f"approved for {stage} by {', '.join(sorted(approvers))}",
            expected="the approvals that the policies require",
        ),
        stage=stage,
    )


def _refused(decision: str, ballot: Ballot, stage: str) -> GateState:
    spec = ballot.approval.spec
    rejected = decision == "Rejected"
    return shut_gate(
        APPROVED,
        APPROVAL_RULE,
        Finding(
            reason=decision,
            found=f"{spec.approver} {'rejected' if rejected else 'requested changes to'} the version for {stage}: "
            f"{spec.reason}",
            expected="no current decision against the version",
            remedy="a new artifact is a new version"
            if rejected
            else f"make the changes, then ask {spec.approver} to decide again",
        ),
        attention="Person",
        stage=stage,
    )


def _unreadable_refusal(decision: Unreadable, stage: str) -> GateState:
    """The gate for an unreadable decision: the decision may be a refusal."""
    return shut_gate(
        APPROVED,
        APPROVAL_RULE,
        Finding(
            reason="DecisionUnreadable",
            found=f"{decision.message}; it may be a refusal",
            expected="decisions that Gatehouse can read",
            remedy=f"the approver deletes the decision and decides again: kubectl delete modelapproval {decision.name}",
        ),
        attention="Person",
        stage=stage,
    )


def _owed(
    facts: Facts,
    policy: str,
    requirement: ApprovalRequirement,
    approvers: Sequence[str],
    passed_over: Sequence[str],
) -> GateState:
    count = f"{len(approvers)} of {requirement.count} approvals" + (f" ({', '.join(approvers)})" if approvers else "")
    if passed_over:
        count += "; not counted: " + "; ".join(passed_over[:3])
    groups = f" from {' or '.join(requirement.groups)}" if requirement.groups else ""
    return shut_gate(
        APPROVED,
        f"{APPROVAL_RULE} ({policy})",
        Finding(
            reason="ApprovalOwed",
            found=count,
            expected=f"{requirement.count} {'approval' if requirement.count == 1 else 'approvals'}{groups}",
            remedy=f"gatehouse approve {facts.version.metadata.name} --stage {requirement.stage} --reason '...'",
        ),
        attention="Time",
        stage=requirement.stage,
    )


def outcomes(policies: Sequence[CompiledPolicy], stages: Sequence[Standing]) -> Mapping[str, Outcome]:
    """The outcome of each policy for the version, by name: the worst over all stages."""
    judged = any(standing.policy.finding.reason != NOT_JUDGED for standing in stages)
    weights: dict[str, set[str]] = {policy.name: set() if judged else {"Owed"} for policy in policies}
    for standing in stages:
        for finding in standing.findings:
            if finding.policy:
                weights.setdefault(finding.policy, set()).add(finding.weight)
    return {
        name: "Denies" if "Denied" in said else "Owes" if "Owed" in said else "Complies"
        for name, said in sorted(weights.items())
    }


def next_expiry(facts: Facts, digest: str | None) -> datetime | None:
    """When the next evaluation that meets a requirement now expires for it."""
    results = Results(version=facts.version, digest=digest, now=facts.now, evaluations=facts.evaluations)
    times = []
    for policy in facts.policies:
        for requirement in policy.policy.spec.evaluations:
            verdict = judge_evaluation(requirement, results, own=policy.policy.spec.submitter_evaluations)
            until = expiry(requirement, verdict.evaluation) if verdict.met and verdict.evaluation else None
            if until is not None:
                times.append(until)
    return min(times, default=None)
