"""What a person could do about each shut gate with their own rights, in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from gatehouse.actions.identity import Action, Authorizer, review_rights, reviewer_in
from gatehouse.actions.objects import ObjectSource
from gatehouse.actions.snapshot import Snapshot, version_snapshot
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.domain.governance.eligibility import Reviewer, decision_finding, refusal_text

__all__ = ["Advice", "VersionRights", "advise", "read_advice"]

Advice: TypeAlias = Mapping[tuple[str, str], str]
"""By name and stage of the gate."""

_REGISTRY_GATE: Final = "Registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRights:
    """What a person may change about one version."""

    edit_version: bool = False
    edit_model: bool = False
    edit_policies: bool = False
    edit_registry: bool = False
    evaluate: bool = False


async def read_advice(objects: ObjectSource, authorizer: Authorizer, version: ModelVersion) -> Advice:
    """A sentence for each shut gate. Reads nothing when every gate is open. Raises ClusterError."""
    shut = [gate for gate in version.status.gates if gate.shut]
    if not shut:
        return {}
    person, snapshot = await asyncio.gather(authorizer.whoami(), version_snapshot(objects, version))
    home, tier = version.metadata.namespace, snapshot.tier_of(version)
    changes = _changes(version)
    rights = await authorizer.allowed([*changes.values(), *review_rights([] if tier is None else [tier], [home])])
    may = VersionRights(**{name: rights[action] for name, action in changes.items()})
    reviewer = reviewer_in(home, person, rights)
    return {(gate.name, gate.stage): advise(gate, version, snapshot, reviewer=reviewer, rights=may) for gate in shut}


def _changes(version: ModelVersion) -> Mapping[str, Action]:
    """The action behind each field of VersionRights."""
    home, name = version.metadata.namespace, version.metadata.name
    registry_home, _, registry = (version.status.registry or "").partition("/")
    model = version.spec.model_ref.name
    return {
        "edit_version": Action(verb="patch", resource="modelversions", namespace=home, name=name),
        "edit_model": Action(verb="patch", resource="registeredmodels", namespace=home, name=model),
        "edit_policies": Action(verb="patch", resource="governancepolicies"),
        "edit_registry": Action(verb="patch", resource="modelregistries", namespace=registry_home, name=registry),
        "evaluate": Action(verb="create", resource="modelevaluations", namespace=home),
    }


def advise(gate: Gate, version: ModelVersion, snapshot: Snapshot, *, reviewer: Reviewer, rights: VersionRights) -> str:
    """What the person could do about a shut gate."""
    author = version.spec.submitted_by or "not named"
    if gate.name == "Approved":
        objection = decision_finding(reviewer, snapshot.review_of(version, gate.stage))
        if objection is not None:
            return refusal_text(objection)
        where = f"{version.metadata.name} -n {version.metadata.namespace}"
        return f"you may decide: gatehouse approve {where} --stage {gate.stage} --reason …"
    if gate.name == "PolicyCompliant":
        return _about_policy(rights) or f"you may only read the version; its author is {author}"
    if gate.name == _REGISTRY_GATE and rights.edit_registry:
        return f"you may change the registry{' and the version' if rights.edit_version else ''}"
    if rights.edit_version:
        return "you may change the version yourself"
    return f"you may only read the version; its author, who may change it, is {author}"


def _about_policy(rights: VersionRights) -> str:
    """Names each right, because different people own evaluations, the licence of the model, and the lineage."""
    can = [
        words
        for allowed, words in (
            (rights.edit_version, "change the version"),
            (rights.edit_model, "change its model"),
            (rights.evaluate, "import evaluations"),
            (rights.edit_policies, "change the policies"),
        )
        if allowed
    ]
    if len(can) < 2:
        return f"you may {can[0]}" if can else ""
    return f"you may {', '.join(can[:-1])} and {can[-1]}"
