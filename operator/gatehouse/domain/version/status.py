"""The status of a ModelVersion, built from a decision. A reconcile compares it with the existing one before a write."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from gatehouse.api.meta import ConditionedStatus
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import (
    Admission,
    ArtifactStatus,
    Gate,
    HardwareStatus,
    ModelVersionStatus,
    PolicyOutcome,
    Progress,
    Refusal,
    RunningStatus,
    TemplateStatus,
)
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.artifact.values import ArtifactRecord, CheckProgress
from gatehouse.domain.common.conditions import (
    READY,
    RECONCILING,
    RUNNING_UNCLEARED,
    STALLED,
    UNREADABLE_OBJECTS,
    ConditionState,
    merge,
)
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration
from gatehouse.domain.common.readable import UNREADABLE
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.runtimes.formats import served_file
from gatehouse.domain.serving.names import served_digest
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.gates import GateState
from gatehouse.domain.version.lifecycle import DECLARED_PHASES, READY_TO_DEPLOY, Decision, outage
from gatehouse.domain.version.outcome import conditions_after_error

__all__ = ["shut_status", "version_status"]

REGISTERED: Final = "Registered"
SHOWN_UNSAFE_FILES: Final = 20
SHOWN_NOTES: Final = 16
LONGEST_NOTE: Final = 512
SHOWN_UNREADABLE: Final = 5
MOST_POLICIES: Final = 128
"""Policies whose outcome a status shows; all policies are evaluated."""
MOST_STAGES: Final = 16
MOST_DTYPES: Final = 64
LARGEST_COUNT: Final = 2**53 - 1
MOST_ADMITTED: Final = 128
MOST_RUNNING: Final = 64
SHOWN_PODS: Final = 3

S = TypeVar("S", bound=ConditionedStatus)


def version_status(
    facts: Facts, decision: Decision, *, registry_id: int | None, template: TemplateStatus | None, now: datetime
) -> ModelVersionStatus:
    """The status of a decision, with the resulting ids and template."""
    version = facts.version
    registry = facts.registry
    artifact = _artifact(facts.artifact)
    error, before = outage(facts), version.status
    states = _conditions(facts, decision)
    if error is not None:
        states = conditions_after_error(
            before.conditions, error, now=now, grace=_grace(facts), verified_at=_verified_at(facts), decided=states
        )
        states = _with_own_cause(decision, states)
    states = list(states)
    status = ModelVersionStatus(
        observed_generation=version.metadata.generation,
        # A requested check is owed until the store answers.
        last_handled_reconcile_at=version.requested_at
        if facts.store_error is None
        else before.last_handled_reconcile_at,
        phase=decision.phase,
        cleared_for=list(decision.cleared_for),
        deployed_to=_stages(facts),
        admitted_to=_admitted_to(facts, decision),
        running=_running(facts, decision),
        claimed_at=decision.claimed_at or version.status.claimed_at,
        refusals=[Refusal.model_validate({"stage": stage, "reason": reason}) for stage, reason in decision.refusals],
        registry=_registry_name(registry),
        registry_id=None if registry_id is None else str(registry_id),
        artifact=artifact,
        recorded_digest=_other_digest(decision, artifact),
        verification=_progress(facts.rereading or facts.artifact),
        hardware=None if decision.fit is None else _hardware(decision.fit),
        template=template,
        served_digest=served_digest(version.spec, decision.record.digest if decision.record else None),
        risk_tier=_tier(facts, decision),
        policies=_policies(facts, decision),
        gates=_gates(version.status.gates, decision.gates),
        conditions=merge(before.conditions, states, generation=version.metadata.generation, now=now),
    )
    if error is None or any(state.type == READY and state.status == "True" for state in states):
        return status
    return shut_status(status, error)


def _grace(facts: Facts) -> timedelta:
    registry = facts.registry
    return duration(registry.spec.verification.grace) if isinstance(registry, ModelRegistry) else timedelta(0)


def _verified_at(facts: Facts) -> datetime | None:
    return facts.artifact.verified_at if isinstance(facts.artifact, ArtifactRecord) else None


def shut_status(status: S, error: ReconcileError) -> S:
    """The status of an object that could not be evaluated for too long: a version is cleared for no stage.

    Other kinds have no clearances: their dependents read the objects themselves. The recorded digest, the ids and the
    template of a version stay, as the version needs them after the outage.
    """
    if not isinstance(status, ModelVersionStatus):
        return status
    is_ready = bool(status.cleared_for) or status.phase == READY_TO_DEPLOY
    if not is_ready and error.reason != UNREADABLE:
        return status
    gate = Gate(
        name=REGISTERED,
        open=False,
        rule="Gatehouse reads the facts about the version again within the grace",
        found=f"{error.reason}: {error.message}"[:2048],
        wanted="a reconcile that completes",
        remedy=error.remedy[:1024] or None,
    )
    phase = status.phase
    if phase is None or phase == READY_TO_DEPLOY:
        phase = "Waiting" if error.reason == UNREADABLE else "Verifying"
    gates = [gate, *(other for other in status.gates if other.name != REGISTERED)]
    return status.model_copy(update={"phase": phase, "cleared_for": [], "gates": gates})


def _stages(facts: Facts) -> list[str]:
    """The stages that run the version, those of its registry first: they decide which services may continue."""
    known = facts.registry.spec.stages if isinstance(facts.registry, ModelRegistry) else ()
    return sorted(facts.deployed_to, key=lambda stage: (stage not in known, stage))[:MOST_STAGES]


def _policies(facts: Facts, decision: Decision) -> list[PolicyOutcome]:
    """Outcomes of policies; of very many, first those that let no running service continue, then those that deny."""
    strict = {policy.name for policy in facts.policies if policy.policy.spec.running.new_pods == "Deny"}
    weight = {"Denies": 0, "Owes": 1, "Complies": 2}
    shown = list(decision.outcomes)
    if len(shown) > MOST_POLICIES:
        shown.sort(key=lambda name: (name not in strict, weight[decision.outcomes[name]]))
        shown = sorted(shown[:MOST_POLICIES])
    return [PolicyOutcome(name=name, outcome=decision.outcomes[name]) for name in shown]


def _admitted_to(facts: Facts, decision: Decision) -> list[Admission]:
    """Where services were seen while the version was cleared, as long as the services exist.

    A service that is first seen after the clearance ended proves nothing: admission may not have admitted it.
    """
    known = facts.version.status.admitted_to
    if facts.served_in is None:
        return list(known)
    before = {(place.stage, place.namespace) for place in known}
    kept = [place for place in facts.served_in if place in before or place[0] in decision.cleared_for]
    return [Admission(stage=stage, namespace=namespace) for stage, namespace in kept[:MOST_ADMITTED]]


def _running(facts: Facts, decision: Decision) -> list[RunningStatus]:
    """The Pods that run the version, first those that run what is not approved."""
    if facts.running is None:
        return list(facts.version.status.running)
    approved = _approved_digest(decision)
    found = [
        RunningStatus(
            stage=stage,
            namespace=pods.namespace,
            service=pods.service,
            digest=pods.digest or None,
            pods=pods.pods,
            ready=pods.ready,
            approved=stage in decision.cleared_for and pods.digest == approved,
        )
        for stage, pods in facts.running
    ]
    return sorted(found, key=lambda each: each.approved)[:MOST_RUNNING]


def _approved_digest(decision: Decision) -> str | None:
    return decision.record.digest if decision.record else None


def _running_uncleared(facts: Facts, decision: Decision) -> ConditionState | None:
    """Whether something runs that is not what was approved: a service, or Pods that loaded other bytes."""
    pods = [(stage, each) for stage, each in facts.running or () if stage in decision.cleared_for]
    stages = {*facts.deployed_to, *(stage for stage, _ in facts.running or ())}
    uncleared = sorted(stages - set(decision.cleared_for))
    if uncleared:
        message = f"services run the version in {', '.join(uncleared)} uncleared; Gatehouse stops none: replace them"
        return ConditionState(RUNNING_UNCLEARED, "True", "NotCleared", message)
    approved = _approved_digest(decision)
    other = [each for _, each in pods if each.digest != approved]
    if not other:
        return None
    named = "; ".join(
        f"{each.pods} of {each.namespace}/{each.service} with {each.digest or 'no digest'}"
        for each in other[:SHOWN_PODS]
    )
    more = f" (and {len(other) - SHOWN_PODS} more services)" if len(other) > SHOWN_PODS else ""
    message = f"Pods run other bytes than the approved {approved}: {named}{more}; Gatehouse stops none: replace them"
    return ConditionState(RUNNING_UNCLEARED, "True", "OtherDigest", message)


def _tier(facts: Facts, decision: Decision) -> RiskTier | None:
    known = not isinstance(facts.model, Unmet) and not isinstance(facts.registry, Unmet)
    return decision.held.risk_tier if known else None


def _conditions(facts: Facts, decision: Decision) -> Iterable[ConditionState]:
    """Ready, derived from the gates; then abnormal conditions; then one condition for each gate."""
    yield ConditionState(READY, "True" if decision.ready else "False", decision.reason, decision.message)
    shut = decision.first_shut
    if shut is not None and decision.phase not in DECLARED_PHASES and shut.attention != "None":
        abnormal = STALLED if shut.attention == "Person" else RECONCILING
        yield ConditionState(abnormal, "True", shut.finding.reason, shut.message)
    uncleared = _running_uncleared(facts, decision)
    if uncleared is not None:
        yield uncleared
    if facts.unreadable:
        rest = len(facts.unreadable) - SHOWN_UNREADABLE
        named = "; ".join(unreadable.message for unreadable in facts.unreadable[:SHOWN_UNREADABLE])
        more = f" (and {rest} more)" if rest > 0 else ""
        yield ConditionState(UNREADABLE_OBJECTS, "True", UNREADABLE, f"unreadable objects do not count: {named}{more}")
    for gate in _shown(decision):
        yield ConditionState(gate.name, gate.status, gate.finding.reason, gate.message)


def _with_own_cause(decision: Decision, states: Iterable[ConditionState]) -> Iterable[ConditionState]:
    """The conditions of an outage. Ready has the store's reason only if nothing else keeps the version from Ready."""
    gate, own = decision.first_cause_besides_store, None
    if decision.phase in DECLARED_PHASES:
        own = ConditionState(READY, "False", decision.reason, decision.message)
    elif gate is not None:
        own = ConditionState(READY, "False", gate.finding.reason, gate.message)
    return (own if own is not None and state.type == READY else state for state in states)


