"""The models of the catalog: one for each version that is Ready to Deploy, as clients read them.

A listed model is a governed version and never a recorded entry: only Gatehouse writes what decides about the listing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from gatehouse.domain.common.epoch import milliseconds
from gatehouse.domain.entries.entry import Entry, Governed
from gatehouse.domain.entries.governed_properties import PREFIX, READY_LABEL, governed_properties
from gatehouse.domain.entries.measurements import Estimate, Measurement
from gatehouse.domain.entries.properties import Property, PropertyValue
from gatehouse.domain.query.filters import All, Comparison, Filter

__all__ = [
    "AVERAGE",
    "ESTIMATE",
    "LABEL",
    "READY",
    "SOURCE",
    "FieldValue",
    "ListedArtifact",
    "ListedModel",
    "listed_models",
    "split_name",
    "stage_label",
    "stages_of",
]

SOURCE: Final = "gatehouse"
"""The id of the only source."""
LABEL: Final = "Vetted"
ESTIMATE: Final = "an estimate from the shape of the model and the hardware profile; not a measurement"
READY: Final[Filter] = All(
    (
        Comparison(("gatehouse.phase",), "=", (READY_LABEL,), "string"),
        Comparison(("state",), "=", ("LIVE",)),
    )
)
"""What the rows of a listed model meet; :func:`listed_models` decides."""
FieldValue = PropertyValue | tuple[str, ...]
"""A value that filters compare: of a member, of a custom property, or a list of texts."""
AVERAGE: Final = "overall_average"
"""The property by which dashboards order models by accuracy."""
_ACCURACIES: Final = (
    AVERAGE,
    "overall_accuracy",
    "accuracy",
    "acc_norm",
    "acc",
    "exact_match",
    "pass@1",
    "f1",
)
"""Metrics that say how many answers of a task are right. The first one that an evaluation has is its accuracy."""
_TEXTS: Final = ("provider", "license", "licenseLink", "libraryName", "logo", "maturity", "readme")
_LISTS: Final = ("language", "tasks", "validatedTasks")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedArtifact:
    """An artifact of a listed model. ``metrics`` is the kind of metrics; empty for the model artifact itself."""

    id: str
    rank: int
    name: str
    uri: str = ""
    metrics: str = ""
    properties: Mapping[str, Property]
    created_at: datetime
    updated_at: datetime

    @property
    def type(self) -> str:
        """The artifactType."""
        return "metrics-artifact" if self.metrics else "model-artifact"

    def field(self, name: str) -> FieldValue | None:
        """The value of a member that filters know."""
        match name:
            case "artifactType":
                return self.type
            case "metricsType":
                return self.metrics or None
            case "uri":
                return self.uri or None
            case "id" | "name":
                return str(getattr(self, name))
            case "createTimeSinceEpoch":
                return milliseconds(self.created_at)
            case "lastUpdateTimeSinceEpoch":
                return milliseconds(self.updated_at)
        return None


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """A version that is Ready to Deploy. ``model`` is None where the caller may not read the version's model."""

    version: Entry
    governed: Governed
    model: Entry | None = None

    @property
    def id(self) -> int:
        """The id of the version, in the registry and in the catalog."""
        return self.version.id

    @cached_property
    def name(self) -> str:
        """``<model>/<version>`` by the keys of both, which hold no slash: unique in the registry."""
        return f"{self.version.parent_key}/{self.version.key}"

    @cached_property
    def properties(self) -> Mapping[str, Property]:
        """The client's own properties of model and version, and those that Gatehouse writes."""
        governed = self.governed
        stages = {f"{PREFIX}cleared_for.{stage}": Property("bool", True) for stage in governed.cleared_for}
        titles = {f"{PREFIX}model_version": Property("string", self.version.name)}
        if self.model is not None:
            titles[f"{PREFIX}registered_model"] = Property("string", self.model.name)
        fit = {f"{PREFIX}fit_basis": Property("string", ESTIMATE)} if governed.fit else {}
        own = {} if self.model is None else dict(self.model.properties)
        own |= self.version.properties
        clean = {name: value for name, value in own.items() if not name.startswith(PREFIX)}
        return clean | governed_properties(governed) | stages | titles | fit

    @cached_property
    def members(self) -> Mapping[str, Any]:
        """The members of the answer that come from the model and the version; the version's own come first."""
        found: dict[str, Any] = {}
        for entry in (self.model, self.version):
            if entry is None:
                continue
            for name in ("description", *_TEXTS):
                value = entry.members.get(name)
                if isinstance(value, str) and value:
                    found[name] = value
            for name in _LISTS:
                value = entry.members.get(name)
                if isinstance(value, list | tuple) and value:
                    found[name] = tuple(part for part in value if isinstance(part, str))
        return found

    @cached_property
    def artifacts(self) -> Sequence[ListedArtifact]:
        """The artifact that Gatehouse verified, the estimate of the fit, and what evaluations measured."""
        governed = self.governed
        digest = {f"{PREFIX}digest": Property("string", governed.digest)} if governed.digest else {}
        found = [self._artifact(rank=1, id_="", name=self.name, uri=governed.uri, properties=digest)]
        if governed.fit:
            name = f"{self.name} (estimated fit)"
            facts = _estimate_properties(governed)
            found.append(self._artifact(rank=2, id_="-fit", name=name, metrics="performance-metrics", properties=facts))
        for rank, measured in enumerate(governed.measured, 3):
            name = f"{self.name} ({measured.suite}, {measured.task or measured.dataset})"
            facts = _measured_properties(measured)
            found.append(
                self._artifact(
                    rank=rank, id_=f"-{measured.name}", name=name, metrics="accuracy-metrics", properties=facts
                )
            )
        return tuple(found)

    def _artifact(self, *, id_: str, **values: Any) -> ListedArtifact:
        version = self.version
        return ListedArtifact(
            id=f"{version.id}{id_}", created_at=version.created_at, updated_at=version.updated_at, **values
        )

    def field(self, name: str) -> FieldValue | None:
        """The value of a member that filters and orders know; None for another name, or without a value."""
        match name:
            case "id":
                return self.id
            case "name":
                return self.name
            case "source_id" | "sourceId":
                return SOURCE
            case "externalId":
                return self.version.external_id
            case "createTimeSinceEpoch":
                return milliseconds(self.version.created_at)
            case "lastUpdateTimeSinceEpoch":
                return milliseconds(self.version.updated_at)
        value: FieldValue | None = self.members.get(name)
        return value

    def mentions(self, text: str) -> bool:
        """Whether a free-text search finds the model, in any case."""
        said = [self.name, self.version.name, "" if self.model is None else self.model.name]
        said += [str(self.members.get(name, "")) for name in ("description", "provider", "libraryName")]
        said += self.members.get("tasks", ())
        sought = text.casefold()
        return any(sought in part.casefold() for part in said)


