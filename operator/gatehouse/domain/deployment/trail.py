"""What the audit trail gets of a deployment: which revision was applied, what became of it, who asked and why.

The facts are computed from two statuses, so they are recorded once for each status that is written. An operator that is
stopped between the record and the status records them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gatehouse.api.model_deployment import HistoryEntry, ModelDeployment, ModelDeploymentStatus
from gatehouse.domain.audit.records import SYSTEM_ACTOR, UNKNOWN_ACTOR, FactChange

__all__ = ["deployment_facts"]


def deployment_facts(
    deployment: ModelDeployment, before: ModelDeploymentStatus, after: ModelDeploymentStatus, *, now: datetime
) -> Iterator[FactChange]:
    """The facts that changed between two statuses."""
    known = {(entry.revision, entry.at): entry.outcome for entry in before.history}
    for entry in reversed(after.history):
        was = known.get((entry.revision, entry.at))
        if was is None:
            yield _fact(
                deployment,
                entry,
                now=now,
                actor=entry.actor or UNKNOWN_ACTOR,
                reason="RevisionApplied",
                message=entry.reason,
                before={"revision": entry.from_},
            )
        if entry.outcome not in {was, "Progressing"}:
            yield _fact(
                deployment,
                entry,
                now=now,
                actor=SYSTEM_ACTOR,
                reason=f"Revision{entry.outcome}",
                message=f"revision {entry.revision} is {entry.outcome}",
                before={"outcome": was},
            )
    if after.rollback is not None and after.rollback != before.rollback:
        back = after.rollback
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
