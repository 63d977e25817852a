"""A version and its rivals, from its facts: its claim on the URI, its refusals, and objections against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.admission.contest import Contest, Objection, VersionStanding
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.common.clocks import lies_ahead, read_timestamp, timestamp
from gatehouse.domain.common.locations import folder_of
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.gates import GateState, shut_gate
from gatehouse.domain.version.stages import Standing

__all__ = ["UNCONTESTED", "claimed_at", "contest_gates", "objections", "refusals", "suspected_at"]

UNCONTESTED: Final = "Uncontested"
CONTEST_RULE: Final = "its namespace registered the URI first, and no version of the artifact is refused"


def claimed_at(facts: Facts) -> str:
    """Since when the version's namespace has had its URI.

    The claim passes from version to version of the namespace, so that it outlives the first one. An object that was
    seen before it was registered claims from now on: it may have waited for the URI since before the URI's owner came.
    """
    metadata, status = facts.version.metadata, facts.version.status
    seen = status.phase is not None and status.registry_id is None
    since = facts.now if seen or metadata.creation_timestamp is None else metadata.creation_timestamp
    uri = folder_of(facts.version.spec.artifact.uri)
    shared = (
        rival.claimed_at
        for rival in facts.rivals
        if rival.claimed_at and rival.uri == uri and rival.namespace == metadata.namespace
    )
    return min([status.claimed_at or timestamp(since.astimezone(UTC)), *shared])


def refusals(facts: Facts, artifact: GateState, stages: Sequence[Standing]) -> tuple[tuple[str, str], ...]:
    """Stage (every stage when empty) and reason of each refusal that counts for every version of the artifact.

    The version is a submitted one. Refused arguments are not about the artifact and do not count here.
    """
    refused: list[tuple[str, str]] = []
    if artifact.finding.reason in {"ArtifactChanged", "ArtifactInvalid"} or (
        artifact.finding.reason == "ArtifactMissing" and facts.kept_digest is not None
    ):
        refused.append(("", artifact.finding.reason))
    for standing in stages:
        if standing.denied:
            refused.append((standing.stage, "PolicyDenied"))
        if standing.decided is not None:
            refused.append((standing.stage, standing.decided))
    return tuple(refused)


def objections(facts: Facts, artifact: GateState, *, claimed: str) -> Mapping[str, Objection]:
    """The objections of other objects against the version, by stage."""
    registry, version = facts.registry, facts.version
    if not isinstance(registry, ModelRegistry) or not (facts.rivals or _is_ambiguous(facts)):
        return {}
    digest = facts.artifact.digest if isinstance(facts.artifact, ArtifactRecord) and artifact.open else None
    recorded = facts.kept_digest
    own = VersionStanding(
        registry=f"{registry.metadata.namespace}/{registry.metadata.name}",
        version=f"{version.metadata.namespace}/{version.metadata.name}",
        uid=version.metadata.uid,
        uri=folder_of(version.spec.artifact.uri),
        digest=recorded or digest or "",
        phase=version.spec.state,
        cleared_for=(),
        policies=(),
        shut="",
        claimed_at=claimed,
        verified=artifact.open,
        held=recorded is not None and not artifact.open,
    )
    contest = Contest((own, *facts.rivals), endpoints=facts.endpoints)
    judged = ((stage, contest.objection(own, stage)) for stage in registry.spec.stages)
    return {stage: objection for stage, objection in judged if objection is not None}


def contest_gates(against: Mapping[str, Objection], *, stages: Sequence[Standing]) -> tuple[GateState, ...]:
    """A gate for each stage with an objection; one gate for all stages where the objection is the same."""
    if against and len(set(against.values())) == 1 and len(against) == len(stages):
        return (_gate(next(iter(against.values())), stage=""),)
    return tuple(_gate(objection, stage=stage) for stage, objection in against.items())


def _gate(objection: Objection, *, stage: str) -> GateState:
    return shut_gate(
        UNCONTESTED,
        CONTEST_RULE,
        objection.finding,
        attention="Person",
        stage=stage,
    )


def suspected_at(facts: Facts) -> datetime | None:
    """The last time at which another version saw other bytes at the URI, or in it: earlier checks no longer count."""
    recorded, uri = facts.kept_digest, folder_of(facts.version.spec.artifact.uri)
    times = [
        at
        for rival in facts.rivals
        if (at := _judged_at(rival, now=facts.now)) is not None
        and rival.uri.startswith(uri)
        and (rival.held or (rival.verified and rival.uri == uri and recorded is not None and rival.digest != recorded))
    ]
    # The time of a condition is cut off to whole seconds.
    return max(times) + timedelta(seconds=1) if times else None


def _judged_at(rival: VersionStanding, *, now: datetime) -> datetime | None:
    """When a rival was judged. None for a malformed time and one that lies ahead, which would cause endless checks."""
    at = read_timestamp(rival.judged_at)
    return None if at is None or lies_ahead(at, now=now) else at


def _is_ambiguous(facts: Facts) -> bool:
    return any(len(places) > 1 for places in facts.endpoints.values())
