"""What the audit trail gets of a deployment: which revision was applied, what became of it, who asked and why.

The status says what the trail has. A rollback does not wait for a database: what could not be recorded is recorded
later. An operator that is stopped between the record and the status records the same fact again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gatehouse.api.model_deployment import HistoryEntry, ModelDeployment, ModelDeploymentStatus
from gatehouse.domain.audit.records import SYSTEM_ACTOR, UNKNOWN_ACTOR, FactChange

__all__ = ["owed_facts", "recorded"]


def owed_facts(deployment: ModelDeployment, status: ModelDeploymentStatus, *, now: datetime) -> Iterator[FactChange]:
    """The facts of a status that the trail does not have, in their order."""
    for entry in reversed(status.history):
        if entry.recorded is None:
            yield _fact(
                deployment,
                entry,
                now=now,
                actor=entry.actor or UNKNOWN_ACTOR,
                reason="RevisionApplied",
                message=entry.reason,
                before={"revision": entry.from_},
            )
        if entry.outcome not in {entry.recorded, "Progressing"}:
            yield _fact(
                deployment,
                entry,
                now=now,
                actor=SYSTEM_ACTOR,
                reason=f"Revision{entry.outcome}",
                message=f"revision {entry.revision} is {entry.outcome}",
                before={"outcome": entry.recorded},
            )
    back = status.rollback
    if back is not None and not back.recorded:
        yield FactChange(
            at=now,
            actor=back.actor,
            kind=ModelDeployment.info.kind,
            namespace=deployment.metadata.namespace,
            name=deployment.metadata.name,
            model=deployment.spec.model_ref.name,
            version=back.version,
            reason="RolledBack",
            message=back.reason,
            before={"revision": back.from_},
            after={"revision": back.to},
        )


def recorded(status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The status after the trail has all of its facts."""
    history = [
        entry if entry.recorded == entry.outcome else entry.model_copy(update={"recorded": entry.outcome})
        for entry in status.history
    ]
    back = status.rollback
    if back is not None and not back.recorded:
        back = back.model_copy(update={"recorded": True})
    return status.model_copy(update={"history": history, "rollback": back})


def _fact(
    deployment: ModelDeployment,
    entry: HistoryEntry,
    *,
    now: datetime,
    actor: str,
    reason: str,
    message: str,
    before: dict[str, str | None],
) -> FactChange:
    return FactChange(
        at=now,
        actor=actor,
        kind=ModelDeployment.info.kind,
        namespace=deployment.metadata.namespace,
        name=deployment.metadata.name,
        model=deployment.spec.model_ref.name,
        version=entry.version,
        digest=entry.digest,
        reason=reason,
        message=message,
        before=before,
        after={"revision": entry.revision, "outcome": entry.outcome},
    )
