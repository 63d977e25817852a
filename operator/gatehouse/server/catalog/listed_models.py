"""The models of the catalog: one for each version that is Ready to Deploy, as clients read them.

A listed model is a governed version and never a recorded entry: only Gatehouse writes what decides about the listing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from gatehouse.domain.entries.entry import Entry, Governed
from gatehouse.domain.entries.governed_properties import PREFIX, READY_LABEL, governed_properties
from gatehouse.domain.entries.properties import Property, PropertyValue

__all__ = [
    "ESTIMATE",
    "LABEL",
    "SOURCE",
    "FieldValue",
    "ListedArtifact",
    "ListedModel",
    "listed_models",
    "milliseconds",
    "split_name",
    "stage_label",
    "stages_of",
]

SOURCE: Final = "gatehouse"
"""The id of the only source."""
LABEL: Final = "Vetted"
ESTIMATE: Final = "an estimate from the shape of the model and the hardware profile; not a measurement"
FieldValue = PropertyValue | tuple[str, ...]
"""A value that filters compare: of a member, of a custom property, or a list of texts."""
_TEXTS: Final = ("provider", "license", "licenseLink", "libraryName", "logo", "maturity", "readme")
_LISTS: Final = ("language", "tasks", "validatedTasks")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
        """The artifact that Gatehouse verified, and the estimate of the fit."""
        governed, version = self.governed, self.version
        digest = {f"{PREFIX}digest": Property("string", governed.digest)} if governed.digest else {}
        artifacts = [
            ListedArtifact(
                id=str(version.id),
                rank=1,
                name=self.name,
                uri=governed.uri,
                properties=digest,
                created_at=version.created_at,
                updated_at=version.updated_at,
            )
        ]
        if governed.fit:
            facts = {
                f"{PREFIX}fit": governed.fit,
                f"{PREFIX}fit_basis": ESTIMATE,
                f"{PREFIX}hardware_profile": governed.hardware_profile,
            }
            artifacts.append(
                ListedArtifact(
                    id=f"{version.id}-fit",
                    rank=2,
                    name=f"{self.name} (estimated fit)",
                    metrics="performance-metrics",
                    properties={name: Property("string", text) for name, text in facts.items() if text},
                    created_at=version.created_at,
                    updated_at=version.updated_at,
                )
            )
        return tuple(artifacts)

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


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)
