"""Result files of EleutherAI's lm-evaluation-harness, as values: what was run, when, and what each task measured.

The format is that of ``EvaluationTracker.save_results_aggregated`` (results_<time>.json): ``results`` by task with
members ``metric,filter`` and ``metric_stderr,filter``, beside ``configs``, ``versions``, ``n-shot``, ``n-samples``,
``group_subtasks``, ``config``, ``date`` and ``lm_eval_version``. Files from before version 0.4 have no filters; the
reader accepts them, and files of lighteval, which have the same ``results``. Everything but ``results`` may be absent.

The reader leaves out odd metrics, tasks and members, and names them: a key that occurs twice, a malformed number, a
name that is too long. No other value replaces them, so that only measured values count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import FormatError, shown

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
_MOST_ODD: Final = 64
_REPLACED: Final = "\ufffd"
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
    """One task, or a group of tasks with its ``subtasks``. ``left_out`` names metrics that are odd or no numbers.

    ``dataset`` is the name on the Hugging Face hub, with the configuration after a slash; None for a group and where
    the file does not name it. ``samples`` is how many were used, of how many.
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
    """A result file. ``limit`` is a trial's bound on samples per task; tasks without measurements are left out.

    ``odd`` names other parts that were left out, and why.
    """

    tasks: tuple[TaskResult, ...]
    at: datetime | None = None
    harness: str | None = None
    model: str | None = None
    limit: str | None = None
    empty: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


def parse_results(data: bytes, *, what: str = "the result file") -> HarnessRun:
    """Read a result file.

    Raises FormatError with the rules of ``bounded_json.loads_leniently``, and HarnessInvalid for a file without
    results.
    """
    document, odd = bounded_json.loads_leniently(data, what=what, max_bytes=MAX_RESULTS, max_items=_MAX_ITEMS)
    if not isinstance(document, dict):
        raise _invalid(f"{shown(document)} as the document", what, "a JSON object")
    if "results" not in document:
        raise _invalid("no member results", what, "what lm_eval --output_path writes")
    results = document["results"]
    if not isinstance(results, dict):
        raise _invalid(f"{shown(results)} as results", what, "a JSON object")
    if not 0 < len(results) <= _MAX_TASKS:
        raise _invalid(f"{len(results)} results", what, f"1 to {_MAX_TASKS}")
    reader = _Reader(whole=document, odd=dict.fromkeys(odd))
    tasks = [task for name, result in results.items() if (task := _task(reader, name, result)) is not None]
    config = reader.part("config")
    return HarnessRun(
        tasks=tuple(task for task in tasks if task.metrics),
        empty=tuple(task.name for task in tasks if not task.metrics),
        at=_moment(reader),
        harness=reader.text(document, "lm_eval_version") or reader.text(document, "git_hash"),
        model=reader.text(document, "model_name")
        or reader.text(config, "model")
        or reader.text(reader.part("config_general"), "model_name"),
        limit=_limit(config),
        odd=tuple(reader.odd),
    )


def _invalid(found: str, what: str, wanted: str) -> FormatError:
    return FormatError(
        "HarnessInvalid", f"{found} in {what}", wanted, "Take the results_<time>.json that lm_eval wrote."
    )


@dataclass(slots=True)
class _Reader:
    """Typed access to an untrusted document. A value of the wrong type is noted and counts as absent."""

    whole: Members
    odd: dict[str, None]
    _parts: dict[str, Members] = field(default_factory=dict)

    def note(self, value: JsonValue, where: str, wanted: str) -> None:
        """Notes a member that is left out."""
        if len(self.odd) < _MOST_ODD:
            self.odd[f"{shown(value)} as {where}; expected: {wanted}"] = None

    def members(self, value: JsonValue, where: str) -> Members:
        """An object that may be absent, or null."""
        if value is not None and not isinstance(value, dict):
            self.note(value, where, "a JSON object")
        return value if isinstance(value, dict) else {}

    def part(self, key: str) -> Members:
        """An object of the document."""
        if key not in self._parts:
            self._parts[key] = self.members(self.whole.get(key), key)
        return self._parts[key]

    def text(self, members: Members, key: str) -> str | None:
        """Text, or a number as text."""
        value = members.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.note(value, key, "text")
            return None
        return self.short(str(value), key)

    def number(self, members: Members, key: str) -> int | float | None:
        value = members.get(key)
        if value is None or (not isinstance(value, bool) and isinstance(value, int | float)):
            return value
        self.note(value, key, "a number")
        return None

    def count(self, members: Members, key: str, where: str) -> int | None:
        value = members.get(key)
        if value is None or (type(value) is int and 0 <= value < 2**53):
            return value
        self.note(value, where, "a count")
        return None

    def short(self, text: str, where: str) -> str | None:
        """A text that Kubernetes accepts as a display name."""
        if 0 < len(text) <= _LONGEST_NAME and text.isprintable() and _REPLACED not in text:
            return text
        self.note(text, where, f"1 to {_LONGEST_NAME} printable characters")
        return None


