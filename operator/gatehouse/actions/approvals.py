"""Decisions for the current files, stage and risk tier of a version, in the name of the person who decides."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gatehouse.actions.identity import Action, Person, approving, may_each, whoami
from gatehouse.actions.objects import digest_of, listed_if_allowed, read, stages_of
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.meta import GROUP, VERSION
from gatehouse.api.model_approval import ApprovalDecision, ModelApproval, ModelApprovalSpec
from gatehouse.api.model_evaluation import VersionReference
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel, RiskTier
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.governance.approvals import STRICTNESS, author, submitters
from gatehouse.domain.governance.held import shown_tier
from gatehouse.domain.serving.names import served_digest
from gatehouse.errors import Refused

__all__ = [
    "MANAGER",
    "Decided",
    "ReviewDecision",
    "Situation",
    "counted_groups",
    "decide",
    "decision_name",
    "why_refused",
]

MANAGER: Final = "gatehouse-review"
_MOST_GROUPS: Final = 64
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
class Situation:
    """The facts that a decision is checked against before it is written."""

    person: Person
    version: ModelVersion
    model: RegisteredModel
    stages: Sequence[str]
    may_approve: bool
    may_write: bool

    @property
    def tier(self) -> RiskTier:
        """The risk tier that applies to the version."""
        return shown_tier(self.version, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The ModelApproval of a decision. ``notes`` are for the person who decides."""

    body: Mapping[str, Any]
    outcome: Literal["created", "unchanged"]
    notes: tuple[str, ...]


async def decide(api: ApiClient, wanted: ReviewDecision) -> Decided:
    """Writes a ModelApproval. The same decision on the same files changes nothing.

    Raises Refused, which names who may decide instead, and ClusterError for a refusal of admission.
    """
    version, person = await asyncio.gather(read(api, ModelVersion, wanted.namespace, wanted.name), whoami(api))
    model = await read(api, RegisteredModel, wanted.namespace, version.spec.model_ref.name)
    approve = approving(shown_tier(version, model))
    write = Action(verb="create", resource="modelapprovals", namespace=wanted.namespace)
    stages, rights, policies, decisions = await asyncio.gather(
        stages_of(api, version),
        may_each(api, (approve, write)),
        listed_if_allowed(api, GovernancePolicy),
        listed_if_allowed(api, ModelApproval, wanted.namespace),
    )
    situation = Situation(
        person=person,
        version=version,
        model=model,
        stages=stages,
        may_approve=rights[approve],
        may_write=rights[write],
    )
    refusal = why_refused(situation, wanted.stage, wanted.decision)
    if refusal is not None:
        raise Refused(refusal)
    groups = counted_groups(person, policies, wanted.stage)
    spec = _spec(situation, wanted, groups)
    earlier = _earlier(decisions or (), spec)
    newest = earlier[-1] if earlier else None
    notes = tuple(_notes(person, policies, groups))
    if newest is not None and _says(newest.spec, spec):
        there = await api.get("modelapprovals", wanted.namespace, newest.metadata.name)
        return Decided(body=there, outcome="unchanged", notes=notes)
    body = await _create(api, wanted, spec, earlier=earlier)
    return Decided(body=body, outcome="created", notes=(*notes, *_tie(body, newest)))


def why_refused(situation: Situation, stage: str, decision: ApprovalDecision) -> str | None:
    """Why a decision of the person would not count or would be rejected; None when no reason is known."""
    person, version, tier = situation.person, situation.version, situation.tier
    where = f"ModelVersion {version.metadata.namespace}/{version.metadata.name}"
    if situation.stages and stage not in situation.stages:
        return f"stage is {stage}; expected: a stage of the registry: {', '.join(situation.stages)}"
    if version.spec.state != "Submitted":
        return f"{where} is {version.spec.state}; only a Submitted version can be decided on"
    if author(version.spec) is None and version.spec.submitted_by is not None and decision == "Approved":
        return (
            f"{where} was submitted by the service account {version.spec.submitted_by}, which any person may use, "
            "so no approval counts; create a new version that names its author in spec.submittedBy"
        )
    if version.spec.submitted_by is None and decision == "Approved":
        return f"nobody submitted {where}, so no approval counts; its author must run: gatehouse submit"
    if person.name in submitters(version.spec):
        return (
            f"you ({person.name}) submitted {where}, so another person who may approve {tier} risk must decide; "
            "gatehouse queue lists the version for them"
        )
    if digest_of(version) is None:
        return (
            f"{where} has no digest yet ({version.status.phase or 'not reconciled yet'}); try again after verification"
        )
    if version.status.recorded_digest is not None:
        return (
            f"{where} is {version.status.phase}: its files are not the ones that were recorded; see gatehouse explain"
        )
    if not situation.may_approve:
        return (
            f"you ({person.name}) may not decide on {tier} risk; expected: the verb approve on "
            f"risktiers.{GROUP}/{tier}, as the ClusterRole gatehouse-approver grants it"
        )
    if not situation.may_write:
        return (
            f"you ({person.name}) may not create modelapprovals.{GROUP} in namespace {version.metadata.namespace}; "
            "ask the people who bind roles there"
        )
    return None


