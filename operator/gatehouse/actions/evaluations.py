"""Results of an evaluation suite as ModelEvaluations of one version's bytes."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import orjson
from pydantic import ValidationError

from gatehouse.actions.identity import Person, whoami
from gatehouse.actions.objects import digest_of, listed_if_allowed, read
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.meta import GROUP, VERSION
from gatehouse.api.model_evaluation import (
    MAX_SLICES,
    EvaluationDataset,
    EvaluationKind,
    MetricResult,
    MetricSlice,
    ModelEvaluation,
    ModelEvaluationSpec,
    VersionReference,
)
from gatehouse.api.model_version import ModelVersion
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.governance.lm_eval import HarnessRun, Measured, TaskResult
from gatehouse.errors import Refused

__all__ = [
    "SUITE",
    "Import",
    "ImportRequest",
    "Imported",
    "apply_evaluations",
    "counted_groups",
    "evaluations",
    "import_results",
    "run_notes",
]

SUITE: Final = "lm-evaluation-harness"
MANAGER: Final = "gatehouse-evaluate"
CLOCK_SKEW: Final = timedelta(minutes=5)
_MOST_TASKS: Final = 500
_MOST_ODD: Final = 10
_MOST_SLICES: Final = 64
_MOST_GROUPS: Final = 64
_LONGEST_READABLE: Final = 200
_HASH_LENGTH: Final = 10

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """How to read a result file. ``tasks`` are the tasks to import, all when empty; ``dataset`` replaces theirs.

    ``evaluated_at`` is for a file that does not name the time of the run. ``groups`` are those groups of the evaluator
    that policies ask for.
    """

    version: ModelVersion
    person: Person
    now: datetime
    kind: EvaluationKind = "Task"
    tasks: Sequence[str] = ()
    dataset: str | None = None
    dataset_version: str | None = None
    evaluated_at: datetime | None = None
    groups: Sequence[str] = ()
    report_url: str | None = None


def evaluations(run: HarnessRun, wanted: Import) -> tuple[Manifest, ...]:
    """One ModelEvaluation for each task, named by its content: a second import of a file creates nothing.

    Raises Refused when the version has no digest, when the file lacks a task, and when the run is in the future.
    """
    digest = _digest(wanted.version)
    at = run.at or wanted.evaluated_at
    if at is None:
        raise Refused("the file does not name the time of the run; pass --evaluated-at, as in 2026-11-21T12:00:00Z")
    if at > wanted.now + CLOCK_SKEW:
        raise Refused(f"the evaluation was run at {at.isoformat()}, in the future; it would not count")
    results = {task.name: task for task in run.tasks}
    chosen = [_named(results, name) for name in wanted.tasks] or list(run.tasks)
    if not chosen:
        raise Refused(f"no task of the file measured anything: {', '.join(run.empty[:10])}")
    if len(chosen) > _MOST_TASKS:
        raise Refused(f"{len(chosen)} tasks; expected: at most {_MOST_TASKS} at once: choose some with --task")
    try:
        specs = [_spec(run, task, wanted, results=results, digest=digest, at=at) for task in chosen]
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(f"{field} is {shown(first['input'])}: {first['msg']}") from error
    return tuple(_manifest(wanted, spec) for spec in specs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """The options of an import, beside the file. With ``apply`` the ModelEvaluations are created."""

    namespace: str
    name: str
    kind: EvaluationKind = "Task"
    tasks: Sequence[str] = ()
    dataset: str | None = None
    dataset_version: str | None = None
    evaluated_at: datetime | None = None
    report_url: str | None = None
    apply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The ModelEvaluations of a file. ``outcomes`` has the name of each created or existing one, after an apply."""

    manifests: Sequence[Manifest]
    outcomes: Sequence[tuple[str, Literal["created", "unchanged"]]] = ()


async def import_results(api: ApiClient, run: HarnessRun, request: ImportRequest, *, now: datetime) -> Imported:
    """Makes one ModelEvaluation for each task, with the person who asks as the evaluator.

    Raises Refused as :func:`evaluations` does, and ClusterError.
    """
    person, policies = await asyncio.gather(whoami(api), listed_if_allowed(api, GovernancePolicy))
    manifests = evaluations(
        run,
        Import(
            version=await read(api, ModelVersion, request.namespace, request.name),
            person=person,
            groups=counted_groups(person, policies),
            now=now,
            kind=request.kind,
            tasks=request.tasks,
            dataset=request.dataset,
            dataset_version=request.dataset_version,
            evaluated_at=request.evaluated_at,
            report_url=request.report_url,
        ),
    )
    return Imported(manifests=manifests, outcomes=await apply_evaluations(api, manifests) if request.apply else ())


def run_notes(run: HarnessRun) -> Iterator[str]:
    """What a person should know before they rely on a file."""
    if run.limit is not None:
        yield f"the run was limited ({run.limit} samples a task): a trial, not an evaluation"
    if run.empty:
        yield f"nothing was measured in: {', '.join(run.empty[:10])}"
    for task in run.tasks:
        if task.left_out:
            yield f"{task.name}: no number in {', '.join(task.left_out[:10])}"
    if run.odd:
        more = f" and {len(run.odd) - _MOST_ODD} more" if len(run.odd) > _MOST_ODD else ""
        yield f"left out: {'; '.join(run.odd[:_MOST_ODD])}{more}"


