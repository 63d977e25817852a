"""What is there: the objects about versions at one moment, from any source of objects."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

from gatehouse.actions.objects import ObjectSource, listed, listed_if_allowed, read_if_allowed
from gatehouse.api.governance_policy import ApprovalRequirement, GovernancePolicy
from gatehouse.api.meta import Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel, RiskTier
from gatehouse.cluster.client import ApiError
from gatehouse.domain.governance.approvals import Ballot, ballots
from gatehouse.domain.governance.eligibility import Review, digest_of
from gatehouse.domain.governance.held import shown_tier
from gatehouse.domain.governance.policy import CompiledPolicy, applying

__all__ = ["Snapshot", "namespace_labels", "read_registry", "read_snapshot", "stages_of", "version_snapshot"]

NAMESPACES: Final = "namespaces"

About = TypeVar("About", ModelApproval, ModelEvaluation)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Objects by their kinds. ``namespaces`` has the labels of each known namespace.

    ``missing`` names the kinds that could not be read: their objects are unknown, and counted as if none existed.
    """

    versions: Sequence[ModelVersion] = ()
    models: Sequence[RegisteredModel] = ()
    registries: Sequence[ModelRegistry] = ()
    policies: Sequence[GovernancePolicy] = ()
    evaluations: Sequence[ModelEvaluation] = ()
    approvals: Sequence[ModelApproval] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def model_of(self, version: ModelVersion) -> RegisteredModel | None:
        """The model of a version."""
        return self._models.get((version.metadata.namespace, version.spec.model_ref.name))

    def registry_of(self, version: ModelVersion) -> ModelRegistry | None:
        """The registry that the status of a version names."""
        return self._registries.get(version.status.registry or "")

    def tier_of(self, version: ModelVersion) -> RiskTier | None:
        """The risk tier that decisions on a version are for; None without its model."""
        model = self.model_of(version)
        return None if model is None else shown_tier(version, model)

    def stages_of(self, version: ModelVersion) -> tuple[str, ...]:
        """The stages of the registry in their order, or those in the status where the registry is unknown."""
        return stages_of(version, self.registry_of(version))

    def approvals_of(self, version: ModelVersion) -> Sequence[ModelApproval]:
        """The approvals that name a version, whether they count or not."""
        return self._approvals.get((version.metadata.namespace, version.metadata.name), ())

    def evaluations_of(self, version: ModelVersion) -> Sequence[ModelEvaluation]:
        """The evaluations that name a version, whether they count or not."""
        return self._evaluations.get((version.metadata.namespace, version.metadata.name), ())

    def applying_to(
        self, version: ModelVersion, policies: Iterable[CompiledPolicy], *, drafts: Collection[str] = ()
    ) -> tuple[CompiledPolicy, ...]:
        """Those of the policies that match the version, and those that its status names.

        A policy in ``drafts`` applies only if it matches: the status names the policy that the draft replaces.
        """
        model = self.model_of(version)
        if model is None:
            return ()
        return applying(
            policies,
            model,
            self.namespaces.get(version.metadata.namespace),
            tier=shown_tier(version, model),
            held=[outcome.name for outcome in version.status.policies if outcome.name not in drafts],
        )

    def requirements(self, version: ModelVersion, stage: str) -> Sequence[ApprovalRequirement]:
        """What the enforced policies that apply to a version require of its approvals for a stage."""
        return [
            requirement
            for policy in self.applying_to(version, self.compiled)
            if policy.enforced
            for requirement in policy.policy.spec.approvals
            if requirement.stage == stage
        ]

    def heard_ballots(self, version: ModelVersion, stage: str) -> Sequence[Ballot]:
        """The decisions for a stage by people, and by those service accounts that a policy names."""
        tier = self.tier_of(version)
        if tier is None:
            return ()
        required = self.requirements(version, stage)
        accounts = {account for requirement in required for account in requirement.service_accounts}
        named = self.approvals_of(version)
        cast = ballots(named, version=version, digest=digest_of(version), tier=tier, stage=stage)
        return [ballot for ballot in cast if ballot.is_heard(accounts)]

    def review_of(self, version: ModelVersion, stage: str) -> Review:
        """What is known of a version before a decision on a stage."""
        current = [ballot for ballot in self.heard_ballots(version, stage) if ballot.counts]
        return Review(
            version=version,
            tier=self.tier_of(version),
            stage=stage,
            stages=self.stages_of(version),
            requirements=self.requirements(version, stage),
            approvers=[ballot.approver for ballot in current if ballot.approval.spec.decision == "Approved"],
        )

    @cached_property
    def compiled(self) -> tuple[CompiledPolicy, ...]:
        """The policies, ready for evaluation."""
        return tuple(map(CompiledPolicy, self.policies))

    @cached_property
    def _models(self) -> Mapping[tuple[str, str], RegisteredModel]:
        return {(model.metadata.namespace, model.metadata.name): model for model in self.models}

    @cached_property
    def _registries(self) -> Mapping[str, ModelRegistry]:
        return {f"{registry.metadata.namespace}/{registry.metadata.name}": registry for registry in self.registries}

    @cached_property
    def _approvals(self) -> Mapping[tuple[str, str], Sequence[ModelApproval]]:
        return _by_version(self.approvals)

    @cached_property
    def _evaluations(self) -> Mapping[tuple[str, str], Sequence[ModelEvaluation]]:
        return _by_version(self.evaluations)


