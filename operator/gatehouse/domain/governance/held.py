"""What a version is held to: the highest risk tier, every licence and every policy of all its submissions.

The submitter also writes the model's tier, licence and labels. If changes of these took effect at once, the submitter
could choose the policies that apply. Changes therefore only add requirements, until a person with the verb ``classify``
vouches for them. Admission binds ``spec.classifiedBy`` to such a person, and lets no other person change the fields
that this person vouched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel, RiskTier
from gatehouse.domain.governance.policy import CompiledPolicy

__all__ = ["TIER_RANK", "Held", "declared_tier", "held_under", "shown_tier", "strictest"]

TIER_RANK: Final[Mapping[RiskTier, int]] = {"Low": 0, "Medium": 1, "High": 2}
_MOST_LICENSES: Final = 16
"""Licences that are kept for one model; no honest model changes its licence so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """``policies`` has by name the digest of each policy's match when it applied."""

    risk_tier: RiskTier = "Low"
    licenses: tuple[str, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """The value in a row."""
        return {"riskTier": self.risk_tier, "licenses": list(self.licenses), "policies": dict(self.policies)}

    def text(self) -> str:
        """The same as canonical JSON text."""
        return orjson.dumps(self.wire(), option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def read(cls, kept: Any) -> Held:
        """The value in a row; a malformed value becomes the strictest tier alone."""
        if kept is None:
            return cls()
        try:
            tier, licenses, policies = kept["riskTier"], tuple(kept["licenses"]), dict(kept["policies"])
            known = tier in TIER_RANK and all(isinstance(text, str) for text in (*licenses, *policies.values()))
        except (KeyError, TypeError, ValueError):
            return cls(risk_tier="High")
        return cls(risk_tier=tier, licenses=licenses, policies=policies) if known else cls(risk_tier="High")

    @classmethod
    def parse(cls, text: str | None) -> Held:
        """Parses the result of :meth:`text`; None means no requirements."""
        if text is None:
            return cls()
        try:
            return cls.read(orjson.loads(text))
        except ValueError:
            return cls(risk_tier="High")

    def joined(self, other: Held) -> Held:
        """The requirements of both."""
        return Held(
            risk_tier=strictest(self.risk_tier, other.risk_tier),
            licenses=_united(self.licenses, other.licenses),
            policies={**self.policies, **other.policies},
        )

    def names(self, policies: Iterable[CompiledPolicy]) -> frozenset[str]:
        """The names of those policies whose match is the same as when they applied.

        A policy whose match its keeper changed is matched again: this rule binds the version's submitter, not the
        policy's keeper.
        """
        kept = self.policies
        return frozenset(policy.name for policy in policies if kept.get(policy.name) == policy.match_digest)

    def under(self, policies: Iterable[CompiledPolicy]) -> Held:
        """The same tier and licences with these policies only."""
        return Held(
            risk_tier=self.risk_tier,
            licenses=self.licenses,
            policies={policy.name: policy.match_digest for policy in policies},
        )


def strictest(first: RiskTier, *others: RiskTier) -> RiskTier:
    """The highest of the tiers."""
    return max((first, *others), key=lambda tier: TIER_RANK[tier])


def declared_tier(model: RegisteredModel, registry: ModelRegistry) -> RiskTier:
    """The tier of a model by itself: below the registry's default only if a classifier vouches for it."""
    default = registry.spec.default_risk_tier
    tier = model.spec.risk_tier or default
    return tier if model.spec.classified_by is not None else strictest(tier, default)


def held_under(before: Held, model: RegisteredModel, registry: ModelRegistry) -> Held:
    """The requirements for a version of the model now. A licence that a classifier vouches for replaces all others."""
    current = () if model.spec.license is None else (model.spec.license,)
    vouched = model.spec.classified_by is not None and bool(current)
    return Held(
        risk_tier=strictest(before.risk_tier, declared_tier(model, registry)),
        licenses=current if vouched else _united(before.licenses, current),
        policies=before.policies,
    )


def shown_tier(version: ModelVersion, model: RegisteredModel | None) -> RiskTier:
    """The tier that decisions on a version are for, as far as the objects alone show it."""
    return version.status.risk_tier or (model.spec.risk_tier if model else None) or "Medium"


def _united(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """Earlier licences come first, so that naming many others does not push one out."""
    if before == now and len(now) <= 1:
        return now
    spelled = {name.casefold(): name for name in (*now, *before)}
    ordered = dict.fromkeys(name.casefold() for name in (*before, *now))
    return tuple(spelled[name] for name in ordered)[:_MOST_LICENSES]