def _digest(version: ModelVersion) -> str:
    where = f"ModelVersion {version.metadata.namespace}/{version.metadata.name}"
    if version.status.recorded_digest is not None:
        raise Refused(f"{where} is {version.status.phase}: its files are not the ones that were recorded")
    digest = digest_of(version)
    if digest is None:
        raise Refused(f"{where} has no digest yet ({version.status.phase or 'not reconciled yet'})")
    return digest


def counted_groups(person: Person, policies: Iterable[GovernancePolicy] | None) -> tuple[str, ...]:
    """The groups to name in a result: only those that policies ask for, so that the others stay private.

    As many groups as fit where the person may not read the policies.
    """
    if policies is None:
        return person.groups[:_MOST_GROUPS]
    asked = {
        group
        for policy in policies
        for requirement in policy.spec.evaluations
        for group in requirement.evaluators.groups
    }
    return tuple(group for group in person.groups if group in asked)[:_MOST_GROUPS]


def _named(results: Mapping[str, TaskResult], name: str) -> TaskResult:
    if name not in results:
        raise Refused(f"--task is {name}; expected: a task of the file: {', '.join(sorted(results)[:20])}")
    return results[name]


def _spec(
    run: HarnessRun, task: TaskResult, wanted: Import, *, results: Mapping[str, TaskResult], digest: str, at: datetime
) -> ModelEvaluationSpec:
    metadata = wanted.version.metadata
    named = wanted.dataset is not None
    dataset = EvaluationDataset(
        name=wanted.dataset or task.dataset or task.name,
        version=wanted.dataset_version if named else task.dataset_revision or task.version,
    )
    return ModelEvaluationSpec(
        version_ref=VersionReference(name=metadata.name, uid=metadata.uid),
        digest=digest,
        kind=wanted.kind,
        suite=SUITE,
        suite_version=run.harness,
        task=task.name,
        dataset=dataset,
        evaluator=wanted.person.name,
        groups=list(wanted.groups),
        evaluated_at=at,
        metrics=_metrics(task, results),
        report_url=wanted.report_url,
        notes="; ".join(_facts(run, task)) or None,
    )


def _metrics(task: TaskResult, results: Mapping[str, TaskResult]) -> list[MetricResult]:
    """The metrics of a task. Metrics beyond the limit of slices of an evaluation come without slices."""
    metrics: list[MetricResult] = []
    left = MAX_SLICES
    for measured in task.metrics:
        metric = _metric(measured, task, results)
        kept = metric if len(metric.slices) <= left else metric.model_copy(update={"slices": []})
        left -= len(kept.slices)
        metrics.append(kept)
    return metrics


def _metric(measured: Measured, task: TaskResult, results: Mapping[str, TaskResult]) -> MetricResult:
    slices = [
        MetricSlice(name=name, value=each.value)
        for name in dict.fromkeys(task.subtasks)
        if name in results
        for each in results[name].metrics
        if each.name == measured.name
    ]
    return MetricResult(
        name=measured.name,
        value=measured.value,
        stderr=measured.stderr,
        slices=slices if len(slices) <= _MOST_SLICES else [],
    )


def _facts(run: HarnessRun, task: TaskResult) -> Iterator[str]:
    """Facts of the run, but never the arguments of the model: people pass keys of their endpoints there."""
    if run.model:
        yield f"model {run.model}"
    if task.shots is not None:
        yield f"{task.shots}-shot"
    if task.samples is not None:
        yield f"{task.samples[0]} of {task.samples[1]} samples"
    if task.version is not None:
        yield f"task version {task.version}"
    if run.limit is not None:
        yield f"limit {run.limit}"


def _manifest(wanted: Import, spec: ModelEvaluationSpec) -> Manifest:
    metadata = wanted.version.metadata
    wire = spec.wire()
    content = hashlib.sha256(orjson.dumps(wire, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_HASH_LENGTH]
    readable = re.sub(r"[^a-z0-9]+", "-", (spec.task or "").lower()).strip("-")
    stem = f"{metadata.name}-{readable}"[:_LONGEST_READABLE].rstrip("-.")
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": ModelEvaluation.info.kind,
        "metadata": {"name": f"{stem}-{content}", "namespace": metadata.namespace},
        "spec": wire,
    }


async def apply_evaluations(
    api: ApiClient, manifests: Sequence[Manifest]
) -> Sequence[tuple[str, Literal["created", "unchanged"]]]:
    """Creates the manifests in their order. Returns the name and the outcome of each. Raises ClusterError."""
    return [(str(manifest["metadata"]["name"]), await _create(api, manifest)) for manifest in manifests]


async def _create(api: ApiClient, manifest: Manifest) -> Literal["created", "unchanged"]:
    params = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
    try:
        await api.create("modelevaluations", manifest["metadata"]["namespace"], manifest, params=params)
    except ApiError as error:
        # The name is made of the content, and an evaluation never changes.
        if error.reason == "AlreadyExists":
            return "unchanged"
        raise
    return "created"