def _by_version(objects: Iterable[About]) -> Mapping[tuple[str, str], Sequence[About]]:
    about: defaultdict[tuple[str, str], list[About]] = defaultdict(list)
    for named in objects:
        about[named.metadata.namespace, named.spec.version_ref.name].append(named)
    return about


def stages_of(version: ModelVersion, registry: ModelRegistry | None) -> tuple[str, ...]:
    """The stages of the registry in their order, or those in the status where the registry is unknown."""
    return tuple(dict.fromkeys(_stages_in(version) if registry is None else registry.spec.stages))


def _stages_in(version: ModelVersion) -> Iterator[str]:
    yield from (gate.stage for gate in version.status.gates if gate.stage)
    yield from version.status.cleared_for


_KINDS: Final[Mapping[str, type[Resource]]] = {
    "versions": ModelVersion,
    "models": RegisteredModel,
    "registries": ModelRegistry,
    "policies": GovernancePolicy,
    "evaluations": ModelEvaluation,
    "approvals": ModelApproval,
}


async def read_snapshot(objects: ObjectSource, *, namespace: str = "", without: Collection[str] = ()) -> Snapshot:
    """The objects of a namespace, or of all if it is empty, without those fields; policies are always all.

    Raises ClusterError if the person may not even read the versions and their models.
    """
    names = [name for name in _KINDS if name not in without]
    lists, labels = await asyncio.gather(
        asyncio.gather(*(_of_kind(objects, name, namespace) for name in names)), namespace_labels(objects, namespace)
    )
    fields: dict[str, Any] = dict(zip(names, lists, strict=True))
    missing = [_KINDS[name].info.plural for name, listing in fields.items() if listing is None]
    return Snapshot(
        **{name: listing or () for name, listing in fields.items()},
        namespaces=labels or {},
        missing=[*missing, *([NAMESPACES] if labels is None else [])],
    )


async def _of_kind(objects: ObjectSource, name: str, namespace: str) -> Sequence[Resource] | None:
    kind = _KINDS[name]
    home = namespace if kind.info.namespaced else ""
    if name in {"versions", "models"}:
        return await listed(objects, kind, home)
    return await listed_if_allowed(objects, kind, home)


async def version_snapshot(objects: ObjectSource, version: ModelVersion) -> Snapshot:
    """A version with what decides on it: model, registry, policies, approvals, labels. Raises ClusterError."""
    home = version.metadata.namespace
    model, registry, policies, approvals, labels = await asyncio.gather(
        read_if_allowed(objects, RegisteredModel, home, version.spec.model_ref.name),
        read_registry(objects, version),
        listed_if_allowed(objects, GovernancePolicy),
        listed_if_allowed(objects, ModelApproval, home),
        namespace_labels(objects, home),
    )
    optional = {
        GovernancePolicy.info.plural: policies,
        ModelApproval.info.plural: approvals,
        NAMESPACES: labels,
    }
    return Snapshot(
        versions=(version,),
        models=() if model is None else (model,),
        registries=() if registry is None else (registry,),
        policies=policies or (),
        approvals=approvals or (),
        namespaces=labels or {},
        missing=[plural for plural, known in optional.items() if known is None],
    )


async def read_registry(objects: ObjectSource, version: ModelVersion) -> ModelRegistry | None:
    """The registry that the status of a version names; None where it names none, or the person may not read it."""
    namespace, _, name = (version.status.registry or "").partition("/")
    return await read_if_allowed(objects, ModelRegistry, namespace, name) if name else None


async def namespace_labels(objects: ObjectSource, namespace: str) -> Mapping[str, Mapping[str, str]] | None:
    """The labels of a namespace, or of all if it is empty, by name; None where the person may not read them."""
    try:
        if namespace:
            bodies = [await objects.get(NAMESPACES, "", namespace)]
        else:
            bodies = [body async for body in objects.items(NAMESPACES)]
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise
    return {body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in bodies}
