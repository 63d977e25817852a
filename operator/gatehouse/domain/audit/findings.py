"""What a look at a trail comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "FindingKind", "Verdict"]

FindingKind = Literal[
    "Changed", "Removed", "Inserted", "Moved", "CutOff", "Replaced", "CheckpointRemoved", "CheckpointForged", "Unsigned"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that no operator does. ``position`` is the first record that is not as it was written.

    ``until`` is the last record that the finding is about.
    """

    kind: FindingKind
    position: int
    until: int
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.kind} at record {self.position}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one registry's trail.

    ``records`` were read, from ``first`` to ``last`` (0 for none); ``summarised`` is the last one that a summary stands
    for. ``checkpoints`` agreed with a record, the newest of them at ``vouched``. ``notes`` tell what is no fault.
    """

    registry: str
    records: int
    first: int
    last: int
    summarised: int
    checkpoints: int
    vouched: int
    findings: Sequence[Finding]
    notes: Sequence[str]

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def first_bad(self) -> Finding | None:
        """The finding with the lowest position."""
        return min(self.findings, key=lambda finding: finding.position, default=None)
