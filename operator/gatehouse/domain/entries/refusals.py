"""Why the registry does not write an entry."""

from __future__ import annotations

from gatehouse.domain.common.errors import Stalled

__all__ = ["EntryExists", "EntryGoverned", "EntryMissing", "ParentMissing"]


class EntryExists(Stalled):
    """Another entry has the name or the external id."""


class EntryMissing(Stalled):
    """No entry of the kind has the id, or the caller may not read the entry."""


class ParentMissing(Stalled):
    """No model, version or other entry has the id of the parent."""


class EntryGoverned(Stalled):
    """A Kubernetes object decides this member of the entry."""
