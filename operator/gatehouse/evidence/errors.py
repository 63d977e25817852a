"""Why there is no evidence, or why a file is none."""

from __future__ import annotations

__all__ = ["BundleBroken", "EvidenceError", "NoEvidence"]


class EvidenceError(Exception):
    """Evidence cannot be had."""


class NoEvidence(EvidenceError):
    """There is nothing yet that a version could be held to."""


class BundleBroken(EvidenceError):
    """A file is not the bundle that was written, or never was one."""
