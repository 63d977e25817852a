"""Decisions for the current files, stage and risk tier of a version, in the name of the person who decides."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from gatehouse.actions.identity import Authorizer, Person, review_rights, reviewer_in
from gatehouse.actions.objects import read
from gatehouse.actions.snapshot import version_snapshot
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.meta import GROUP, VERSION
from gatehouse.api.model_approval import ApprovalDecision, ModelApproval, ModelApprovalSpec
from gatehouse.api.model_evaluation import VersionReference
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RiskTier
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.approvals import STRICTNESS
from gatehouse.domain.governance.eligibility import decision_finding, digest_of, is_service_account, refusal_text
from gatehouse.domain.governance.held import shown_tier
from gatehouse.domain.serving.names import served_digest
from gatehouse.errors import Refused

__all__ = ["MANAGER", "Decided", "ReviewDecision", "counted_groups", "decide", "decision_name"]

MANAGER: Final = "gatehouse-review"
_LONGEST_NAME: Final = 253
_HASH_LENGTH: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDecision:
    """The decision of a person on a version. With ``dry_run`` the API server validates it without persisting."""

    namespace: str
    name: str
    stage: str
    decision: ApprovalDecision
    reason: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The ModelApproval of a decision. ``notes`` are for the person who decides."""

    body: Mapping[str, Any]
    outcome: Literal["created", "unchanged"]
    notes: tuple[str, ...]


async def decide(api: ApiClient, authorizer: Authorizer, request: ReviewDecision) -> Decided:
    """Writes a ModelApproval. The same decision on the same files changes nothing.

    Raises Refused, which names who may decide instead, and ClusterError for a refusal of admission.
    """
    home = request.namespace
    version, person = await asyncio.gather(read(api, ModelVersion, home, request.name), authorizer.whoami())
    snapshot = await version_snapshot(api, version)
    tier = shown_tier(version, snapshot.model_of(version))
    reviewer = reviewer_in(home, person, await authorizer.allowed(review_rights([tier], [home])))
    # A person may decide again, and may decide where a policy asks for other groups: the decision stays on record.
    review = replace(snapshot.review_of(version, request.stage), approvers=())
    objection = decision_finding(reviewer, replace(review, requirements=()), request.decision)
    if objection is not None:
        raise Refused(f"ModelVersion {home}/{request.name}: {refusal_text(objection)}")
    uncounted = decision_finding(reviewer, review, request.decision)
    policies = None if GovernancePolicy.info.plural in snapshot.missing else snapshot.policies
    groups = counted_groups(person, policies, request.stage)
    spec = _spec(version, person, request, tier=tier, groups=groups)
    earlier = _earlier(snapshot.approvals, spec)
    newest = earlier[-1] if earlier else None
    notes = tuple(_notes(person, policies, groups, uncounted=uncounted))
    if newest is not None and _says(newest.spec, spec):
        written = await api.get("modelapprovals", home, newest.metadata.name)
        return Decided(body=written, outcome="unchanged", notes=notes)
    body = await _create(api, request, spec, earlier=earlier)
    return Decided(body=body, outcome="created", notes=(*notes, *_tie(body, newest)))


def counted_groups(person: Person, policies: Iterable[GovernancePolicy] | None, stage: str) -> tuple[str, ...]:
    """The groups of the person that the policies ask for at a stage; None stands for unreadable policies."""
    if policies is None:
        return person.groups_among(None)
    requirements = (requirement for policy in policies for requirement in policy.spec.approvals)
    return person.groups_among(
        {group for requirement in requirements if requirement.stage == stage for group in requirement.groups}
    )


def decision_name(spec: ModelApprovalSpec, *, earlier: Iterable[str]) -> str:
    """The name of a decision: the same for two simultaneous commands, another for each later decision.

    ``earlier`` are the uids of the person's decisions on the same files and stage. They make each name unique, because
    an existing decision is one of them.
    """
    identity = f"{spec.version_ref.uid}\n{spec.digest}\n{spec.stage}\n{spec.approver}\n{','.join(sorted(earlier))}"
    ending = f"-{spec.stage}-{hashlib.sha256(identity.encode()).hexdigest()[:_HASH_LENGTH]}"
    return spec.version_ref.name[: _LONGEST_NAME - len(ending)].rstrip("-.") + ending


def _spec(
    version: ModelVersion, person: Person, request: ReviewDecision, *, tier: RiskTier, groups: Sequence[str]
) -> ModelApprovalSpec:
    digest = digest_of(version)
    return ModelApprovalSpec(
        version_ref=VersionReference(name=version.metadata.name, uid=version.metadata.uid),
        digest=digest or "",
        served_digest=served_digest(version.spec, digest) or "",
        stage=request.stage,
        risk_tier=tier,
        decision=request.decision,
        reason=request.reason,
        approver=person.name,
        groups=list(groups),
    )


def _says(earlier: ModelApprovalSpec, new: ModelApprovalSpec) -> bool:
    """Whether an earlier decision equals the new one. The earlier one may name more groups."""
    same = earlier.model_copy(update={"groups": new.groups}) == new
    return same and set(new.groups) <= set(earlier.groups)


def _earlier(decisions: Iterable[ModelApproval], spec: ModelApprovalSpec) -> Sequence[ModelApproval]:
    """The earlier decisions of the person on the same files and stage, the newest last."""
    about = _about(spec)
    mine = [decision for decision in decisions if _about(decision.spec) == about]
    return sorted(mine, key=_order)


def _about(spec: ModelApprovalSpec) -> tuple[str, str, str, str]:
    return spec.approver, spec.version_ref.uid, spec.digest, spec.stage


def _order(decision: ModelApproval) -> tuple[str, int, str]:
    """The order in which decisions count: of several in one second, the strictest is the newest."""
    return str(decision.metadata.creation_timestamp), STRICTNESS[decision.spec.decision], decision.metadata.name


def _tie(body: Mapping[str, Any], newest: ModelApproval | None) -> Iterable[str]:
    """A note where a stricter decision of the same second still holds: Kubernetes keeps whole seconds."""
    written = ModelApproval.model_validate(body)
    if newest is not None and _order(written)[:2] < _order(newest)[:2]:
        yield f"your {newest.spec.decision} of the same second still holds; withdraw it, or decide again"


def _notes(
    person: Person, policies: Iterable[GovernancePolicy] | None, groups: Sequence[str], *, uncounted: Finding | None
) -> Iterable[str]:
    if uncounted is not None:
        yield f"the approval counts for no policy: {refusal_text(uncounted)}"
    elif is_service_account(person.name):
        yield "a service account's decision counts only where a policy names the account"
    if policies is None and len(person.groups) > len(groups):
        yield f"you are in {len(person.groups)} groups, which is too many: the decision names the first {len(groups)}"


async def _create(
    api: ApiClient, request: ReviewDecision, spec: ModelApprovalSpec, *, earlier: Iterable[ModelApproval]
) -> Mapping[str, Any]:
    name = decision_name(spec, earlier=[decision.metadata.uid for decision in earlier])
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": ModelApproval.info.kind,
        "metadata": {"name": name, "namespace": request.namespace},
        "spec": spec.wire(),
    }
    params = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if request.dry_run else {})
    try:
        return await api.create("modelapprovals", request.namespace, body, params=params)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        raise Refused(f"ModelApproval {request.namespace}/{name} was just written by another call; read it") from error
