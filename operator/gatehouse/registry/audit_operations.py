"""What is asked of a registry's audit trail, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Summary
from gatehouse.domain.audit.policies import PolicyText
from gatehouse.domain.audit.records import FactDocument, StoredRecord
from gatehouse.registry.operations import Read, Write

__all__ = [
    "AppendFacts",
    "LoadCheckpoints",
    "LoadPolicies",
    "LoadRecords",
    "LoadStanding",
    "MarkCopied",
    "RecordPolicies",
    "SaveCheckpoint",
    "SummariseRecords",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStanding(Read[AuditStanding]):
    """Where a trail stands."""

    registry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecords(Read[Sequence[StoredRecord]]):
    """A page of records with positions above ``after``, by position."""

    registry: str
    after: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheckpoints(Read[Sequence[Checkpoint]]):
    """A page of the checkpoints that were not copied to ``not_at``, by position."""

    registry: str
    not_at: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicies(Read[Mapping[str, PolicyText]]):
    """What a trail last said of each policy, by name."""

    registry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPolicies(Write[None]):
    """Records how ``policies``, which are all there are, differ from what the trail last said."""

    registry: str
    policies: Sequence[PolicyText]
    at: datetime

    @property
    def weight(self) -> int:
        return sum(len(policy.spec) for policy in self.policies)

    @property
    def order(self) -> tuple[str, ...]:
        return ("policies", self.registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendFacts(Write[None]):
    """Appends records that explain no row."""

    registry: str
    facts: Sequence[FactDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCheckpoint(Write[None]):
    """Adds a checkpoint, if the trail still is the one that was signed."""

    checkpoint: Checkpoint

    @property
    def order(self) -> tuple[str, ...]:
        return ("checkpoint", self.checkpoint.registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkCopied(Write[None]):
    """Keeps in mind that copies of checkpoints were put somewhere."""

    registry: str
    seqs: Sequence[int]
    uri: str

    @property
    def order(self) -> tuple[str, ...]:
        return ("copied", self.registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummariseRecords(Write[int]):
    """Deletes the records up to that of the summary, and appends the ``fact`` that tells of it; how many those were."""

    summary: Summary
    fact: FactDocument

    @property
    def order(self) -> tuple[str, ...]:
        return ("summarise", self.summary.registry)