def _shown(decision: Decision) -> Iterable[GateState]:
    """One gate for each condition: of gates that every stage has, the gate of the first stage that is not cleared."""
    stages = [standing.stage for standing in decision.standings]
    spoken_of = next((stage for stage in stages if stage not in decision.cleared_for), stages[-1] if stages else "")
    return (gate for gate in decision.gates if gate.stage in {"", spoken_of})


def _gates(before: Iterable[Gate], states: Iterable[GateState]) -> list[Gate]:
    """The gates to write. An unchanged gate is kept: comparing costs less than creating and validating it anew."""
    known = {(gate.name, gate.stage): gate for gate in before}
    return [_gate(known.get((state.name, state.stage)), state) for state in states]


def _gate(known: Gate | None, gate: GateState) -> Gate:
    finding = gate.finding
    flags = gate.open, gate.unknown, gate.waiting
    texts = gate.rule[:512], finding.found[:2048], finding.expected[:1024], finding.remedy[:1024] or None
    if (
        known
        and (known.open, known.unknown, known.waiting) == flags
        and (known.rule, known.found, known.wanted, known.remedy) == texts
    ):
        return known
    rule, observed, expected, remedy = texts
    return Gate(
        name=gate.name,
        stage=gate.stage,
        open=gate.open,
        unknown=gate.unknown,
        rule=rule,
        found=observed,
        wanted=expected,
        remedy=remedy,
        waiting=gate.waiting,
    )


