"""The decision on a ModelVersion: a pure function of facts. No state machine can get stuck.

``decide`` evaluates each gate, finds the phase in a table where the first match wins, and returns the row and history
entry, whether the serving template is owed, and when to check the artifact again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from typing import Final

import orjson

from gatehouse.api.hardware_profile import HardwareProfile, HardwareProfileSpec
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import Phase
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.admission.contest import Objection
from gatehouse.domain.artifact.values import ArtifactRecord, ArtifactSummary, CheckProgress
from gatehouse.domain.audit.records import SYSTEM_ACTOR, FactChange
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.entries.measurements import MOST_MEASUREMENTS, MOST_METRICS, Estimate, Measurement
from gatehouse.domain.governance.evaluations import Results, counting
from gatehouse.domain.governance.held import Held
from gatehouse.domain.hardware.fit import SHIPPED_IMAGE, Fit, fit
from gatehouse.domain.version.claims import claimed_at, contest_gates, objections, refusals, suspected_at
from gatehouse.domain.version.decision_record import fact_changes, held_to, judgement
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.gates import (
    NOT_OWED,
    GateState,
    artifact_gate,
    hardware_gate,
    registered_gate,
    template_gate,
)
from gatehouse.domain.version.records import StateChange, VersionRecord
from gatehouse.domain.version.row_recovery import ARTIFACT_VERIFIED
from gatehouse.domain.version.schedule import next_check
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.domain.version.stages import Outcome, Standing, next_expiry, outcomes, standings
from gatehouse.domain.version.withdrawals import gone_results, results_gone

__all__ = ["READY_TO_DEPLOY", "Decision", "check_due", "decide", "nothing_known", "outage"]

REBUILT: Final = "Rebuilt"
"""Reason in the history of a row that a database lost."""
READY_TO_DEPLOY: Final[Phase] = "Ready to Deploy"
DECLARED_PHASES: Final[Mapping[str, str]] = {
    "Draft": "the author has not submitted the version; set spec.state to Submitted",
    "Deprecated": "the author advises against new deployments of the version",
    "Archived": "the version, or its model, is archived",
}
"""Phases that the author declares, and what they mean."""
_REFUSED: Final[frozenset[Phase]] = frozenset({"Policy Denied", "Rejected", "Changes Requested"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision that follows from the facts.

    ``reason`` and ``message`` are what a person should read first. ``record`` is the desired row, None when no row is
    owed; ``change`` is its history entry, None when nothing changed. ``check_due`` is when the artifact is due; None
    when only a change enqueues the version again. ``standings`` is how the version stands before each stage, and
    ``outcomes`` has the outcome of each policy. ``facts`` are the changed facts for the audit trail. ``claimed_at`` is
    since when its namespace has had its URI, None while the version is not registered; ``refusals`` are the refusals
    that count for every version of its artifact. ``held`` is what the version is held to from now on.
    """

    phase: Phase
    reason: str
    message: str
    gates: tuple[GateState, ...]
    fit: Fit | None
    cleared_for: tuple[str, ...]
    record: VersionRecord | None
    change: StateChange | None
    check_due: datetime | None
    standings: tuple[Standing, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    facts: tuple[FactChange, ...] = ()
    claimed_at: str | None = None
    refusals: tuple[tuple[str, str], ...] = ()
    held: Held = field(default_factory=Held)

    @property
    def ready(self) -> bool:
        """Whether every gate of at least the first stage is open."""
        return self.phase == READY_TO_DEPLOY

    @property
    def first_shut(self) -> GateState | None:
        """The gate to report first: of those of every stage, and those of the first stage."""
        return _first_shut(self.gates, self.standings)

    @property
    def first_cause_besides_store(self) -> GateState | None:
        """The first shut gate that stays shut whatever the store answers: judged, and not the artifact's own gate."""
        judged = [gate for gate in self.gates if not gate.waiting and gate.name != ARTIFACT_VERIFIED]
        return _first_shut(judged, self.standings)


@dataclass(frozen=True, slots=True)
class _View:
    facts: Facts
    registered: GateState
    artifact: GateState
    hardware: GateState
    first: Standing | None
    template: GateState
    objection: Objection | None

    @property
    def declared(self) -> str:
        return _declared(self.facts)

    @property
    def denied(self) -> bool:
        """A policy denies the version, or KServe's or Gatehouse's rules on arguments do."""
        refused = not self.template.open and self.template.finding.reason != NOT_OWED
        return refused or (self.first is not None and self.first.denied)

    def decided(self, decision: str) -> bool:
        """Whether that decision stands for the first stage."""
        return self.first is not None and self.first.decided == decision


_PHASES: Final[tuple[tuple[Phase, Callable[[_View], bool]], ...]] = (
    ("Archived", lambda view: view.declared == "Archived"),
    ("Deprecated", lambda view: view.declared == "Deprecated"),
    ("Draft", lambda view: view.declared == "Draft"),
    ("Waiting", lambda view: not view.registered.open or isinstance(view.facts.profile, Unmet)),
    ("Artifact Missing", lambda view: view.artifact.finding.reason == "ArtifactMissing"),
    ("Artifact Invalid", lambda view: view.artifact.finding.reason == "ArtifactInvalid"),
    ("Artifact Changed", lambda view: view.artifact.finding.reason == "ArtifactChanged"),
    ("Verifying", lambda view: not view.artifact.open),
    ("Does Not Fit", lambda view: view.hardware.shut),
    ("Policy Denied", lambda view: view.denied),
    ("Rejected", lambda view: view.decided("Rejected")),
    ("Changes Requested", lambda view: view.decided("ChangesRequested")),
    ("Waiting", lambda view: view.objection is not None),
    ("Pending Review", lambda view: view.first is None or not view.first.open),
    (READY_TO_DEPLOY, lambda _: True),
)


def decide(facts: Facts) -> Decision:
    """The phase, gates, row and next check that follow from the facts. Never raises, and reads nothing else."""
    version_fit = _fit(facts)
    registered, artifact = registered_gate(facts), artifact_gate(facts)
    if facts.artifact is None and not registered.open:
        artifact = replace(artifact, waiting=True)
    hardware = hardware_gate(facts, version_fit)
    held, gone = held_to(facts), gone_results(facts)
    stages = standings(
        facts,
        version_fit,
        verified=registered.open and artifact.open and facts.wants_artifact,
        held=held,
        gone=results_gone(gone, version=facts.version),
    )
    first = next(iter(stages), None)
    claimed = claimed_at(facts) if facts.is_registered else None
    against = {} if claimed is None else objections(facts, artifact, claimed=claimed)
    contested = first is not None and first.stage in against
    owed = (
        registered.open and artifact.open and not hardware.shut and first is not None and first.open and not contested
    )
    template = template_gate(facts, owed=owed)
    objection = against.get(first.stage) if first is not None else None
    view = _View(facts, registered, artifact, hardware, first, template, objection)
    phase = next(name for name, holds in _PHASES if holds(view))
    by_stage, by_others = tuple(_stage_gates(stages)), contest_gates(against, stages=stages)
    # Decisions and policies on the version itself come before objections of others.
    between = (*by_stage, *by_others) if phase in _REFUSED else (*by_others, *by_stage)
    gates = (registered, artifact, hardware, *between, template)
    cleared_for = _cleared(stages, against) if phase == READY_TO_DEPLOY else ()
    said = outcomes(facts.policies, stages)
    judged = judgement(facts, held=held, gone=gone, cleared_for=cleared_for, outcomes=said)
    shut = _first_shut(gates, stages)
    seen = ShownDecision(
        cleared_for=cleared_for,
        fit=version_fit.verdict if version_fit else "",
        reason=shut.finding.reason if shut else "",
        blocked_by=shut.message if shut else "",
        estimate=_estimate(version_fit),
        measured=_measured(facts),
    )
    record = _record(facts, phase, artifact_open=artifact.open, governance=judged, shown=seen)
    reason, message = headline = _headline(phase, shut, cleared_for)
    return Decision(
        phase=phase,
        reason=reason,
        message=message,
        gates=gates,
        fit=version_fit,
        cleared_for=cleared_for,
        record=record,
        change=_change(facts, record, headline),
        check_due=min(
            (at for at in (check_due(facts), next_expiry(facts, record.digest if record else None)) if at),
            default=None,
        ),
        standings=stages,
        outcomes=said,
        facts=fact_changes(facts, facts.row.governance if facts.row else None, judged) if record else (),
        claimed_at=claimed,
        refusals=refusals(facts, artifact, stages) if facts.wants_artifact else (),
        held=held,
    )


def _estimate(fit: Fit | None) -> Estimate | None:
    """What the fit estimates, if the version can run."""
    if fit is None or fit.verdict not in {"Fits", "Tight"}:
        return None
    return Estimate(
        accelerators=fit.tensor_parallel_size,
        max_model_len=fit.max_model_len or 0,
        sequences=fit.sequences or 0,
    )


def _measured(facts: Facts) -> tuple[Measurement, ...]:
    """What others than the submitter measured of exactly these bytes, the newest first."""
    digest = facts.recorded_digest
    if digest is None and isinstance(facts.artifact, ArtifactRecord):
        digest = facts.artifact.digest
    if digest is None or not facts.evaluations:
        return ()
    results = Results(version=facts.version, digest=digest, now=facts.now, evaluations=facts.evaluations)
    return tuple(_measurement(evaluation) for evaluation in counting(results)[:MOST_MEASUREMENTS])


def _measurement(evaluation: ModelEvaluation) -> Measurement:
    spec = evaluation.spec
    return Measurement(
        name=evaluation.metadata.name,
        kind=spec.kind,
        suite=spec.suite,
        task=spec.task or "",
        dataset=spec.dataset.name,
        at=timestamp(spec.evaluated_at),
        metrics=tuple((metric.name, float(metric.value)) for metric in spec.metrics[:MOST_METRICS]),
    )


def _declared(facts: Facts) -> str:
    archived = isinstance(facts.model, RegisteredModel) and facts.model.spec.state == "Archived"
    return "Archived" if archived else facts.version.spec.state


def _stage_gates(stages: Sequence[Standing]) -> Iterator[GateState]:
    for standing in stages:
        yield standing.policy
        yield standing.approval


def _cleared(stages: Sequence[Standing], against: Mapping[str, Objection]) -> tuple[str, ...]:
    """The cleared stages: a later stage is cleared only if the earlier ones are."""
    cleared = takewhile(lambda standing: standing.open and standing.stage not in against, stages)
    return tuple(standing.stage for standing in cleared)


def _first_shut(gates: Sequence[GateState], stages: Sequence[Standing]) -> GateState | None:
    first = stages[0].stage if stages else ""
    return next((gate for gate in gates if gate.shut and gate.stage in {"", first}), None)


def _fit(facts: Facts) -> Fit | None:
    record = facts.artifact
    if (
        not isinstance(record, ArtifactRecord)
        or record.summary is None
        or not isinstance(facts.profile, HardwareProfile)
    ):
        return None
    serving, registry, profile = facts.version.spec.serving, facts.registry, facts.profile.spec
    image = registry.spec.serving.vllm_image if isinstance(registry, ModelRegistry) else SHIPPED_IMAGE
    length, arguments = serving.max_model_len, tuple(serving.extra_args)
    # A fit does not read the other files, in which the versions of a model differ.
    summary = replace(
        record.summary, files=0, total_bytes=0, parameters=None, model_file=None, unsafe_files=(), notes=()
    )
    try:
        said = orjson.dumps((summary, profile.accelerator.wire(), profile.serving.wire(), image, length))
    except orjson.JSONEncodeError:  # counts beyond 64 bits, which a hostile file may have
        return _computed(_FitCase(b"", arguments, summary, profile, image, length))
    return _remembered(_FitCase(said, arguments, summary, profile, image, length))


@dataclass(frozen=True, slots=True)
class _FitCase:
    """The input of a fit. Cases are compared by ``said``, the rest as text, and by the arguments."""

    said: bytes
    arguments: tuple[str, ...]
    summary: ArtifactSummary = field(compare=False)
    profile: HardwareProfileSpec = field(compare=False)
    image: str = field(compare=False)
    length: int | None = field(compare=False)


def _computed(case: _FitCase) -> Fit:
    return fit(
        case.summary,
        case.profile,
        vllm_image=case.image,
        requested_max_model_len=case.length,
        arguments=case.arguments,
    )


_remembered: Final = lru_cache(maxsize=256)(_computed)
"""Versions of a model mostly differ only in their bytes, and a fit takes a third of the time of a decision."""


def _record(
    facts: Facts, phase: Phase, *, artifact_open: bool, governance: str, shown: ShownDecision
) -> VersionRecord | None:
    version, row = facts.version, facts.row
    if not facts.is_registered:
        return None
    artifact = facts.artifact if isinstance(facts.artifact, ArtifactRecord) else None
    return VersionRecord(
        id=row.id if row else None,
        model_id=row.model_id if row else None,
        model=version.spec.model_ref.name,
        version=version.spec.version,
        namespace=version.metadata.namespace,
        object_name=version.metadata.name,
        uid=version.metadata.uid,
        uri=version.spec.artifact.uri,
        state="ARCHIVED" if phase == "Archived" else "LIVE",
        phase=phase,
        digest=facts.kept_digest or (artifact.digest if artifact and artifact_open else None),
        hardware_profile=version.spec.hardware_profile_ref.name,
        artifact=artifact or _as_doubted(facts),
        spec=facts.spec_json,
        governance=governance,
        shown=shown.text(),
    )


def _as_doubted(facts: Facts) -> ArtifactRecord | None:
    """The row's record of the artifact during a check, which keeps for later processes that the listing differs."""
    known = facts.row.artifact if facts.row else None
    differs = isinstance(facts.artifact, CheckProgress) and facts.artifact.differs
    return replace(known, doubted=True) if known is not None and differs else known


def _headline(phase: Phase, shut: GateState | None, stages: tuple[str, ...]) -> tuple[str, str]:
    """Reason and message of Ready and of the history: what a person should read first."""
    if phase in DECLARED_PHASES:
        return phase, DECLARED_PHASES[phase]
    if shut is not None:
        return shut.finding.reason, shut.message
    return "ReadyToDeploy", f"every gate is open for {', '.join(stages)}"


def _change(facts: Facts, record: VersionRecord | None, headline: tuple[str, str]) -> StateChange | None:
    row = facts.row
    if record is None or (row is not None and (row.phase, row.digest) == (record.phase, record.digest)):
        return None
    reason, message = headline
    lost = facts.is_lost
    if lost:
        reason, message = REBUILT, f"the database had lost the row; Gatehouse created it from the object: {message}"
    return StateChange(
        at=facts.now,
        actor=SYSTEM_ACTOR,
        before=facts.version.status.phase if lost else row.phase or None if row else None,
        after=record.phase,
        digest=record.digest,
        reason=reason,
        message=message,
    )


def nothing_known(facts: Facts) -> ReconcileError | None:
    """Why nothing can be decided, so that the status stands for the grace; None where the facts suffice.

    A lost row, or a version from another registry, says nothing about the artifact: the last known status stands until
    the artifact is verified anew.
    """
    progress = facts.artifact
    if facts.is_lost and isinstance(progress, CheckProgress):
        return Transient(
            reason="RowLost",
            message="the database has lost the row; Gatehouse creates it again when the artifact is hashed "
            f"({progress.files_done} of {progress.files} files)",
        )
    established = facts.known_ids.version is not None or facts.version.status.template is not None
    return facts.store_error if facts.artifact is None and established else None


def outage(facts: Facts) -> ReconcileError | None:
    """The store's error, if the last known status stands for the grace; None where a gate reports the problem.

    An outage does not excuse files that are known to differ, or a policy that requires files read.
    """
    record = facts.artifact
    doubted = isinstance(record, ArtifactRecord) and record.doubted
    return None if doubted or isinstance(facts.rereading, Finding) else facts.store_error


def check_due(facts: Facts) -> datetime | None:
    """When the artifact is due; None when it was not checked yet, must not be checked, or is being read again.

    The artifact is due at once when the store showed other files, or another version has since seen other bytes there.
    """
    if not isinstance(facts.artifact, ArtifactRecord) or not isinstance(facts.registry, ModelRegistry):
        return None
    if not facts.watches_artifact or isinstance(facts.rereading, CheckProgress):
        return None
    due = next_check(
        facts.artifact,
        now=facts.now,
        uid=facts.version.metadata.uid,
        interval=duration(facts.registry.spec.verification.interval),
        recorded_digest=facts.recorded_digest,
    )
    suspected = suspected_at(facts)
    if facts.artifact.doubted:
        return facts.now
    return due if suspected is None or facts.artifact.verified_at >= suspected else min(due, facts.now)
