"""The effect of a draft of a policy: every version is evaluated as the operator does, with and without the draft.

The row of the registry holds facts that no object holds: config.json, and who signed the artifact. Without the row,
rules about these facts are evaluated as if the artifact had none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final, Literal

from gatehouse.actions.snapshot import Snapshot
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_registry import ModelRegistry, ModelRegistrySpec, protected_stages
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.artifact.values import ArtifactRecord, ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.held import Held, held_under, shown_tier
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.stages import Standing, standings
from gatehouse.errors import Refused

__all__ = ["Change", "Judge", "State", "Trial", "compiled_drafts"]

State = Literal["Cleared", "Owed", "Denied", "Rejected"]
"""Cleared: every gate up to the stage is open. Owed: a gate can still open. Else a policy or a person objects."""

_UNKNOWN: Final = Unmet(finding=Finding(reason="NotRead", found="not read", expected="", remedy=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A stage of a version that the draft would change. ``why`` is the text of the first shut gate."""

    namespace: str
    name: str
    stage: str
    before: State
    after: State
    why: str

    @property
    def loses(self) -> bool:
        """Whether the version would no longer be cleared."""
        return self.before == "Cleared"

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "stage": self.stage,
            "before": self.before,
            "after": self.after,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result for all versions. ``applies`` counts the evaluated versions that the drafts match."""

    changes: tuple[Change, ...]
    judged: int
    applies: int
    not_verified: int

    @property
    def losses(self) -> int:
        """How many stages would be lost, over all versions."""
        return sum(change.loses for change in self.changes)

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {
            "judged": self.judged,
            "applies": self.applies,
            "notVerified": self.not_verified,
            "loses": self.losses,
            "changes": [change.wire() for change in self.changes],
        }


def compiled_drafts(drafts: Iterable[GovernancePolicy], *, enforce: bool) -> tuple[CompiledPolicy, ...]:
    """The compiled drafts; with ``enforce`` every draft is in mode Enforce.

    Raises Refused with rule, line and column of every expression that does not compile.
    """
    compiled = []
    for draft in drafts:
        spec = draft.spec.model_copy(update={"mode": "Enforce"}) if enforce else draft.spec
        compiled.append(CompiledPolicy(draft.model_copy(update={"spec": spec})))
    problems = [
        f"{policy.name}: rule {rule} does not compile: line {problem.line}, column {problem.column}: {problem.message}"
        for policy in compiled
        for rule, problem in policy.problems.items()
    ]
    if problems:
        raise Refused("\n".join(problems))
    return tuple(compiled)


class Judge:
    """Evaluates the versions of a snapshot with drafts, each in place of the policy of its name or beside the others.

    ``artifacts`` are the records of the rows, by uid of the version.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        drafts: Sequence[CompiledPolicy],
        *,
        now: datetime,
        artifacts: Mapping[str, ArtifactRecord] | None = None,
    ) -> None:
        self._now = now
        self._artifacts = artifacts or {}
        self._drafts = tuple(drafts)
        self._names = frozenset(draft.name for draft in drafts)
        self._current = snapshot.compiled
        self._drafted = (*(policy for policy in self._current if policy.name not in self._names), *drafts)
        self._snapshot = snapshot

    def trial(self, versions: Iterable[ModelVersion]) -> Trial:
        """The changes of these versions. Versions that are not verified cannot change."""
        changes: list[Change] = []
        judged = applies = not_verified = 0
        for version in versions:
            model = self._snapshot.model_of(version)
            if model is None or not _is_verified(version):
                not_verified += 1
                continue
            judged += 1
            applies += bool(self._applying(self._drafts, version))
            changes += self._changes(version, model)
        return Trial(changes=tuple(changes), judged=judged, applies=applies, not_verified=not_verified)

    def _changes(self, version: ModelVersion, model: RegisteredModel) -> Iterator[Change]:
        before = self._standings(version, model, self._current)
        after = self._standings(version, model, self._drafted)
        for stage, (old, new) in enumerate(zip(_states(before), _states(after), strict=True)):
            if old != new:
                yield Change(
                    namespace=version.metadata.namespace,
                    name=version.metadata.name,
                    stage=after[stage].stage,
                    before=old,
                    after=new,
                    why=_why(after[: stage + 1]),
                )

    def _standings(
        self, version: ModelVersion, model: RegisteredModel, policies: tuple[CompiledPolicy, ...]
    ) -> tuple[Standing, ...]:
        uid = version.metadata.uid
        fit = _fit(version)
        registry = self._snapshot.registry_of(version) or _registry_of(version)
        held = held_under(Held(risk_tier=shown_tier(version, model)), model, registry)
        facts = Facts(
            now=self._now,
            version=version,
            spec_json="{}",
            model=model,
            registry=registry,
            profile=_UNKNOWN,
            artifact=self._artifacts.get(uid) or _record(version, now=self._now),
            policies=self._applying(policies, version),
            policy_names=frozenset(policy.name for policy in policies),
            approvals=tuple(self._snapshot.approvals_of(version)),
            evaluations=tuple(self._snapshot.evaluations_of(version)),
            held=held,
        )
        return standings(facts, fit, verified=True, held=held)

    def _applying(self, policies: Iterable[CompiledPolicy], version: ModelVersion) -> tuple[CompiledPolicy, ...]:
        return self._snapshot.applying_to(version, policies, drafts=self._names)


