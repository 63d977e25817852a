"""A compiled GovernancePolicy, the versions that it applies to, and its findings."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import ValidationError

from gatehouse.api.governance_policy import (
    ArtifactRequirements,
    GovernancePolicy,
    GovernancePolicySpec,
    HardwareRequirements,
    PolicyMatch,
    RunningServices,
)
from gatehouse.api.meta import ObjectMeta
from gatehouse.api.registered_model import RegisteredModel, RiskTier
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import selects
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.governance.expressions import ExpressionProblem

if TYPE_CHECKING:
    from gatehouse.domain.governance.cel import CompiledExpression

__all__ = ["CompiledPolicy", "PolicyFinding", "Weight", "applies", "applying", "stand_in"]

Weight = Literal["Denied", "Owed"]
"""Denied: the version violates the policy. Owed: something is still to come, such as an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFinding:
    """One rule of one policy that does not hold. ``enforced`` findings shut the gate, others are only reported.

    ``policy`` is empty when a policy is missing.
    """

    policy: str
    rule: str
    weight: Weight
    enforced: bool
    finding: Finding


@dataclass(frozen=True)
class CompiledPolicy:
    """A policy ready for evaluation. An ``unreadable`` policy (None: readable) denies, for that reason."""

    policy: GovernancePolicy
    unreadable: str | None = None

    @cached_property
    def expressions(self) -> Mapping[str, CompiledExpression | ExpressionProblem]:
        """The expressions by name, compiled at first use."""
        rules = self.policy.spec.expressions
        if not rules:
            return {}
        # CEL's runtime takes 13 MiB, which an operator without expressions need not load.
        from gatehouse.domain.governance.cel import compile_expression  # noqa: PLC0415

        return {rule.name: compile_expression(rule.expression) for rule in rules}

    @cached_property
    def match_digest(self) -> str:
        """SHA-256 of the policy's match, shortened."""
        canonical = orjson.dumps(self.policy.spec.match.wire(), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.policy.metadata.name

    @property
    def enforced(self) -> bool:
        """Whether the policy shuts gates or only reports."""
        return self.policy.spec.mode == "Enforce"

    def speaks_to(self, stage: str) -> bool:
        """Whether the policy is enforced and has a requirement for the stage."""
        spec = self.policy.spec
        named = (
            *(rule.stages for rule in spec.evaluations),
            *(rule.stages for rule in spec.expressions),
            *([rule.stage] for rule in spec.approvals),
        )
        return self.enforced and (
            any(not stages or stage in stages for stages in named)
            or spec.artifact != ArtifactRequirements()
            or spec.hardware != HardwareRequirements()
            or bool(spec.licenses)
            or spec.lineage is not None
        )

    @property
    def problems(self) -> Mapping[str, ExpressionProblem]:
        """Expressions that do not compile, by name."""
        return {name: outcome for name, outcome in self.expressions.items() if isinstance(outcome, ExpressionProblem)}


def stand_in(unreadable: Unreadable, body: Mapping[str, Any]) -> CompiledPolicy:
    """The policy in place of an unreadable one: it denies every version that it may apply to.

    The members on where the policy applies, whether it is enforced, and which services may continue count as far as
    they are readable. The other members do not count: the policy allows no serving runtime.
    """
    spec = body.get("spec")
    kept: dict[str, Any] = {}
    for member in ("match", "mode", "running"):
        value = spec.get(member) if isinstance(spec, Mapping) else None
        if value is not None:
            kept |= _member(member, value)
    policy = GovernancePolicy(metadata=ObjectMeta(name=unreadable.name), spec=GovernancePolicySpec(**kept))
    return CompiledPolicy(policy, unreadable=unreadable.message)


def _member(name: str, value: object) -> dict[str, Any]:
    """One member of a policy's spec; the strictest possible value when it is unreadable."""
    try:
        return {name: getattr(GovernancePolicySpec.model_validate({name: value}), name)}
    except ValidationError:
        return {"running": RunningServices(new_pods="Deny")} if name == "running" else {}


def applying(
    policies: Iterable[CompiledPolicy],
    model: RegisteredModel,
    namespace_labels: Mapping[str, str] | None,
    *,
    tier: RiskTier,
    held: Collection[str] = (),
) -> tuple[CompiledPolicy, ...]:
    """The policies that apply to versions of a model with this tier, and those that the versions are ``held`` to."""
    matching = (
        policy
        for policy in policies
        if policy.name in held or applies(policy.policy.spec.match, model, namespace_labels, tier=tier)
    )
    return tuple(sorted(matching, key=lambda policy: policy.name))


def applies(
    match: PolicyMatch, model: RegisteredModel, namespace_labels: Mapping[str, str] | None, *, tier: RiskTier
) -> bool:
    """Whether a policy applies. A namespace with unknown labels matches every selector."""
    if match.risk_tiers and tier not in match.risk_tiers:
        return False
    if match.model_selector is not None and not selects(match.model_selector, model.metadata.labels):
        return False
    selector = match.namespace_selector
    return selector is None or namespace_labels is None or selects(selector, namespace_labels)
