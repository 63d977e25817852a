"""The versions that wait for a review, their approvals so far, and whether the person who asks may approve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gatehouse.actions.identity import Action, Person, approving, may_each, whoami
from gatehouse.actions.objects import digest_of, listed, listed_if_allowed
from gatehouse.api.governance_policy import ApprovalRequirement, GovernancePolicy
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.api.registered_model import RegisteredModel, RiskTier
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common.conditions import timestamp
from gatehouse.domain.governance.approvals import ApprovalCount, Ballot, ballots, count_approvals
from gatehouse.domain.governance.held import shown_tier
from gatehouse.domain.governance.policy import CompiledPolicy, applying

__all__ = ["APPROVED", "Known", "WaitingVersion", "ask_queue", "reviewed_stage", "waiting", "why_not"]

APPROVED: Final = "Approved"
"""The gate that approvals open."""
_REVIEWED: Final = frozenset({"Pending Review", "Ready to Deploy"})
"""Phases in which a version may lack a decision, for the first stage or for a later one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The objects that were read. None stands for objects that the person may not read."""

    models: Mapping[tuple[str, str], RegisteredModel]
    approvals: Sequence[ModelApproval]
    policies: Sequence[CompiledPolicy] | None
    namespaces: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingVersion:
    """A version and the stage that it waits for. ``approvals`` is a text such as "1 of 2", empty when unknown.

    ``owed`` lists the shut gates before the stage. ``why_not`` is None when the person may approve.
    """

    namespace: str
    name: str
    model: str
    version: str
    stage: str
    tier: RiskTier | None
    submitted_by: str | None
    since: datetime | None
    digest: str
    approvals: str
    owed: tuple[str, ...]
    why_not: str | None

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "model": self.model,
            "version": self.version,
            "stage": self.stage,
            "riskTier": self.tier,
            "submittedBy": self.submitted_by,
            "since": timestamp(self.since) if self.since else None,
            "digest": self.digest,
            "approvals": self.approvals or None,
            "owed": list(self.owed),
            "mayApprove": self.why_not is None,
            "whyNot": self.why_not,
        }


async def ask_queue(api: ApiClient, *, namespace: str) -> tuple[WaitingVersion, ...]:
    """The versions that wait in a namespace, or in all if it is empty, the oldest first. Raises ClusterError."""
    person, versions, models, approvals, policies, namespaces = await asyncio.gather(
        whoami(api),
        listed(api, ModelVersion, namespace),
        listed(api, RegisteredModel, namespace),
        listed_if_allowed(api, ModelApproval, namespace),
        listed_if_allowed(api, GovernancePolicy),
        _labels(api, namespace),
    )
    known = Known(
        models={(each.metadata.namespace, each.metadata.name): each for each in models},
        approvals=approvals or (),
        policies=None if policies is None else tuple(map(CompiledPolicy, policies)),
        namespaces=namespaces,
    )
    found = [version for version in versions if reviewed_stage(version) is not None]
    tiers = {shown_tier(version, model) for version in found if (model := _model(known, version))}
    rights = await may_each(api, [approving(tier) for tier in sorted(tiers)])
    return tuple(sorted(waiting(found, known, person, rights), key=_oldest_first))


async def _labels(api: ApiClient, namespace: str) -> Mapping[str, Mapping[str, str]]:
    try:
        listing = await api.get("namespaces", "", namespace)
    except ApiError as error:
        if error.status in {403, 404}:
            return {}
        raise
    bodies = listing["items"] if not namespace else [listing]
    return {body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in bodies}


def reviewed_stage(version: ModelVersion) -> str | None:
    """The first stage that the version is not cleared for, if a decision for the stage is missing."""
    status = version.status
    if version.spec.state != "Submitted" or status.phase not in _REVIEWED:
        return None
    gate = next((gate for gate in _approvals(version) if gate.stage not in status.cleared_for), None)
    return gate.stage if gate is not None and gate.shut else None


def _approvals(version: ModelVersion) -> Iterator[Gate]:
    return (gate for gate in version.status.gates if gate.name == APPROVED)


def waiting(
    versions: Iterable[ModelVersion], known: Known, person: Person, rights: Mapping[Action, bool]
) -> Iterator[WaitingVersion]:
    """The versions that wait for a review, in the given order."""
    by_version: dict[str, list[ModelApproval]] = {}
    for approval in known.approvals:
        by_version.setdefault(approval.spec.version_ref.uid, []).append(approval)
    for version in versions:
        stage, digest = reviewed_stage(version), digest_of(version)
        if stage is None or digest is None:
            continue
        model = _model(known, version)
        wanted = _requirements(known, version, model, stage)
        cast = _heard(by_version.get(version.metadata.uid, ()), wanted, version, model, stage)
        current = [each for each in cast if each.counts]
        if any(each.approval.spec.decision != "Approved" for each in current):
            continue
        yield WaitingVersion(
            namespace=version.metadata.namespace,
            name=version.metadata.name,
            model=version.spec.model_ref.name,
            version=version.spec.version,
            stage=stage,
            tier=shown_tier(version, model) if model else None,
            submitted_by=version.spec.submitted_by,
            since=version.metadata.creation_timestamp,
            digest=digest,
            approvals=_progress([count_approvals(requirement, cast) for requirement in wanted]),
            owed=tuple(_owed(version, stage)),
            why_not=why_not(person, version, model, rights, current),
        )


def why_not(
    person: Person,
    version: ModelVersion,
    model: RegisteredModel | None,
    rights: Mapping[Action, bool],
    current: Sequence[Ballot],
) -> str | None:
    """Why an approval of the person would not count; None when it would."""
    if person.name in {version.spec.submitted_by, version.spec.submitted_via}:
        return "you submitted it"
    if version.spec.submitted_by is None:
        return "nobody submitted it: its author must run gatehouse submit"
    if model is None:
        return f"its model {version.spec.model_ref.name} does not exist"
    tier = shown_tier(version, model)
    if not rights.get(approving(tier), False):
        return f"you may not approve {tier} risk"
    if any(each.approver == person.name for each in current):
        return "you approved it"
    return None


def _model(known: Known, version: ModelVersion) -> RegisteredModel | None:
    return known.models.get((version.metadata.namespace, version.spec.model_ref.name))


def _requirements(
    known: Known, version: ModelVersion, model: RegisteredModel | None, stage: str
) -> Sequence[ApprovalRequirement]:
    if known.policies is None or model is None:
        return ()
    labels = known.namespaces.get(version.metadata.namespace)
    return [
        requirement
        for policy in applying(
            known.policies,
            model,
            labels,
            tier=shown_tier(version, model),
            held=[each.name for each in version.status.policies],
        )
        if policy.enforced
        for requirement in policy.policy.spec.approvals
        if requirement.stage == stage
    ]


def _heard(
    decided: Iterable[ModelApproval],
    wanted: Iterable[ApprovalRequirement],
    version: ModelVersion,
    model: RegisteredModel | None,
    stage: str,
) -> Sequence[Ballot]:
    """The decisions of people, and of those service accounts that a policy names."""
    if model is None:
        return ()
    accounts = {account for requirement in wanted for account in requirement.service_accounts}
    cast = ballots(decided, version=version, digest=digest_of(version), tier=shown_tier(version, model), stage=stage)
    return [ballot for ballot in cast if ballot.is_heard(accounts)]


def _progress(counts: Sequence[ApprovalCount]) -> str:
    """The count of the policy that lacks the most approvals."""
    if not counts:
        return ""
    least = max(counts, key=lambda count: count.wanted - len(count.approvers))
    return f"{len(least.approvers)} of {least.wanted}"


def _owed(version: ModelVersion, stage: str) -> Iterator[str]:
    for gate in version.status.gates:
        # The operator writes the template when every other gate is open: no person owes it.
        if gate.shut and gate.stage in {"", stage} and gate.name != "TemplateEmitted":
            yield f"{gate.name}: {gate.found}"


def _oldest_first(each: WaitingVersion) -> tuple[str, str, str]:
    return (timestamp(each.since) if each.since else "", each.namespace, each.name)
