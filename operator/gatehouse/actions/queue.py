"""The versions that wait for a review, their approvals so far, and whether the person who asks may approve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gatehouse.actions.identity import Action, Authorizer, Person, review_rights, reviewer_in
from gatehouse.actions.objects import ObjectSource
from gatehouse.actions.snapshot import Snapshot, read_snapshot
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.governance.approvals import ApprovalCount, count_approvals
from gatehouse.domain.governance.eligibility import decision_finding, digest_of

__all__ = ["APPROVED", "WaitingVersion", "read_queue", "reviewed_stage", "waiting"]

APPROVED: Final = "Approved"
"""The gate that approvals open."""
_REVIEWED: Final = frozenset({"Pending Review", "Ready to Deploy"})
"""Phases in which a version may lack a decision, for the first stage or for a later one."""


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


async def read_queue(objects: ObjectSource, authorizer: Authorizer, *, namespace: str) -> tuple[WaitingVersion, ...]:
    """The versions that wait in a namespace, or in all if it is empty, the oldest first. Raises ClusterError."""
    person, snapshot = await asyncio.gather(
        authorizer.whoami(), read_snapshot(objects, namespace=namespace, without={"registries", "evaluations"})
    )
    reviewed = [version for version in snapshot.versions if reviewed_stage(version) is not None]
    tiers = {tier for version in reviewed if (tier := snapshot.tier_of(version)) is not None}
    rights = await authorizer.allowed(review_rights(tiers, {version.metadata.namespace for version in reviewed}))
    return tuple(sorted(waiting(snapshot, person, rights), key=_oldest_first))


def reviewed_stage(version: ModelVersion) -> str | None:
    """The first stage that the version is not cleared for, if a decision for the stage is missing."""
    status = version.status
    if version.spec.state != "Submitted" or status.phase not in _REVIEWED:
        return None
    gate = next((gate for gate in _approvals(version) if gate.stage not in status.cleared_for), None)
    return gate.stage if gate is not None and gate.shut else None


def _approvals(version: ModelVersion) -> Iterator[Gate]:
    return (gate for gate in version.status.gates if gate.name == APPROVED)


def waiting(snapshot: Snapshot, person: Person, rights: Mapping[Action, bool]) -> Iterator[WaitingVersion]:
    """The versions of the snapshot that wait for a review, in its order."""
    for version in snapshot.versions:
        stage, digest = reviewed_stage(version), digest_of(version)
        if stage is None or digest is None:
            continue
        review, cast = snapshot.review_of(version, stage), snapshot.heard_ballots(version, stage)
        if any(ballot.counts and ballot.approval.spec.decision != "Approved" for ballot in cast):
            continue
        objection = decision_finding(reviewer_in(version.metadata.namespace, person, rights), review)
        yield WaitingVersion(
            namespace=version.metadata.namespace,
            name=version.metadata.name,
            model=version.spec.model_ref.name,
            version=version.spec.version,
            stage=stage,
            tier=review.tier,
            submitted_by=version.spec.submitted_by,
            since=version.metadata.creation_timestamp,
            digest=digest,
            approvals=_progress([count_approvals(requirement, cast) for requirement in review.requirements]),
            owed=tuple(_owed(version, stage)),
            why_not=None if objection is None else objection.found,
        )


def _progress(counts: Sequence[ApprovalCount]) -> str:
    """The count of the policy that lacks the most approvals."""
    if not counts:
        return ""
    least = max(counts, key=lambda count: count.required - len(count.approvers))
    return f"{len(least.approvers)} of {least.required}"


def _owed(version: ModelVersion, stage: str) -> Iterator[str]:
    for gate in version.status.gates:
        # The operator writes the template when every other gate is open: no person owes it.
        if gate.shut and gate.stage in {"", stage} and gate.name != "TemplateEmitted":
            yield f"{gate.name}: {gate.found}"


def _oldest_first(entry: WaitingVersion) -> tuple[str, str, str]:
    return (timestamp(entry.since) if entry.since else "", entry.namespace, entry.name)
