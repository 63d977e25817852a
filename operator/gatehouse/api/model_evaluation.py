"""ModelEvaluation: metrics that were measured for one digest."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from gatehouse.api.meta import (
    NO_BLANKS,
    CelRule,
    ConditionedStatus,
    DnsLabel,
    KindInfo,
    Label,
    PrinterColumn,
    Resource,
    Struct,
    Text,
    cel,
)
from gatehouse.api.model_version import Digest

__all__ = [
    "MAX_SLICES",
    "EvaluationKind",
    "MetricResult",
    "ModelEvaluation",
    "ModelEvaluationSpec",
    "ModelEvaluationStatus",
    "VersionReference",
]

MAX_SLICES = 256
"""Limit for all metrics together: the operator keeps every evaluation in memory and lists hundreds in one page."""
FIRST_YEAR = 1900
LAST_YEAR = 2199
EvaluationKind = Literal["Task", "Bias", "Safety", "Robustness"]
Value = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40, pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,2})?$"),
]
"""A decimal number as text: JSON readers disagree about floats."""


def _of_these_centuries(at: datetime) -> datetime:
    """A year far from both ends of the range that programs can compute with."""
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"the year must be {FIRST_YEAR} to {LAST_YEAR}")
    return at


_DATE = r"(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
_ZONE = r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(_of_these_centuries),
    Field(
        json_schema_extra={
            # Kubernetes' own format takes more than RFC 3339 has, such as an offset of 99 hours.
            "format": None,
            "minLength": 20,
            "maxLength": 35,
            "pattern": f"^{_DATE}T{_TIME}{_ZONE}$",
            **cel("timestamp(self) > timestamp('1900-01-01T00:00:00Z')", "the date must exist in the calendar"),
        }
    ),
]
"""A time in RFC 3339."""


class VersionReference(Struct):
    name: DnsLabel
    """Name of the ModelVersion."""
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """The metadata.uid of the ModelVersion. A result does not count for a version that was deleted and created
    again."""


class EvaluationDataset(Struct):
    name: Label
    """Name of the data set."""
    version: Label | None = None
    """Version, revision or hash of the data set."""


class MetricSlice(Struct):
    name: Label
    """Name of the part of the data, for example language=de."""
    value: Value
    """Value of the metric for this part of the data."""


class MetricResult(Struct):
    name: Label
    """Name of the metric, for example acc_norm."""
    value: Value
    """Value of the metric."""
    stderr: Value | None = None
    """Standard error of the value."""
    slices: Annotated[
        list[MetricSlice],
        Field(
            max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = Field(default_factory=list)
    """Values of the metric for parts of the data."""


class ModelEvaluationSpec(Struct):
    version_ref: VersionReference
    """The ModelVersion that was evaluated, in the same namespace."""
    digest: Digest
    """Digest of the artifact that was evaluated. A result for another digest does not count."""
    kind: EvaluationKind
    """Kind of the evaluation."""
    suite: Label
    """Suite that was run, for example lm-evaluation-harness."""
    suite_version: Label | None = None
    """Version of the suite."""
    task: Label | None = None
    """Task of the suite, for example arc_challenge."""
    dataset: EvaluationDataset
    """Data set that was used."""
    evaluator: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Person or service account that ran the evaluation. Admission verifies that the evaluator is the caller."""
    groups: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Groups of the evaluator that count. Admission verifies that the caller is a member."""
    evaluated_at: Timestamp
    """Time of the run, for example 2026-11-29T12:00:00Z. An evaluation with a time in the future does not count."""
    metrics: Annotated[
        list[MetricResult],
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    """Metrics that were measured."""
    report_url: Annotated[str, StringConstraints(max_length=1024, pattern=f"^(https?|s3)://{NO_BLANKS}$")] | None = None
    """Link to the report."""
    notes: Text | None = None
    """Notes for readers."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule("self == oldSelf", "an evaluation never changes: apply a new ModelEvaluation"),
        CelRule(
            f"self.metrics.map(m, has(m.slices) ? size(m.slices) : 0).sum() <= {MAX_SLICES}",
            f"an evaluation has at most {MAX_SLICES} slices in all: split it into several",
        ),
    )

    @model_validator(mode="after")
    def _few_slices(self) -> Self:
        if sum(len(metric.slices) for metric in self.metrics) > MAX_SLICES:
            raise ValueError(f"an evaluation has at most {MAX_SLICES} slices in all")
        return self


class ModelEvaluationStatus(ConditionedStatus):
    """An evaluation has no status of its own: the gates of the version say whether the evaluation counts."""


class ModelEvaluation(Resource):
    """Metrics measured for one digest. An evaluation never changes; the worst result decides until it is withdrawn."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ModelEvaluation",
        plural="modelevaluations",
        singular="modelevaluation",
        short="mev",
        namespaced=True,
        columns=(
            PrinterColumn("Version", ".spec.versionRef.name"),
            PrinterColumn("Kind", ".spec.kind"),
            PrinterColumn("Suite", ".spec.suite"),
            PrinterColumn("Dataset", ".spec.dataset.name"),
            PrinterColumn("Evaluator", ".spec.evaluator", wide=True),
            PrinterColumn("Digest", ".spec.digest", wide=True),
            PrinterColumn("Evaluated", ".spec.evaluatedAt", "date"),
        ),
    )
    spec: ModelEvaluationSpec
    status: ModelEvaluationStatus = Field(default_factory=ModelEvaluationStatus)
