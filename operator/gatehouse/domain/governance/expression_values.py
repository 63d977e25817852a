"""The variables of expressions: plain values under the names of the API.

CEL's runtime takes text, booleans, numbers of 64 bits, null, lists and maps. One value of another type, however deep,
makes every expression fail that uses the variable. This module converts all facts to those types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.hardware.fit import Fit

__all__ = ["expression_values", "plain"]

_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1


def expression_values(
    *,
    version: ModelVersion,
    model: RegisteredModel,
    artifact: ArtifactRecord,
    fit: Fit | None,
    evaluations: Sequence[ModelEvaluation],
) -> Mapping[str, Any]:
    """One value for each variable of CEL except ``stage``; docs/policies.md lists them. ``evaluations`` count."""
    known = {
        "version": _described(version.spec.wire(), version),
        "model": _described(model.spec.wire(), model),
        "artifact": _artifact(version, artifact),
        "hardware": _hardware(version, fit),
        "evaluations": [_evaluation(result) for result in evaluations],
    }
    return {name: plain(value) for name, value in known.items()}


def plain(value: Any) -> Any:
    """The value as CEL's runtime takes it. Times become text as in RFC 3339, which ``timestamp()`` reads."""
    match value:
        case None | bool() | float():
            return value
        case str():
            # Text from a file may hold half a surrogate pair, which is no character. CEL's runtime takes NUL for the
            # end of a text, so that a rule would compare the part before NUL alone.
            known = value.replace("\0", "\\x00")
            return known if known.isascii() else known.encode("utf-8", "backslashreplace").decode()
        case int():
            # A float compares as well, and CEL has no integer beyond 64 bits.
            return value if _SMALLEST <= value <= _LARGEST else _as_float(value)
        case datetime():
            return _as_text(value)
        case Mapping():
            return {str(plain(name)): plain(member) for name, member in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return [plain(item) for item in value]
        case AbstractSet():
            return sorted((plain(item) for item in value), key=repr)
        case _:
            return plain(str(value))


def _as_text(at: datetime) -> str:
    try:
        known = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return at.isoformat(timespec="seconds")
    return known.isoformat(timespec="seconds").replace("+00:00", "Z")


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _described(spec: dict[str, Any], resource: ModelVersion | RegisteredModel) -> dict[str, Any]:
    metadata = resource.metadata
    return spec | {"name": metadata.name, "namespace": metadata.namespace, "labels": dict(metadata.labels)}


def _artifact(version: ModelVersion, artifact: ArtifactRecord) -> dict[str, Any]:
    summary = artifact.summary
    known: dict[str, Any] = {"uri": version.spec.artifact.uri, "format": version.spec.artifact.format}
    if artifact.digest is not None:
        known["digest"] = artifact.digest
    if artifact.content_source is not None:
        known["contentSource"] = artifact.content_source
    if summary is None:
        return known
    known |= {"files": summary.files, "totalBytes": summary.total_bytes, "dtypes": dict(summary.dtypes)}
    if summary.parameters is not None:
        known["parameters"] = summary.parameters
    if summary.config is not None:
        known["config"] = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in asdict(summary.config).items()
            if isinstance(value, str | bool | int | float | Mapping)
        }
    return known


def _hardware(version: ModelVersion, fit: Fit | None) -> dict[str, Any]:
    known: dict[str, Any] = {
        "profile": version.spec.hardware_profile_ref.name,
        "verdict": fit.verdict if fit else "Unknown",
    }
    if fit is not None and fit.max_model_len is not None:
        known["maxModelLen"] = fit.max_model_len
    if fit is not None and fit.weights_bytes is not None:
        known["weightsBytes"] = fit.weights_bytes
    return known


def _evaluation(evaluation: ModelEvaluation) -> dict[str, Any]:
    spec = evaluation.spec
    known: dict[str, Any] = {
        "name": evaluation.metadata.name,
        "kind": spec.kind,
        "suite": spec.suite,
        "dataset": spec.dataset.name,
        "evaluator": spec.evaluator,
        "evaluatedAt": spec.evaluated_at,
        "metrics": {metric.name: float(metric.value) for metric in spec.metrics},
    }
    optional = {"datasetVersion": spec.dataset.version, "task": spec.task, "suiteVersion": spec.suite_version}
    return known | {name: value for name, value in optional.items() if value is not None}
