"""Decisions: written for the bytes, the stage and the risk tier as they are now, under the name of who decides."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gatehouse.actions.errors import Refused
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

__all__ = [
    "MANAGER",
    "Decided",
    "Decision",
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
class Decision:
    """What a person wants to say of a version. With ``dry_run`` the API server checks it and keeps nothing."""

    namespace: str
    name: str
    stage: str
    decision: ApprovalDecision
    reason: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision is checked against before it is written."""

    person: Person
    version: ModelVersion
    model: RegisteredModel
    stages: Sequence[str]
    may_approve: bool
    may_write: bool

    @property
    def tier(self) -> RiskTier:
        """The risk tier that the version is held to."""
        return shown_tier(self.version, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The object of a decision. ``notes`` say what a person should know of it."""

    body: Mapping[str, Any]
    outcome: Literal["created", "unchanged"]
    notes: tuple[str, ...]


async def decide(api: ApiClient, wanted: Decision) -> Decided:
    """Writes a ModelApproval. To say the same again of the same bytes changes nothing.

    Raises Refused with who may do it instead, and ClusterError for what admission refuses.
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
    """Why a decision of the person would not count or not be let in; None when nothing is known against it."""
    person, version, tier = situation.person, situation.version, situation.tier
    where = f"ModelVersion {version.metadata.namespace}/{version.metadata.name}"
    if situation.stages and stage not in situation.stages:
        return f"stage is {stage}; wanted: a stage of the registry: {', '.join(situation.stages)}"
    if version.spec.state != "Submitted":
        return f"{where} is {version.spec.state}; only what is Submitted is decided on"
    if author(version.spec) is None and version.spec.submitted_by is not None and decision == "Approved":
        return (
            f"{where} was submitted by the service account {version.spec.submitted_by}, behind which anybody may "
            "stand, so nobody's approval counts; a new version names its author in spec.submittedBy"
        )
    if version.spec.submitted_by is None and decision == "Approved":
        return f"nobody submitted {where}, so nobody's approval counts; its author runs: gatehouse submit"
    if person.name in submitters(version.spec):
        return (
            f"you ({person.name}) submitted {where}: somebody else who may approve {tier} risk has "
            "to decide, and finds it in gatehouse queue"
        )
    if digest_of(version) is None:
        return f"{where} has no digest yet, as it is {version.status.phase or 'not reconciled yet'}; decide afterwards"
    if version.status.recorded_digest is not None:
        return (
            f"{where} is {version.status.phase}: its files are not the ones that were recorded; see gatehouse explain"
        )
    if not situation.may_approve:
        return (
            f"you ({person.name}) may not decide on {tier} risk; wanted: the verb approve on "
            f"risktiers.{GROUP}/{tier}, as the ClusterRole gatehouse-approver grants it"
        )
    if not situation.may_write:
        return (
            f"you ({person.name}) may not create modelapprovals.{GROUP} in namespace {version.metadata.namespace}; "
            "ask the people who bind roles there"
        )
    return None


def counted_groups(person: Person, policies: Iterable[GovernancePolicy] | None, stage: str) -> tuple[str, ...]:
    """Groups to name in a decision: those that policies ask for, so that no other membership is told.

    All of them, as far as they fit, where policies cannot be read.
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
    """Name of a decision: the same when a command is run twice at once, another for each later change of mind.

    ``earlier`` are the uids of the person's decisions on the same bytes and stage: no name is met twice, as a decision
    that is there is one of them itself.
    """
    told = f"{spec.version_ref.uid}\n{spec.digest}\n{spec.stage}\n{spec.approver}\n{','.join(sorted(earlier))}"
    ending = f"-{spec.stage}-{hashlib.sha256(told.encode()).hexdigest()[:_HASH_LENGTH]}"
    return spec.version_ref.name[: _LONGEST_NAME - len(ending)].rstrip("-.") + ending


def _spec(situation: Situation, wanted: Decision, groups: Sequence[str]) -> ModelApprovalSpec:
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
    """Whether a decision says what is wanted; one that names more groups does."""
    same = told.model_copy(update={"groups": wanted.groups}) == wanted
    return same and set(wanted.groups) <= set(told.groups)


def _earlier(decisions: Iterable[ModelApproval], spec: ModelApprovalSpec) -> Sequence[ModelApproval]:
    """What the person said of the same bytes for the same stage before, the last word last."""
    about = (spec.approver, spec.version_ref.uid, spec.digest, spec.stage)
    mine = [
        each
        for each in decisions
        if (each.spec.approver, each.spec.version_ref.uid, each.spec.digest, each.spec.stage) == about
    ]
    return sorted(mine, key=_order)


def _order(decision: ModelApproval) -> tuple[str, int, str]:
    """As decisions are counted: of those in one second the strictest is the last word."""
    return str(decision.metadata.creation_timestamp), STRICTNESS[decision.spec.decision], decision.metadata.name


def _tie(body: Mapping[str, Any], newest: ModelApproval | None) -> Iterable[str]:
    """A stricter decision of the same second still holds: times of Kubernetes have whole seconds."""
    written = ModelApproval.model_validate(body)
    if newest is not None and _order(written)[:2] < _order(newest)[:2]:
        yield f"your {newest.spec.decision} of the same second still holds; withdraw it, or decide again"


def _notes(person: Person, policies: Iterable[GovernancePolicy] | None, groups: Sequence[str]) -> Iterable[str]:
    if person.name.startswith("system:serviceaccount:"):
        yield "a service account's decision counts only where a policy names the account"
    if policies is None and len(person.groups) > len(groups):
        yield f"{len(person.groups)} groups of yours are too many: the decision names the first {len(groups)}"


async def _create(
    api: ApiClient, wanted: Decision, spec: ModelApprovalSpec, *, earlier: Iterable[ModelApproval]
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
        raise Refused(
            f"ModelApproval {wanted.namespace}/{name} was just written by another call; look at it"
        ) from error
