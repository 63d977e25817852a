"""What a policy has to say against a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Weight"]

Weight = Literal["Denied", "Owed"]
"""Denied: the version is not what the policy wants. Owed: something is still to come, such as an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule of one policy that does not hold. ``enforced`` findings shut the gate, others are only reported.

    ``policy`` is empty where what is missing is a policy.
    """

    policy: str
    rule: str
    weight: Weight
    enforced: bool
    reason: str
    found: str
    wanted: str
    remedy: str
