"""What a person could do about each shut gate with their own rights, in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from gatehouse.actions.identity import Action, Person, approving, may_each, whoami
from gatehouse.actions.objects import digest_of, listed_if_allowed, read
from gatehouse.api.meta import GROUP
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.api.registered_model import RegisteredModel, RiskTier
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.governance.approvals import author, ballots, submitters
from gatehouse.domain.governance.held import shown_tier

__all__ = ["Advice", "Standpoint", "advise", "ask_advice"]

Advice: TypeAlias = Mapping[tuple[str, str], str]
"""By name and stage of the gate."""

_REGISTRY_GATE: Final = "Registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """A person and their rights on one version. ``tier`` is None when the model does not exist."""

    person: Person
    tier: RiskTier | None
    edit_version: bool = False
    edit_model: bool = False
    edit_policies: bool = False
    edit_registries: bool = False
    evaluate: bool = False
    approve: bool = False
    approved: frozenset[str] = frozenset()
    """Stages for which the person approved the current files."""


def advise(gate: Gate, version: ModelVersion, standpoint: Standpoint) -> str:
    """What the person could do about a shut gate."""
    if gate.name == "Approved":
        return _about_approval(gate.stage, version, standpoint)
    if gate.name == "PolicyCompliant":
        return _about_policy(version, standpoint)
    if gate.name == _REGISTRY_GATE and standpoint.edit_registries:
        return f"you may change the registry{' and the version' if standpoint.edit_version else ''}"
    if standpoint.edit_version:
        return "you may change the version yourself"
    return (
        f"you may only read the version; its author may change it: {version.spec.submitted_by or 'no author is named'}"
    )


def _about_approval(stage: str, version: ModelVersion, standpoint: Standpoint) -> str:
    where = f"{version.metadata.name} -n {version.metadata.namespace}"
    name, tier = standpoint.person.name, standpoint.tier
    if version.spec.submitted_by is None:
        claim = f"you may submit it: gatehouse submit {where}; then other people approve"
        return (
            claim
            if standpoint.edit_version
            else "nobody submitted this version; a person who may change it must submit it first"
        )
    if author(version.spec) is None:
        return (
            "a service account submitted this version; create a new version that names its author in spec.submittedBy"
        )
    if name in submitters(version.spec):
        return f"you submitted this version, so another person who may approve {tier or 'its'} risk must decide"
    if stage in standpoint.approved:
        return "you already approved; more approvals are required"
    if standpoint.approve:
        return f"you may decide: gatehouse approve {where} --stage {stage} --reason …"
    return f"you may not approve {tier or 'its'} risk; you need the verb approve on risktiers.{GROUP}/{tier or 'TIER'}"


def _about_policy(version: ModelVersion, standpoint: Standpoint) -> str:
    """Names each right, because different people own evaluations, the licence of the model, and the lineage."""
    can = [
        words
        for allowed, words in (
            (standpoint.edit_version, "change the version"),
            (standpoint.edit_model, "change its model"),
            (standpoint.evaluate, "import evaluations"),
            (standpoint.edit_policies, "change the policies"),
        )
        if allowed
    ]
    if can:
        return f"you may {', '.join(can[:-1])} and {can[-1]}" if len(can) > 1 else f"you may {can[0]}"
    return f"you may only read the version; its author is {version.spec.submitted_by or 'not named'}"


async def ask_advice(api: ApiClient, version: ModelVersion) -> Advice:
    """A sentence for each shut gate. Reads no rights when every gate is open. Raises ClusterError."""
    shut = [gate for gate in version.status.gates if gate.shut]
    if not shut:
        return {}
    standpoint = await _standpoint(api, version)
    return {(gate.name, gate.stage): advise(gate, version, standpoint) for gate in shut}


async def _standpoint(api: ApiClient, version: ModelVersion) -> Standpoint:
    namespace, name = version.metadata.namespace, version.metadata.name
    person, model, approvals = await asyncio.gather(
        whoami(api), _model(api, version), listed_if_allowed(api, ModelApproval, namespace)
    )
    change = Action(verb="patch", resource="modelversions", namespace=namespace, name=name)
    amend = Action(verb="patch", resource="registeredmodels", namespace=namespace, name=version.spec.model_ref.name)
    policies = Action(verb="patch", resource="governancepolicies")
    home, _, registry = (version.status.registry or "").partition("/")
    registries = Action(verb="patch", resource="modelregistries", namespace=home, name=registry)
    evaluate = Action(verb="create", resource="modelevaluations", namespace=namespace)
    write = Action(verb="create", resource="modelapprovals", namespace=namespace)
    tier = shown_tier(version, model) if model else None
    approve = approving(tier) if tier else None
    asked = (change, amend, policies, registries, evaluate, write, *([approve] if approve else []))
    rights = await may_each(api, asked)
    return Standpoint(
        person=person,
        tier=tier,
        edit_version=rights[change],
        edit_model=rights[amend],
        edit_policies=rights[policies],
        edit_registries=rights[registries],
        evaluate=rights[evaluate],
        approve=approve is not None and rights[approve] and rights[write],
        approved=frozenset(_approved(approvals or (), version, person, tier)) if tier else frozenset(),
    )


def _approved(
    approvals: Iterable[ModelApproval], version: ModelVersion, person: Person, tier: RiskTier
) -> Iterator[str]:
    cast = [each for each in approvals if each.spec.approver == person.name]
    for stage in {each.spec.stage for each in cast}:
        current = ballots(cast, version=version, digest=digest_of(version), tier=tier, stage=stage)
        if any(each.counts and each.approval.spec.decision == "Approved" for each in current):
            yield stage


async def _model(api: ApiClient, version: ModelVersion) -> RegisteredModel | None:
    try:
        return await read(api, RegisteredModel, version.metadata.namespace, version.spec.model_ref.name)
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise
