"""A GovernancePolicy, ready to be judged with, and which versions it applies to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatehouse.api.governance_policy import GovernancePolicy, PolicyMatch
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.access import selects
from gatehouse.domain.policy.expressions import ExpressionProblem

if TYPE_CHECKING:
    from gatehouse.domain.policy.cel import CompiledExpression

__all__ = ["CompiledPolicy", "applies", "applying", "compile_policy"]


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy with its expressions by name."""

    policy: GovernancePolicy
    expressions: Mapping[str, CompiledExpression | ExpressionProblem]

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.policy.metadata.name

    @property
    def enforced(self) -> bool:
        """Whether it shuts gates, or only reports."""
        return self.policy.spec.mode == "Enforce"

    @property
    def problems(self) -> Mapping[str, ExpressionProblem]:
        """Expressions that do not compile, by name."""
        return {name: found for name, found in self.expressions.items() if isinstance(found, ExpressionProblem)}


def compile_policy(policy: GovernancePolicy) -> CompiledPolicy:
    """Compiles every expression of the policy."""
    rules = policy.spec.expressions
    if not rules:
        return CompiledPolicy(policy, {})
    # CEL's runtime takes 8 MiB, which an operator without expressions need not have.
    from gatehouse.domain.policy.cel import compile_expression  # noqa: PLC0415

    return CompiledPolicy(policy, {rule.name: compile_expression(rule.expression) for rule in rules})


def applying(
    policies: Iterable[CompiledPolicy], model: RegisteredModel, namespace_labels: Mapping[str, str] | None
) -> tuple[CompiledPolicy, ...]:
    """The policies that apply to versions of a model, by name."""
    found = (each for each in policies if applies(each.policy.spec.match, model, namespace_labels))
    return tuple(sorted(found, key=lambda each: each.name))


def applies(match: PolicyMatch, model: RegisteredModel, namespace_labels: Mapping[str, str] | None) -> bool:
    """Whether a policy applies. A namespace whose labels are not known is in every selector: unknown is not free."""
    if match.risk_tiers and model.spec.risk_tier not in match.risk_tiers:
        return False
    if match.model_selector is not None and not selects(match.model_selector, model.metadata.labels):
        return False
    selector = match.namespace_selector
    return selector is None or namespace_labels is None or selects(selector, namespace_labels)
