"""What every kind of the group ``gatehouse.dev/v1alpha1`` shares: metadata, references, conditions and schema marks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

__all__ = [
    "ANNOTATION_DEFAULT_REGISTRY",
    "ANNOTATION_RECONCILE_REQUESTED_AT",
    "ANNOTATION_TRACEPARENT",
    "ANNOTATION_WITHDRAWAL_REASON",
    "ANNOTATION_WITHDRAWN_BY",
    "ANNOTATION_WRITER",
    "BLANK",
    "GROUP",
    "NOT_BLANK",
    "NO_BLANKS",
    "VERSION",
    "CelRule",
    "Condition",
    "ConditionedStatus",
    "DnsLabel",
    "KindInfo",
    "Label",
    "LocalObjectReference",
    "ObjectMeta",
    "ObjectReference",
    "PrinterColumn",
    "Resource",
    "SecretKeyReference",
    "Struct",
    "Text",
    "cel",
]

GROUP = "gatehouse.dev"
VERSION = "v1alpha1"
ANNOTATION_DEFAULT_REGISTRY = "gatehouse.dev/default-registry"
ANNOTATION_RECONCILE_REQUESTED_AT = "gatehouse.dev/reconcile-requested-at"
ANNOTATION_TRACEPARENT = "gatehouse.dev/traceparent"
"""Written at the creation of an object: the trace that the first reconciles of the object continue."""
ANNOTATION_WITHDRAWN_BY = "gatehouse.dev/withdrawn-by"
ANNOTATION_WITHDRAWAL_REASON = "gatehouse.dev/withdrawal-reason"
"""Written into an approval or an evaluation before it is deleted; admission binds them to the caller."""
ANNOTATION_WRITER = "gatehouse.dev/writer"
"""Written into VettedArtifacts: the operator process that wrote them, as the Lease names its holder."""

LONGEST_REQUEST = 256
BLANK = r"\t\n\f\r "
"""The blanks of Go's regular expressions. Beyond ASCII, the two programs that validate disagree about blanks."""
NOT_BLANK = f"[^{BLANK}]"
NO_BLANKS = f"{NOT_BLANK}+"


@dataclass(frozen=True, slots=True)
class CelRule:
    """One ``x-kubernetes-validations`` entry: a CEL expression, and the message that people read when it is false."""

    rule: str
    message: str


def cel(rule: str, message: str) -> JsonDict:
    """Schema mark for a field: ``Field(json_schema_extra=cel(...))``."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of ``kubectl get``; ``wide`` ones show with ``-o wide`` only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """How a kind is published: its names, scope and columns."""

    kind: str
    plural: str
    singular: str
    short: str
    namespaced: bool
    columns: tuple[PrinterColumn, ...]


class Struct(BaseModel):
    """A frozen value with camelCase names on the wire. Unknown fields are ignored: a newer CRD may have more."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
        defer_build=True,
    )

    rules: ClassVar[tuple[CelRule, ...]] = ()

    def wire(self) -> dict[str, Any]:
        """The value as Kubernetes JSON: camelCase, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""The name of a Kubernetes object."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Text = Annotated[str, StringConstraints(max_length=4096)]


class ObjectMeta(Struct):
    """The part of ``metadata`` that Gatehouse reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class LocalObjectReference(Struct):
    name: DnsLabel
    """Name of the object, in the same namespace."""


class ObjectReference(Struct):
    name: DnsLabel
    """Name of the object."""
    namespace: DnsLabel | None = None
    """Namespace of the object; the namespace of the referring object when absent."""


class SecretKeyReference(Struct):
    name: DnsLabel
    """Name of the Secret, in the same namespace."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key in the Secret."""


class Condition(Struct):
    """A condition as in ``metav1.Condition``."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """Type of the condition, in CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that the condition describes."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """Time at which the status of the condition last changed."""
    reason: Annotated[
        str,
        StringConstraints(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
    ]
    """Reason as one stable word, in CamelCase."""
    message: Annotated[str, StringConstraints(max_length=32768)] = ""
    """Reason as a sentence for people."""


class ConditionedStatus(Struct):
    """The fields that the status of every kind has."""

    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """The metadata.generation that this status describes."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default_factory=list)
    """Conditions as kstatus defines them: Ready, Reconciling and Stalled, and one condition for each gate."""
    last_handled_reconcile_at: Annotated[str, StringConstraints(max_length=LONGEST_REQUEST)] | None = None
    """The last value of the annotation gatehouse.dev/reconcile-requested-at that the operator handled."""


class Resource(Struct):
    """An object of a kind: ``metadata``, ``spec`` and ``status``."""

    info: ClassVar[KindInfo]
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    status: ConditionedStatus = Field(default_factory=ConditionedStatus)

    @property
    def requested_at(self) -> str | None:
        """The value of the annotation that requests a reconcile, cut to the length that a status can hold."""
        asked = self.metadata.annotations.get(ANNOTATION_RECONCILE_REQUESTED_AT)
        return None if asked is None else asked[:LONGEST_REQUEST]