def counted_groups(person: Person, policies: Iterable[GovernancePolicy] | None, stage: str) -> tuple[str, ...]:
    """The groups to name in a decision: only those that policies ask for, so that the others stay private.

    As many groups as fit where the person may not read the policies.
    """
    if policies is None:
        return person.groups[:_MOST_GROUPS]
    asked = {
        group
        for policy in policies
        for requirement in policy.spec.approvals
        if requirement.stage == stage
        for group in requirement.groups
    }
    return tuple(group for group in person.groups if group in asked)[:_MOST_GROUPS]


def decision_name(spec: ModelApprovalSpec, *, earlier: Iterable[str]) -> str:
    """The name of a decision: the same for two simultaneous commands, another for each later decision.

    ``earlier`` are the uids of the person's decisions on the same files and stage. They make each name unique, because
    an existing decision is one of them.
    """
    identity = f"{spec.version_ref.uid}\n{spec.digest}\n{spec.stage}\n{spec.approver}\n{','.join(sorted(earlier))}"
    ending = f"-{spec.stage}-{hashlib.sha256(identity.encode()).hexdigest()[:_HASH_LENGTH]}"
    return spec.version_ref.name[: _LONGEST_NAME - len(ending)].rstrip("-.") + ending


def _spec(situation: Situation, wanted: ReviewDecision, groups: Sequence[str]) -> ModelApprovalSpec:
    version = situation.version
    return ModelApprovalSpec(
        version_ref=VersionReference(name=version.metadata.name, uid=version.metadata.uid),
        digest=digest_of(version) or "",
        served_digest=served_digest(version.spec, digest_of(version)) or "",
        stage=wanted.stage,
        risk_tier=situation.tier,
        decision=wanted.decision,
        reason=wanted.reason,
        approver=situation.person.name,
        groups=list(groups),
    )


def _says(told: ModelApprovalSpec, wanted: ModelApprovalSpec) -> bool:
    """Whether an earlier decision equals the new one. It may name more groups."""
    same = told.model_copy(update={"groups": wanted.groups}) == wanted
    return same and set(wanted.groups) <= set(told.groups)


def _earlier(decisions: Iterable[ModelApproval], spec: ModelApprovalSpec) -> Sequence[ModelApproval]:
    """The earlier decisions of the person on the same files and stage, the newest last."""
    about = (spec.approver, spec.version_ref.uid, spec.digest, spec.stage)
    mine = [
        each
        for each in decisions
        if (each.spec.approver, each.spec.version_ref.uid, each.spec.digest, each.spec.stage) == about
    ]
    return sorted(mine, key=_order)


def _order(decision: ModelApproval) -> tuple[str, int, str]:
    """The order in which decisions count: of several in one second, the strictest is the newest."""
    return str(decision.metadata.creation_timestamp), STRICTNESS[decision.spec.decision], decision.metadata.name


def _tie(body: Mapping[str, Any], newest: ModelApproval | None) -> Iterable[str]:
    """A note where a stricter decision of the same second still holds: Kubernetes keeps whole seconds."""
    written = ModelApproval.model_validate(body)
    if newest is not None and _order(written)[:2] < _order(newest)[:2]:
        yield f"your {newest.spec.decision} of the same second still holds; withdraw it, or decide again"


def _notes(person: Person, policies: Iterable[GovernancePolicy] | None, groups: Sequence[str]) -> Iterable[str]:
    if person.name.startswith("system:serviceaccount:"):
        yield "a service account's decision counts only where a policy names the account"
    if policies is None and len(person.groups) > len(groups):
        yield f"you are in {len(person.groups)} groups, which is too many: the decision names the first {len(groups)}"


async def _create(
    api: ApiClient, wanted: ReviewDecision, spec: ModelApprovalSpec, *, earlier: Iterable[ModelApproval]
) -> Mapping[str, Any]:
    name = decision_name(spec, earlier=[each.metadata.uid for each in earlier])
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": ModelApproval.info.kind,
        "metadata": {"name": name, "namespace": wanted.namespace},
        "spec": spec.wire(),
    }
    params = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if wanted.dry_run else {})
    try:
        return await api.create("modelapprovals", wanted.namespace, body, params=params)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        raise Refused(f"ModelApproval {wanted.namespace}/{name} was just written by another call; read it") from error
