"""Why there is no evidence, or why a file is none: a branch of the tree in :mod:`gatehouse.errors`."""

from __future__ import annotations

from gatehouse.errors import ActionError, ConditionNotMet

__all__ = ["BundleBroken", "EvidenceError", "NoEvidence"]


class EvidenceError(ActionError):
    """Evidence cannot be had."""


class NoEvidence(EvidenceError, ConditionNotMet):
    """There is nothing yet that a version could be held to."""


class BundleBroken(EvidenceError):
    """A file is not the bundle that was written, or never was one."""
