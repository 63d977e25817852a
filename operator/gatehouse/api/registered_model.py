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
    """The ModelRegistry that keeps the model; the one annotated gatehouse.dev/default-registry=true when absent."""
    display_name: Label | None = None
    """Name for people."""
    description: Text | None = None
    """What the model is for."""
    provider: Label | None = None
    """Who made the model."""
    license: Label | None = None
    """Licence of the weights, as an SPDX identifier where there is one."""
    risk_tier: RiskTier | None = None
    """Risk tier that policies match on; the registry's default when absent. A lower one than that, or than before,
    counts once classifiedBy names somebody who may say so."""
    classified_by: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Who vouches for the risk tier, the licence and the labels as they are. Admission binds it to the caller, who
    holds the verb classify on the tier, and lets nobody else change them while it is set."""
    tasks: Annotated[list[Label], Field(max_length=32)] = Field(default_factory=list)
    """What the model does, as in text-generation."""
    languages: Annotated[list[Label], Field(max_length=256)] = Field(default_factory=list)
    """Languages the model knows, as BCP 47 tags."""
    owners: Annotated[list[Label], Field(max_length=64)] = Field(default_factory=list)
    """People or groups who answer for the model."""
    tags: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Free words for search."""
    state: Literal["Live", "Archived"] = "Live"
    """An archived model archives its versions."""

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
    """Phase of the versions counted."""
    count: int
    """How many versions are in it."""


class RegisteredModelStatus(ConditionedStatus):
    registry_id: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Id of the model's row in the registry."""
    registry: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The registry that keeps the model, as namespace/name."""
    risk_tier: RiskTier | None = None
    """Risk tier that new versions of the model count as."""
    versions: int | None = None
    """How many versions the model has."""
    versions_by_phase: Annotated[
        list[VersionCount],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["phase"]},
        ),
    ] = Field(default_factory=list)
    """Versions of the model by phase."""
    latest_ready: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Name of the newest ModelVersion that is Ready to Deploy."""


class RegisteredModel(Resource):
    """A model family: its owners, licence, risk tier and what it does. Its versions are ModelVersions."""

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
