"""The findings of one policy on one version for one stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from gatehouse.api.governance_policy import EvaluationRequirement, LineageField, SubmitterEvaluations
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import Lineage, ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.artifact.values import ArtifactRecord, CheckProgress, ContentSource
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.evaluations import EvaluationVerdict, Results, counting, judge_evaluation
from gatehouse.domain.governance.expression_values import expression_values
from gatehouse.domain.governance.expressions import ExpressionProblem
from gatehouse.domain.governance.held import Held
from gatehouse.domain.governance.policy import CompiledPolicy, PolicyFinding, Weight
from gatehouse.domain.hardware.fit import Fit

__all__ = ["Case", "judge"]

_LINEAGE: Final[Mapping[LineageField, Callable[[Lineage], object]]] = {
    "baseModel": lambda lineage: lineage.base_model,
    "trainingData": lambda lineage: lineage.training_data,
    "code.repository": lambda lineage: lineage.code and lineage.code.repository,
    "code.commit": lambda lineage: lineage.code and lineage.code.commit,
    "pipelineRun": lambda lineage: lineage.pipeline_run,
    "hyperparameters": lambda lineage: lineage.hyperparameters,
    "dependencies": lambda lineage: lineage.dependencies,
}

_SOURCES: Final[Mapping[ContentSource | None, str]] = {
    "StoreChecksum": "the store computed every SHA-256",
    "Mixed": "the store computed the SHA-256 of some files",
    None: "the source of the SHA-256 of some files is not recorded",
}


_NONE: Final = ""
"""Refuses no licence: an empty licence cannot be written."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A version whose artifact was verified, and its facts. ``digest`` is the recorded one.

    ``reads_content`` is whether the registry has files read, ``rereading`` is the progress of that for this version.
    ``held`` is what the version is held to now: rules use its tier, and are evaluated once for each of its licences.
    """

    now: datetime
    version: ModelVersion
    model: RegisteredModel
    artifact: ArtifactRecord
    digest: str | None
    fit: Fit | None
    reads_content: bool
    rereading: CheckProgress | Finding | None
    evaluations: Sequence[ModelEvaluation]
    gone: Sequence[ModelEvaluation] = ()
    held: Held = field(default_factory=Held)

    @property
    def licenses(self) -> tuple[str | None, ...]:
        """Every licence that the version is held to; None stands for a model without any licence."""
        return self.held.licenses or (self.model.spec.license,)

    @property
    def results(self) -> Results:
        """The evaluations with the facts that decide which of them count."""
        return Results(
            version=self.version, digest=self.digest, now=self.now, evaluations=self.evaluations, gone=self.gone
        )

    def values(self, stage: str, *, own: SubmitterEvaluations = "Deny") -> Iterator[Mapping[str, Any]]:
        """The variables of expressions, once for each licence."""
        for license_ in self.licenses:
            known = {**self._values(own)["model"], "riskTier": self.held.risk_tier}
            if license_ is not None:
                known["license"] = license_
            yield {**self._values(own), "model": known, "stage": stage}

    def _values(self, own: SubmitterEvaluations) -> Mapping[str, Any]:
        return self._values_with_own if own == "Allow" else self._independent_values

    @cached_property
    def _independent_values(self) -> Mapping[str, Any]:
        return self._values_of(counting(self.results))

    @cached_property
    def _values_with_own(self) -> Mapping[str, Any]:
        return self._values_of(counting(self.results, own="Allow"))

    def _values_of(self, evaluations: Sequence[ModelEvaluation]) -> Mapping[str, Any]:
        return expression_values(
            version=self.version,
            model=self.model,
            artifact=self.artifact,
            fit=self.fit,
            evaluations=evaluations,
        )


def judge(policy: CompiledPolicy, case: Case, stage: str) -> tuple[PolicyFinding, ...]:
    """Every rule of the policy that does not hold for the version and the stage, except for approvals.

    Never raises: a policy that cannot be evaluated denies, and does not affect other policies and versions.
    """
    judge_ = _Judge(policy, case, stage)
    try:
        return tuple(judge_.findings())
    except Exception as error:  # noqa: BLE001 - what fails is one policy's, and an answer that is not known is no
        return (judge_.failed(type(error).__name__),)


@dataclass(frozen=True, slots=True)
class _Judge:
    policy: CompiledPolicy
    case: Case
    stage: str

    def findings(self) -> Iterator[PolicyFinding]:
        if self.policy.unreadable is not None:
            yield self._unreadable(self.policy.unreadable)
            return
        yield from self._problems()
        yield from self._artifact()
        yield from self._signature()
        yield from self._hardware()
        yield from self._licence()
        yield from self._lineage()
        yield from self._evaluations()
        yield from self._expressions()

    def failed(self, what: str) -> PolicyFinding:
        """The finding for a policy that cannot be evaluated for this version."""
        return self._broken(
            "policy",
            Finding(
                reason="PolicyFailed",
                found=f"policy {self.policy.name} cannot be evaluated: {what}",
                expected="a policy that Gatehouse can evaluate",
                remedy="report a bug; until the bug is fixed, change the policy or set its mode to Audit",
            ),
        )

    def _unreadable(self, problem: str) -> PolicyFinding:
        return self._broken(
            "policy",
            Finding(
                reason="PolicyUnreadable",
                found=problem,
                expected="a policy that Gatehouse can parse",
                remedy="the owner of the policy must fix that field: kubectl edit governancepolicy " + self.policy.name,
            ),
        )

    def _broken(self, rule: str, finding: Finding, *, weight: Weight = "Denied") -> PolicyFinding:
        """A rule of the policy that does not hold."""
        return PolicyFinding(
            policy=self.policy.name, rule=rule, weight=weight, enforced=self.policy.enforced, finding=finding
        )

    def _is_about(self, stages: Sequence[str]) -> bool:
        return not stages or self.stage in stages

    def _problems(self) -> Iterator[PolicyFinding]:
        for name, problem in self.policy.problems.items():
            yield self._broken(
                name,
                Finding(
                    reason="PolicyDoesNotCompile",
                    found=f"rule {name} does not compile: line {problem.line}, column {problem.column}: "
                    + problem.message,
                    expected="a policy that compiles",
                    remedy="the owner of the policy must fix the rule: kubectl describe governancepolicy "
                    + self.policy.name,
                ),
            )

    def _artifact(self) -> Iterator[PolicyFinding]:
        required, spec = self.policy.policy.spec.artifact, self.case.version.spec.artifact
        if required.formats and spec.format not in required.formats:
            yield self._broken(
                "artifact.formats",
                Finding(
                    reason="FormatNotAllowed",
                    found=f"format {spec.format}",
                    expected=f"one of: {', '.join(required.formats)}",
                    remedy="convert the weights and submit them as a new version",
                ),
            )
        summary = self.case.artifact.summary
        if required.remote_code == "Deny" and summary and summary.config and summary.config.auto_map:
            yield self._broken(
                "artifact.remoteCode",
                Finding(
                    reason="RemoteCode",
                    found="config.json names code that a loader would run (auto_map)",
                    expected="a model that runs without code of its own",
                    remedy="remove auto_map and submit the model as a new version",
                ),
            )
        if required.verification == "Content" and self.case.artifact.content_source != "Bytes":
            yield self._not_read()

    def _not_read(self) -> PolicyFinding:
        case = self.case
        state = _SOURCES[case.artifact.content_source]
        match case.rereading:
            case CheckProgress() as progress:
                state += f"; {progress.files_done} of {progress.files} files read so far"
            case Finding() as problem:
                state += f"; Gatehouse cannot read the files: {problem.found}"
        remedy = "once the policy is enforced, or the registry does not trust the store, Gatehouse reads the files"
        if self.policy.enforced:
            remedy = case.rereading.remedy if isinstance(case.rereading, Finding) else ""
            remedy = remedy or "wait: Gatehouse is reading the files"
        if not case.reads_content:
            remedy = "set verification.content of the ModelRegistry to true; Gatehouse then reads the files"
        return self._broken(
            "artifact.verification",
            Finding(
                reason="ContentNotRead",
                found=state,
                expected="every byte read and hashed by Gatehouse",
                remedy=remedy,
            ),
            weight="Owed" if case.reads_content else "Denied",
        )

    def _signature(self) -> Iterator[PolicyFinding]:
        required = self.policy.policy.spec.artifact.signature
        if required is None:
            return
        # 8 MiB that only a policy about signatures needs.
        from gatehouse.domain.governance.signature_trust import judge_signature  # noqa: PLC0415

        problem = judge_signature(self.case.artifact.signature, required).problem
        if problem is not None:
            yield self._broken("artifact.signature", problem)

    def _hardware(self) -> Iterator[PolicyFinding]:
        fit = self.case.fit
        unknown = fit is None or fit.verdict == "Unknown"
        if self.policy.policy.spec.hardware.unknown_fit == "Deny" and unknown:
            yield self._broken(
                "hardware.unknownFit",
                Finding(
                    reason="FitUnknown",
                    found=fit.finding.found if fit else "the fit is unknown",
                    expected="a model that is known to fit its hardware profile",
                    remedy=(fit.finding.remedy if fit else None)
                    or "use a format whose headers state the size of the model",
                ),
            )

    def _licence(self) -> Iterator[PolicyFinding]:
        allowed, current = self.policy.policy.spec.licenses, self.case.model.spec.license
        known = {name.casefold() for name in allowed}
        refused = next((name for name in self.case.licenses if (name or "").casefold() not in known), _NONE)
        if not allowed or refused is _NONE:
            return
        earlier = refused is not None and refused.casefold() != (current or "").casefold()
        yield self._broken(
            "licenses",
            Finding(
                reason="LicenseNotAllowed",
                found=f"license {refused}{', which the model named before' if earlier else ''}"
                if refused
                else "the model names no license",
                expected=f"one of: {', '.join(allowed)}",
                remedy="a person with the verb classify must vouch for the current license in spec.classifiedBy of the "
                "RegisteredModel"
                if earlier
                else "correct spec.license of the RegisteredModel, or ask the owner of the policy for an exception",
            ),
        )

    def _lineage(self) -> Iterator[PolicyFinding]:
        required = self.policy.policy.spec.lineage
        if required is None:
            return
        missing = [name for name in required.required if not _LINEAGE[name](self.case.version.spec.lineage)]
        if missing:
            yield self._broken(
                "lineage.required",
                Finding(
                    reason="LineageMissing",
                    found=f"spec.lineage lacks {', '.join(missing)}",
                    expected=f"all of: {', '.join(required.required)}",
                    remedy="fill spec.lineage of the ModelVersion",
                ),
            )

    def _evaluations(self) -> Iterator[PolicyFinding]:
        for requirement in self.policy.policy.spec.evaluations:
            if self._is_about(requirement.stages):
                yield from self._evaluation(requirement)

    def _evaluation(self, requirement: EvaluationRequirement) -> Iterator[PolicyFinding]:
        spec = self.policy.policy.spec
        verdict = judge_evaluation(requirement, self.case.results, own=spec.submitter_evaluations)
        if verdict.met:
            return
        failed = verdict.value is not None
        yield self._broken(
            f"evaluations.{requirement.name}",
            Finding(
                reason="EvaluationFailed" if failed else "EvaluationOwed",
                found=verdict.found,
                expected=_required(requirement),
                remedy=_undo(verdict)
                if failed
                else "evaluate these bytes and apply the result: gatehouse evaluate import results.json",
            ),
            weight="Denied" if failed else "Owed",
        )

    def _expressions(self) -> Iterator[PolicyFinding]:
        spec = self.policy.policy.spec
        rules = [rule for rule in self.policy.policy.spec.expressions if self._is_about(rule.stages)]
        values = tuple(self.case.values(self.stage, own=spec.submitter_evaluations)) if rules else ()
        for rule in rules:
            compiled = self.policy.expressions[rule.name]
            if isinstance(compiled, ExpressionProblem):
                continue
            judgement = next((said for said in map(compiled.judge, values) if not said.holds), None)
            if judgement is not None:
                yield self._broken(
                    rule.name,
                    Finding(
                        reason="RuleNotMet" if judgement.error is None else "RuleFailed",
                        found=f"rule {rule.name} is not true" + (f": {judgement.error}" if judgement.error else ""),
                        expected=rule.message,
                        remedy="change the version or the model until the rule holds",
                    ),
                )


def _undo(verdict: EvaluationVerdict) -> str:
    name = verdict.evaluation.metadata.name if verdict.evaluation else "NAME"
    if verdict.gone:
        return (
            f"another person than the submitter must apply ModelEvaluation {name} again and withdraw it with a reason "
            f"(gatehouse evaluate withdraw {name}); a better model is a new version"
        )
    return (
        "submit a better model as a new version; another person than the submitter may withdraw a wrong result "
        f"(gatehouse evaluate withdraw {name} --reason ...)"
    )


def _required(requirement: EvaluationRequirement) -> str:
    parts = [f"{requirement.metric} {requirement.operator} {requirement.threshold}"]
    if requirement.suite:
        parts.append(f"of {requirement.suite}")
    if requirement.dataset:
        version = f" {requirement.dataset_version}" if requirement.dataset_version else ""
        parts.append(f"on {requirement.dataset}{version}")
    if requirement.max_age:
        parts.append(f"not older than {requirement.max_age}")
    return " ".join(parts)
