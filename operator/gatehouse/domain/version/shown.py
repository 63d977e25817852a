"""What clients read of the last decision on a version, as the version's row keeps it: a short JSON text.

The row is written for other changes; only a change of what a client may act on makes a write of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from gatehouse.api.model_version import Phase
from gatehouse.domain.audit.records import canonical
from gatehouse.domain.entries.measurements import Estimate, Measurement
from gatehouse.domain.version.records import VersionRecord

__all__ = ["ShownDecision", "owes_write"]

LONGEST: Final = 1_000
"""Characters of the message that are kept."""
_MOVING: Final[frozenset[Phase]] = frozenset({"Verifying", "Waiting"})
"""Phases whose cause changes often, or with an outage: such a change alone is not worth a write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDecision:
    """The cleared stages, the verdict on the fit and its figures, the first shut gate with its reason and its message,
    and what evaluations measured. ``estimate`` is None where the row keeps none."""

    cleared_for: tuple[str, ...] = ()
    fit: str = ""
    reason: str = ""
    blocked_by: str = ""
    estimate: Estimate | None = None
    measured: tuple[Measurement, ...] = ()

    def text(self) -> str:
        """Canonical JSON text; :meth:`parse` reads the text."""
        return canonical(
            {
                "blockedBy": self.blocked_by.encode("utf-8", "backslashreplace").decode()[:LONGEST],
                "clearedFor": list(self.cleared_for),
                "fit": self.fit,
                "reason": self.reason,
                **({} if self.estimate is None else {"estimate": self.estimate.wire()}),
                **({"measured": [one.wire() for one in self.measured]} if self.measured else {}),
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
                estimate=Estimate.read(kept["estimate"]) if "estimate" in kept else None,
                measured=tuple(Measurement.read(one) for one in kept.get("measured", ())),
            )
        except (ValueError, TypeError, AttributeError, KeyError):
            return cls()


def owes_write(record: VersionRecord, row: VersionRecord) -> bool:
    """Whether the record of a decision must be written over the row.

    A row from before the decision was shown is written with its next change: a new release writes no rows at its start.
    A message that changes while its reason stays is written with the next change, too, and so are figures that a row
    does not show yet. What evaluations measured is part of the record of the decision, whose change is written.
    """
    if record != row:
        return True
    if row.shown is None or record.shown == row.shown or record.phase in _MOVING:
        return False
    now, before = ShownDecision.parse(record.shown), ShownDecision.parse(row.shown)
    return _essence(now) != _essence(before) or before.estimate not in {None, now.estimate}


def _essence(shown: ShownDecision) -> tuple[tuple[str, ...], str, str]:
    return shown.cleared_for, shown.fit, shown.reason