def _is_verified(version: ModelVersion) -> bool:
    gates = {gate.name: gate.open for gate in version.status.gates}
    return version.spec.state == "Submitted" and gates.get("Registered", False) and gates.get("ArtifactVerified", False)


def _states(passed: Sequence[Standing]) -> tuple[State, ...]:
    """The state of each stage. A stage is cleared only if every earlier stage is."""
    cleared = len(list(takewhile(lambda standing: standing.open, passed)))
    return tuple("Cleared" if number < cleared else _state(standing) for number, standing in enumerate(passed))


def _state(standing: Standing) -> State:
    if standing.denied:
        return "Denied"
    return "Rejected" if standing.decided is not None else "Owed"


def _why(passed: Sequence[Standing]) -> str:
    gates = (gate for standing in passed for gate in (standing.policy, standing.approval))
    shut = next((gate for gate in gates if not gate.open), None)
    return (
        "" if shut is None else f"{shut.name} for {shut.stage}: {shut.finding.found}; expected: {shut.finding.expected}"
    )


def _registry_of(version: ModelVersion) -> ModelRegistry:
    """A registry of which only the stages are known. A stage that already cleared the version needs no policy."""
    spec = ModelRegistrySpec()
    stages = list(dict.fromkeys(gate.stage for gate in version.status.gates if gate.stage)) or spec.stages
    protected = protected_stages(spec.model_copy(update={"stages": stages})) - set(version.status.cleared_for)
    return ModelRegistry(spec=ModelRegistrySpec(stages=stages, protected_stages=sorted(protected)))


def _record(version: ModelVersion, *, now: datetime) -> ArtifactRecord:
    """The artifact, as far as the status describes it."""
    artifact = version.status.artifact
    summary = (
        None
        if artifact is None
        else ArtifactSummary(
            format=version.spec.artifact.format,
            files=artifact.files or 0,
            total_bytes=artifact.total_bytes or 0,
            parameters=artifact.parameters,
            dtypes=artifact.dtypes,
            unsafe_files=tuple(artifact.unsafe_files),
        )
    )
    return ArtifactRecord(
        outcome="Verified",
        fingerprint="",
        digest=artifact.digest if artifact else None,
        verified_at=now,
        summary=summary,
        content_source=artifact.content_source if artifact else None,
    )


def _fit(version: ModelVersion) -> Fit | None:
    hardware = version.status.hardware
    if hardware is None:
        return None
    gate = next((gate for gate in version.status.gates if gate.name == "HardwareFits"), None)
    return Fit(
        verdict=hardware.verdict,
        weights_bytes=hardware.weights_bytes,
        kv_cache_bytes_per_token=hardware.kv_cache_bytes_per_token,
        max_model_len=hardware.max_model_len,
        tensor_parallel_size=hardware.tensor_parallel_size or 1,
        finding=Finding(
            reason=hardware.verdict,
            found=gate.found if gate else f"the verdict is {hardware.verdict}",
            expected=gate.wanted if gate else "",
        ),
    )
