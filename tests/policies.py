"""Policies, evaluations and approvals for tests, about the version of ``worlds``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import worlds
from gatehouse.api import GovernancePolicy, ModelApproval, ModelEvaluation
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.serving.names import served_digest

__all__ = ["approval", "evaluation", "policy"]


def policy(name: str = "strict", **spec: Any) -> CompiledPolicy:
    """A policy that applies to every version."""
    return CompiledPolicy(GovernancePolicy.model_validate({"metadata": {"name": name}, "spec": spec}))


def evaluation(name: str = "eval-1", *, days: float = 1, **spec: Any) -> ModelEvaluation:
    """A task evaluation of the version's bytes, ``days`` old."""
    return ModelEvaluation.model_validate(
        {
            "metadata": {"name": name, "namespace": "team", "uid": f"uid-of-{name}"},
            "spec": {
                "versionRef": {"name": "granite-1", "uid": "v-1"},
                "digest": worlds.DIGEST,
                "kind": "Task",
                "suite": "lm-eval",
                "dataset": {"name": "arc"},
                "evaluator": "dave",
                "evaluatedAt": timestamp(worlds.NOW - timedelta(days=days)),
                "metrics": [{"name": "acc", "value": "0.71"}],
                **spec,
            },
        }
    )


def approval(
    approver: str = "bob", decision: str = "Approved", *, name: str | None = None, minutes: float = 10, **spec: Any
) -> ModelApproval:
    """A decision on the version's bytes for staging, made ``minutes`` ago."""
    called = name or f"{approver}-{decision}-{minutes:g}".lower()
    return ModelApproval.model_validate(
        {
            "metadata": {
                "name": called,
                "namespace": "team",
                "uid": f"uid-of-{called}",
                "creationTimestamp": timestamp(worlds.NOW - timedelta(minutes=minutes)),
            },
            "spec": {
                "versionRef": {"name": "granite-1", "uid": "v-1"},
                "digest": worlds.DIGEST,
                "servedDigest": served_digest(worlds.version().spec, spec.get("digest", worlds.DIGEST)),
                "stage": "staging",
                "riskTier": "Low",
                "decision": decision,
                "reason": "because",
                "approver": approver,
                **spec,
            },
        }
    )
