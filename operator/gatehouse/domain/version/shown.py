"""What clients read of the last decision on a version, as the version's row keeps it: a short JSON text.

The row is written for other changes; only a change of what a client may act on makes a write of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from gatehouse.api.model_version import Phase
from gatehouse.domain.audit.records import canonical
from gatehouse.domain.version.records import VersionRecord

__all__ = ["ShownDecision", "owes_write"]

LONGEST: Final = 1_000
"""Characters of the message that are kept."""
_MOVING: Final[frozenset[Phase]] = frozenset({"Verifying", "Waiting"})
"""Phases whose cause changes often, or with an outage: such a change alone is not worth a write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDecision:
    """The cleared stages, the verdict on the fit, and the first shut gate: its reason and its message."""

    cleared_for: tuple[str, ...] = ()
    fit: str = ""
    reason: str = ""
    blocked_by: str = ""

    def text(self) -> str:
        """Canonical JSON text; :meth:`parse` reads the text."""
        return canonical(
            {
                "blockedBy": self.blocked_by.encode("utf-8", "backslashreplace").decode()[:LONGEST],
                "clearedFor": list(self.cleared_for),
                "fit": self.fit,
                "reason": self.reason,
            }
        )

    @classmethod
    def parse(cls, text: str | None) -> ShownDecision:
        """Nothing for a row from before this was recorded, or for text that another program wrote."""
        try:
            kept = orjson.loads(text or "{}")
            return cls(
                cleared_for=tuple(str(stage) for stage in kept.get("clearedFor", ())),
                fit=str(kept.get("fit", "")),
                reason=str(kept.get("reason", "")),
                blocked_by=str(kept.get("blockedBy", "")),
            )
        except (ValueError, TypeError, AttributeError):
            return cls()


def owes_write(record: VersionRecord, row: VersionRecord) -> bool:
    """Whether the record of a decision must be written over the row.

    A row from before the decision was shown is written with its next change: a new release writes no rows at its start.
    A message that changes while its reason stays is written with the next change, too.
    """
    if record != row:
        return True
    if row.shown is None or record.shown == row.shown or record.phase in _MOVING:
        return False
    return _essence(record.shown) != _essence(row.shown)


def _essence(text: str | None) -> tuple[tuple[str, ...], str, str]:
    shown = ShownDecision.parse(text)
    return shown.cleared_for, shown.fit, shown.reason
