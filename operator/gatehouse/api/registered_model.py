"""RegisteredModel: a model family with its owners, licence and risk tier."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import (
    CelRule,
    ConditionedStatus,
    KindInfo,
    Label,
    ObjectReference,
    PrinterColumn,
    Resource,
    Struct,
    Text,
)

__all__ = ["RegisteredModel", "RegisteredModelSpec", "RegisteredModelStatus", "RiskTier"]

RiskTier = Literal["Low", "Medium", "High"]


class RegisteredModelSpec(Struct):
    registry_ref: ObjectReference | None = None
    """The ModelRegistry of the model; the registry annotated gatehouse.dev/default-registry=true when absent."""
    display_name: Label | None = None
    """Name that people read."""
    description: Text | None = None
    """Purpose of the model."""
    provider: Label | None = None
    """Organization that made the model."""
    license: Label | None = None
    """Licence of the weights; an SPDX identifier where one exists."""
    risk_tier: RiskTier | None = None
    """Risk tier that policies match; the default of the registry when absent. A tier that is lower than the default, or
    lower than before, counts only when classifiedBy names a person with the verb classify."""
    classified_by: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Person who vouches for the current risk tier, licence and labels. Admission verifies that this person is the
    caller and holds the verb classify on the tier. While this field is set, no one else can change those values."""
    tasks: Annotated[list[Label], Field(max_length=32)] = Field(default_factory=list)
    """Tasks of the model, for example text-generation."""
    languages: Annotated[list[Label], Field(max_length=256)] = Field(default_factory=list)
    """Languages of the model, as BCP 47 tags."""
    owners: Annotated[list[Label], Field(max_length=64)] = Field(default_factory=list)
    """People or groups who are responsible for the model."""
    tags: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Keys and values for search."""
    state: Literal["Live", "Archived"] = "Live"
    """Archived: the versions of the model are archived too."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "has(self.registryRef) == has(oldSelf.registryRef) && "
            "(!has(self.registryRef) || self.registryRef == oldSelf.registryRef)",
            "registryRef cannot change: rows do not move between registries; make a new RegisteredModel",
        ),
        CelRule(
            "!has(self.classifiedBy) || has(self.riskTier)",
            "classifiedBy vouches for a riskTier: set that as well",
        ),
    )


class VersionCount(Struct):
    phase: Label
    """Phase of the counted versions."""
    count: int
    """Number of versions in the phase."""


class RegisteredModelStatus(ConditionedStatus):
    registry_id: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Id of the model's row in the registry."""
    registry: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The registry that keeps the model, as namespace/name."""
    risk_tier: RiskTier | None = None
    """Risk tier of new versions of the model."""
    versions: int | None = None
    """Number of versions of the model."""
    versions_by_phase: Annotated[
        list[VersionCount],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["phase"]},
        ),
    ] = Field(default_factory=list)
    """Number of versions in each phase."""
    latest_ready: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Name of the newest ModelVersion in the phase Ready to Deploy."""


class RegisteredModel(Resource):
    """A model family: its owners, licence, risk tier and tasks. Each version is a ModelVersion."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="RegisteredModel",
        plural="registeredmodels",
        singular="registeredmodel",
        short="rm",
        namespaced=True,
        columns=(
            PrinterColumn("Display", ".spec.displayName"),
            PrinterColumn("Provider", ".spec.provider"),
            PrinterColumn("Risk", ".status.riskTier"),
            PrinterColumn("State", ".spec.state"),
            PrinterColumn("Versions", ".status.versions", "integer"),
            PrinterColumn("Latest Ready", ".status.latestReady"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status", wide=True),
            PrinterColumn("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            PrinterColumn("Registry Id", ".status.registryId", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: RegisteredModelSpec = Field(default_factory=RegisteredModelSpec)
    status: RegisteredModelStatus = Field(default_factory=RegisteredModelStatus)
