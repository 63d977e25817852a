"""Result files of EleutherAI's lm-evaluation-harness, as values: what was run, when, and what each task measured.

The format is that of ``EvaluationTracker.save_results_aggregated`` (results_<time>.json): ``results`` by task with
members ``metric,filter`` and ``metric_stderr,filter``, beside ``configs``, ``versions``, ``n-shot``, ``n-samples``,
``group_subtasks``, ``config``, ``date`` and ``lm_eval_version``. Files from before version 0.4 have no filters; those
are read too. Everything but ``results`` may be absent; what is there must be of its type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from gatehouse.domain import jsonbound
from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.jsonbound import JsonValue

__all__ = ["MAX_RESULTS", "HarnessRun", "Measured", "TaskResult", "number_text", "parse_results"]

MAX_RESULTS: Final = 67_108_864
"""Bytes of a result file: the configurations of hundreds of tasks with their prompts fit."""

_MAX_ITEMS: Final = 4_000_000
_MAX_TASKS: Final = 2_000
_MAX_METRICS: Final = 64
_LONGEST_NAME: Final = 128
_NOT_METRICS: Final = frozenset({"alias", "name", "sample_len", "sample_count", "samples"})
_STDERR: Final = "_stderr"
_NO_FILTER: Final = "none"
_VALUE: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,2})?")
_LAST_YEAR: Final = 253_402_300_799
"""The last second of the year 9999."""

Members = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric, with a value and a standard error as decimal text. A filter other than ``none`` is in the name."""

    name: str
    value: str
    stderr: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """One task, or a group of tasks with its ``subtasks``. ``left_out`` says which metrics are no numbers.

    ``dataset`` is as on the Hugging Face hub, with the configuration after a slash; None for a group and where it is
    not told. ``samples`` is how many were used, of how many.
    """

    name: str
    metrics: tuple[Measured, ...]
    version: str | None = None
    dataset: str | None = None
    dataset_revision: str | None = None
    shots: int | None = None
    samples: tuple[int, int] | None = None
    subtasks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRun:
    """A result file. ``limit`` is a trial's bound on samples a task; tasks that measured nothing are left out."""

    tasks: tuple[TaskResult, ...]
    at: datetime | None = None
    harness: str | None = None
    model: str | None = None
    limit: str | None = None
    empty: tuple[str, ...] = field(default=())


def parse_results(data: bytes, *, what: str = "the result file") -> HarnessRun:
    """Read a result file.

    Raises FormatError with the rules of ``jsonbound.loads``, and HarnessInvalid for what is not of this format.
    """
    document = _Document(what)
    whole = document.members(jsonbound.loads(data, what=what, max_bytes=MAX_RESULTS, max_items=_MAX_ITEMS), "")
    if "results" not in whole:
        raise document.error("no member results", "what lm_eval --output_path writes")
    results = document.members(whole["results"], "results")
    if not 0 < len(results) <= _MAX_TASKS:
        raise document.error(f"{len(results)} results", f"1 to {_MAX_TASKS}")
    tasks = tuple(_task(document, whole, name, result) for name, result in results.items())
    config = document.part(whole, "config")
    return HarnessRun(
        tasks=tuple(task for task in tasks if task.metrics),
        empty=tuple(task.name for task in tasks if not task.metrics),
        at=_moment(document, whole),
        harness=document.text(whole, "lm_eval_version") or document.text(whole, "git_hash"),
        model=document.text(whole, "model_name") or document.text(config, "model"),
        limit=_limit(document, config),
    )


@dataclass(frozen=True, slots=True)
class _Document:
    """Typed access to a document from strangers; each refusal names the member."""

    what: str

    def error(self, found: str, wanted: str) -> FormatError:
        return FormatError(
            "HarnessInvalid", f"{found} in {self.what}", wanted, "Take the results_<time>.json that lm_eval wrote."
        )

    def members(self, value: JsonValue, where: str) -> Members:
        if not isinstance(value, dict):
            raise self.error(f"{shown(value)} as {where or 'the document'}", "a JSON object")
        return value

    def part(self, members: Members, key: str) -> Members:
        """An object that may be absent, or null."""
        value = members.get(key)
        return {} if value is None else self.members(value, key)

    def text(self, members: Members, key: str) -> str | None:
        value = members.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(f"{shown(value)} as {key}", "text")
        return self.short(value, key) if value else None

    def number(self, members: Members, key: str) -> int | float | None:
        value = members.get(key)
        if value is None or (not isinstance(value, bool) and isinstance(value, int | float)):
            return value
        raise self.error(f"{shown(value)} as {key}", "a number")

    def count(self, members: Members, key: str) -> int | None:
        value = self.number(members, key)
        if value is None or (isinstance(value, int) and 0 <= value < 2**53):
            return value
        raise self.error(f"{shown(value)} as {key}", "a count")

    def short(self, text: str, where: str) -> str:
        """A text that Kubernetes takes for a name of people's."""
        if not 0 < len(text) <= _LONGEST_NAME or not text.isprintable():
            raise self.error(f"{shown(text)} as {where}", f"1 to {_LONGEST_NAME} printable characters")
        return text