def _task(reader: _Reader, name: str, result: JsonValue) -> TaskResult | None:
    if reader.short(name, "the name of a task") is None:
        return None
    if not isinstance(result, dict):
        reader.note(result, f"results of {shown(name)}", "a JSON object")
        return None
    measured, left_out = _metrics(reader, result, name)
    config = reader.members(reader.part("configs").get(name), f"configs of {shown(name)}")
    arguments = reader.members(config.get("dataset_kwargs"), "dataset_kwargs")
    return TaskResult(
        name=name,
        metrics=measured,
        left_out=left_out,
        version=_version(reader, name),
        dataset=_dataset(reader, config),
        dataset_revision=reader.text(arguments, "revision"),
        shots=_shots(reader, name),
        samples=_samples(reader, name),
        subtasks=_subtasks(reader, name),
    )


def _dataset(reader: _Reader, config: Members) -> str | None:
    """The path and, after a slash, the configuration; None if one is odd, as half a name is another dataset's."""
    path, part = reader.text(config, "dataset_path"), reader.text(config, "dataset_name")
    if path is None or (part is None and config.get("dataset_name") not in (None, "")):
        return None
    return reader.short(f"{path}/{part}" if part else path, "dataset_path")


def _metrics(reader: _Reader, members: Members, task: str) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    measured: dict[str, Measured] = {}
    left_out: dict[str, None] = {}
    for key, value in members.items():
        metric, _, filtered = key.partition(",")
        # A group without aggregation has a blank in place of its metrics.
        if key in _NOT_METRICS or not metric.strip() or metric.endswith(_STDERR):
            continue
        name = reader.short(metric if filtered in {"", _NO_FILTER} else key, f"a metric of {shown(task)}")
        if name is None:
            continue
        text = number_text(value)
        # Two keys of one name (acc and acc,none) may have two values: neither counts.
        if text is None or name in left_out or name in measured:
            measured.pop(name, None)
            left_out[name] = None
            continue
        stderr = members.get(f"{metric}{_STDERR},{filtered}" if filtered else f"{metric}{_STDERR}")
        measured[name] = Measured(name=name, value=text, stderr=number_text(stderr))
    kept = tuple(measured.values())[:_MAX_METRICS]
    left_out |= dict.fromkeys(each.name for each in tuple(measured.values())[_MAX_METRICS:])
    return kept, tuple(left_out)


def number_text(value: JsonValue) -> str | None:
    """A number as decimal text that reads back as the same float; None for other values, or out of range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    for text in (repr(value), f"{float(value):.16e}"):
        if _VALUE.fullmatch(text):
            return text
    return None


def _version(reader: _Reader, task: str) -> str | None:
    versions = reader.part("versions")
    return None if versions.get(task) == "N/A" else reader.text(versions, task)


def _shots(reader: _Reader, task: str) -> int | None:
    shots = reader.part("n-shot")
    return None if isinstance(shots.get(task), str) else reader.count(shots, task, f"n-shot of {shown(task)}")


def _samples(reader: _Reader, task: str) -> tuple[int, int] | None:
    members = reader.members(reader.part("n-samples").get(task), f"n-samples of {shown(task)}")
    used, of = (reader.count(members, key, f"n-samples of {shown(task)}") for key in ("effective", "original"))
    return None if used is None or of is None else (used, of)


def _subtasks(reader: _Reader, task: str) -> tuple[str, ...]:
    value = reader.part("group_subtasks").get(task)
    if value is None:
        return ()
    if not isinstance(value, list):
        reader.note(value, "group_subtasks", "a list of names")
        return ()
    return tuple(_names(reader, value))


def _names(reader: _Reader, values: Sequence[JsonValue]) -> Iterator[str]:
    for value in values[:_MAX_TASKS]:
        if not isinstance(value, str):
            reader.note(value, "group_subtasks", "a name")
        elif (name := reader.short(value, "group_subtasks")) is not None:
            yield name


def _moment(reader: _Reader) -> datetime | None:
    """``date`` is when the run started, in seconds since 1970."""
    seconds = reader.number(reader.whole, "date")
    if seconds is None:
        return None
    if not 0 <= seconds <= _LAST_YEAR:
        reader.note(seconds, "date", "seconds since 1970")
        return None
    return datetime.fromtimestamp(int(seconds), UTC)


def _limit(config: Members) -> str | None:
    """A malformed limit is a limit all the same: the run is still a trial."""
    limit = config.get("limit")
    if limit is None or limit is False:
        return None
    return number_text(limit) or shown(limit)
