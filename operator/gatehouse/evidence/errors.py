"""Errors of writing and verifying evidence: a branch of the tree in :mod:`gatehouse.errors`."""

from __future__ import annotations

from gatehouse.errors import ActionError, ConditionNotMet

__all__ = ["BundleBroken", "EvidenceError", "NoEvidence"]


class EvidenceError(ActionError):
    """The evidence cannot be made or verified."""


class NoEvidence(EvidenceError, ConditionNotMet):
    """No registry keeps the version, or no digest is recorded yet."""


class BundleBroken(EvidenceError):
    """A file is a changed bundle, or not a bundle."""