def _estimate_properties(governed: Governed) -> dict[str, Property]:
    """The figures of the fit, which say that they are estimates, and the hardware in the words of dashboards."""
    texts = {
        f"{PREFIX}fit": governed.fit,
        f"{PREFIX}fit_basis": ESTIMATE,
        f"{PREFIX}hardware_profile": governed.hardware_profile,
        "hardware_type": governed.hardware_profile,
    }
    properties = {name: Property("string", text) for name, text in texts.items() if text}
    estimate = governed.estimate or Estimate()
    numbers = {
        "hardware_count": estimate.accelerators,
        f"{PREFIX}estimated_max_model_len": estimate.max_model_len,
        f"{PREFIX}estimated_concurrent_requests": estimate.sequences,
    }
    return properties | {name: Property("int", number) for name, number in numbers.items() if number}


def _measured_properties(measured: Measurement) -> dict[str, Property]:
    """The metrics of an evaluation, where they come from, and for a task the accuracy that orders compare."""
    metrics = {name: value for name, value in measured.metrics if not name.startswith(PREFIX)}
    average = None
    if measured.kind == "Task":
        average = next((metrics[name] for name in _ACCURACIES if name in metrics), None)
    texts = {
        f"{PREFIX}evaluation": measured.name,
        f"{PREFIX}evaluation_kind": measured.kind,
        f"{PREFIX}evaluated_at": measured.at,
        f"{PREFIX}suite": measured.suite,
        f"{PREFIX}task": measured.task,
        f"{PREFIX}dataset": measured.dataset,
    }
    properties = {name: Property("double", value) for name, value in metrics.items()}
    if average is not None:
        properties[AVERAGE] = Property("double", average)
    return properties | {name: Property("string", text) for name, text in texts.items() if text}


def listed_models(versions: Sequence[Entry], models: Sequence[Entry] = ()) -> Sequence[ListedModel]:
    """The listed models among versions. Recorded, archived and other versions, and those cleared for no stage, are
    left out, whatever the rows of a database let through."""
    by_id = {model.id: model for model in models}
    listed = []
    for version in versions:
        governed = version.governed
        if (
            version.kind == "model_version"
            and governed is not None
            and version.state == "LIVE"
            and governed.phase == READY_LABEL
            and governed.cleared_for
            and governed.digest
        ):
            model = by_id.get(version.parent_id or 0)
            listed.append(ListedModel(version=version, governed=governed, model=model))
    return listed


def split_name(name: str) -> tuple[str, str] | None:
    """The keys of model and version in a name; None for a name that no listed model has."""
    model, slash, version = name.partition("/")
    return (model, version) if slash and model and version and "/" not in version else None


def stages_of(models: Sequence[ListedModel]) -> Sequence[str]:
    """The stages that any of the models is cleared for, in the order of their names."""
    return sorted({stage for model in models for stage in model.governed.cleared_for})


def stage_label(stage: str) -> str:
    """The label of the models that are cleared for a stage."""
    return f"Cleared for {stage}"