def _task(document: _Document, whole: Members, name: str, result: JsonValue) -> TaskResult:
    document.short(name, "the name of a task")
    members = document.members(result, f"results of {shown(name)}")
    measured, left_out = _metrics(document, members, name)
    config = document.part(document.part(whole, "configs"), name)
    arguments = document.part(config, "dataset_kwargs")
    path, part = document.text(config, "dataset_path"), document.text(config, "dataset_name")
    dataset = None if path is None else document.short(f"{path}/{part}" if part else path, "dataset_path")
    return TaskResult(
        name=name,
        metrics=measured,
        left_out=left_out,
        version=_version(document, document.part(whole, "versions"), name),
        dataset=dataset,
        dataset_revision=document.text(arguments, "revision"),
        shots=_shots(document, whole, name),
        samples=_samples(document, document.part(document.part(whole, "n-samples"), name)),
        subtasks=_subtasks(document, document.part(whole, "group_subtasks").get(name)),
    )


def _metrics(document: _Document, members: Members, task: str) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    measured: dict[str, Measured] = {}
    left_out: list[str] = []
    for key, value in members.items():
        metric, _, filtered = key.partition(",")
        # A group that aggregates nothing has a blank where its metrics would be.
        if key in _NOT_METRICS or not metric.strip() or metric.endswith(_STDERR):
            continue
        name = document.short(metric if filtered in {"", _NO_FILTER} else key, f"a metric of {shown(task)}")
        text = number_text(value)
        if text is None:
            left_out.append(name)
            continue
        stderr = members.get(f"{metric}{_STDERR},{filtered}" if filtered else f"{metric}{_STDERR}")
        measured[name] = Measured(name=name, value=text, stderr=number_text(stderr))
    if len(measured) > _MAX_METRICS:
        raise document.error(f"{len(measured)} metrics of {shown(task)}", f"at most {_MAX_METRICS}")
    return tuple(measured.values()), tuple(left_out)


def number_text(value: JsonValue) -> str | None:
    """A number as decimal text that reads back as the same float; None for what is no number, or out of range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    for text in (repr(value), f"{float(value):.16e}"):
        if _VALUE.fullmatch(text):
            return text
    return None


def _version(document: _Document, versions: Members, task: str) -> str | None:
    value = versions.get(task)
    if value is None or value == "N/A":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise document.error(f"{shown(value)} as the version of {shown(task)}", "a number or text")
    return document.short(str(value), f"the version of {shown(task)}")


def _shots(document: _Document, whole: Members, task: str) -> int | None:
    shots = document.part(whole, "n-shot")
    return None if isinstance(shots.get(task), str) else document.count(shots, task)


def _samples(document: _Document, members: Members) -> tuple[int, int] | None:
    used, of = document.count(members, "effective"), document.count(members, "original")
    return None if used is None or of is None else (used, of)


def _subtasks(document: _Document, value: JsonValue) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise document.error(f"{shown(value)} in group_subtasks", "a list of names")
    return tuple(_names(document, value))


def _names(document: _Document, values: Sequence[JsonValue]) -> Iterator[str]:
    for value in values[:_MAX_TASKS]:
        if not isinstance(value, str):
            raise document.error(f"{shown(value)} in group_subtasks", "a name")
        yield document.short(value, "group_subtasks")


def _moment(document: _Document, whole: Members) -> datetime | None:
    """``date`` is when the run started, in seconds since 1970."""
    seconds = document.number(whole, "date")
    if seconds is None:
        return None
    if not 0 <= seconds <= _LAST_YEAR:
        raise document.error(f"{shown(seconds)} as date", "seconds since 1970")
    return datetime.fromtimestamp(int(seconds), UTC)


def _limit(document: _Document, config: Members) -> str | None:
    limit = document.number(config, "limit")
    return None if limit is None else number_text(limit)
