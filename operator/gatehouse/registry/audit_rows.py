"""The audit trail of one registry, as the controllers see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gatehouse.domain.audit.chain import SUMMARISED, TRAIL
from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Signer, Summary
from gatehouse.domain.audit.policies import PolicyText
from gatehouse.domain.audit.records import SYSTEM_ACTOR, FactChange, StoredRecord, fact_document
from gatehouse.registry.audit_operations import (
    AppendFacts,
    LoadCheckpoints,
    LoadPolicies,
    LoadRecords,
    LoadStanding,
    MarkCopied,
    RecordPolicies,
    SaveCheckpoint,
    SummariseRecords,
)
from gatehouse.registry.database import Database

__all__ = ["AuditRows"]


class AuditRows:
    """Every method may raise what :meth:`Database.submit` raises."""

    def __init__(self, *, registry: str, database: Database) -> None:
        self._registry = registry
        self._database = database

    async def append(self, facts: Sequence[FactChange]) -> None:
        """Appends records of facts that change no row."""
        documents = [fact_document(fact) for fact in facts]
        if documents:
            await self._database.submit(AppendFacts(registry=self._registry, facts=documents))

    async def policies(self) -> Mapping[str, PolicyText]:
        """What was last recorded of each policy, by name."""
        return await self._database.submit(LoadPolicies(registry=self._registry))

    async def record_policies(self, policies: Sequence[PolicyText], *, at: datetime) -> None:
        """Appends records of how the policies, which are all there are, differ from what was last recorded."""
        await self._database.submit(RecordPolicies(registry=self._registry, policies=tuple(policies), at=at))

    async def standing(self) -> AuditStanding:
        """The newest record, the newest checkpoint, and the first record that is there."""
        return await self._database.submit(LoadStanding(registry=self._registry))

    async def records(self, *, after: int, limit: int) -> Sequence[StoredRecord]:
        """A page of records with positions above ``after``."""
        return await self._database.submit(LoadRecords(registry=self._registry, after=after, limit=limit))

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keeps a checkpoint.

        Raises:
            Transient: RowConflict, the trail or its newest checkpoint is another by now.
        """
        await self._database.submit(SaveCheckpoint(checkpoint=checkpoint))

    async def checkpoints_to_copy(self, *, uri: str, limit: int) -> Sequence[Checkpoint]:
        """Checkpoints that have no copy at ``uri`` yet, the oldest first."""
        return await self._database.submit(LoadCheckpoints(registry=self._registry, not_at=uri, limit=limit))

    async def mark_copied(self, seqs: Sequence[int], *, uri: str) -> None:
        """Copies of these checkpoints are at ``uri``."""
        await self._database.submit(MarkCopied(registry=self._registry, seqs=tuple(seqs), uri=uri))

    async def summarise(self, summary: Summary, *, signer: Signer, at: datetime) -> int:
        """Deletes the records up to that of the summary, and appends the one that stands for them; how many it deleted.

        None when a checkpoint does not cover them yet, or they are gone already.
        """
        fact = FactChange(
            at=at,
            actor=SYSTEM_ACTOR,
            kind=TRAIL,
            namespace=self._registry.partition("/")[0],
            name=self._registry.partition("/")[2],
            reason=SUMMARISED,
            message=f"records 1 to {summary.to} were older than the retention",
            after=signer.summary(summary),
        )
        return await self._database.submit(SummariseRecords(summary=summary, fact=fact_document(fact)))