def _artifact(artifact: ArtifactRecord | CheckProgress | None) -> ArtifactStatus | None:
    if not isinstance(artifact, ArtifactRecord) or artifact.summary is None:
        return None
    summary = artifact.summary
    return ArtifactStatus(
        # The verified bytes may be gone: the digest is the recorded one, and not the one that was found.
        digest=None if artifact.doubted else artifact.digest,
        content_source=artifact.content_source,
        total_bytes=_bounded(summary.total_bytes),
        size=human_bytes(summary.total_bytes),
        files=summary.files,
        parameters=None if summary.parameters is None else _bounded(summary.parameters),
        architecture=_cut(summary.config.architecture, 256) if summary.config else None,
        model_file=served_file(summary),
        dtypes={name[:256]: _bounded(count) for name, count in islice(summary.dtypes.items(), MOST_DTYPES)},
        unsafe_files=[file[:1024] for file in summary.unsafe_files[:SHOWN_UNSAFE_FILES]],
        notes=[note[:LONGEST_NOTE] for note in summary.notes[:SHOWN_NOTES]],
    )


def _bounded(count: int) -> int:
    """A header may claim more than a status can hold."""
    return min(count, LARGEST_COUNT)


def _cut(text: str | None, longest: int) -> str | None:
    return None if text is None else text[:longest]


def _other_digest(decision: Decision, artifact: ArtifactStatus | None) -> str | None:
    """The recorded digest, unless the artifact has the same digest."""
    recorded = decision.record.digest if decision.record else None
    return None if artifact is not None and artifact.digest == recorded else recorded


def _progress(checked: ArtifactRecord | CheckProgress | Finding | None) -> Progress | None:
    if not isinstance(checked, CheckProgress):
        return None
    return Progress(
        files_done=checked.files_done, files=checked.files, bytes_done=checked.bytes_done, bytes=checked.bytes
    )


def _hardware(fit: Fit) -> HardwareStatus:
    return HardwareStatus(
        verdict=fit.verdict,
        weights_bytes=fit.weights_bytes,
        overhead_bytes=fit.overhead_bytes,
        kv_cache_bytes_per_token=fit.kv_cache_bytes_per_token,
        max_model_len=fit.max_model_len,
        max_num_seqs=fit.max_num_seqs,
        tensor_parallel_size=fit.tensor_parallel_size,
        warnings=[warning[:512] for warning in fit.warnings[:8]],
    )


def _registry_name(registry: ModelRegistry | Unmet) -> str | None:
    if not isinstance(registry, ModelRegistry):
        return None
    return f"{registry.metadata.namespace}/{registry.metadata.name}"
