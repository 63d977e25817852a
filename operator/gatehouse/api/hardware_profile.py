"""HardwareProfile: accelerator memory, compute capability, count and node placement of one kind of machine."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import (
    CelRule,
    ConditionedStatus,
    KindInfo,
    Label,
    PrinterColumn,
    Resource,
    Struct,
    Text,
)

__all__ = [
    "Accelerator",
    "HardwareProfile",
    "HardwareProfileSpec",
    "HardwareProfileStatus",
    "NodePlacement",
    "ProfileServing",
    "ResourceRequirements",
    "Toleration",
]

QUANTITY = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P|m)?$"
Quantity = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=QUANTITY)]
QualifiedName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=316, pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ),
]


class Accelerator(Struct):
    vendor: Label
    """Maker of the accelerator, as in NVIDIA or AMD."""
    model: Label
    """Model of the accelerator, as in L4. vLLM chooses its batch by the memory, and for an A100 by that name in it."""
    memory: Quantity
    """Memory of one accelerator as its driver reports it, as in 23034Mi."""
    compute_capability: Annotated[str, StringConstraints(max_length=5, pattern=r"^[0-9]{1,3}\.[0-9]$")] | None = None
    """NVIDIA compute capability, as in "8.9". Absent for other vendors."""
    fp8: Literal["Compute", "WeightOnly", "None"] | None = None
    """How FP8 models run where there is no compute capability: in FP8 arithmetic, as storage only, or not at all."""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """Accelerators on one node that a replica uses."""
    resource_name: QualifiedName = "nvidia.com/gpu"
    """Extended resource that a Pod asks for."""


class Toleration(Struct):
    key: Annotated[str, StringConstraints(max_length=316)] | None = None
    """Taint key; every key when absent and the operator is Exists."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the value is compared; Equal when absent."""
    value: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; every effect when absent."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a NoExecute taint is borne."""


class NodePlacement(Struct):
    selector: Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Node labels that a node must carry."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list)
    """Taints that the Pods bear."""


class ResourceRequirements(Struct):
    requests: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict)
    """Resources of one replica besides the accelerators."""
    limits: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict)
    """Limits of one replica besides the accelerators."""


class ProfileServing(Struct):
    gpu_memory_utilization: Annotated[str, StringConstraints(max_length=6, pattern=r"^(0\.[0-9]{1,4}|1\.0{1,4})$")] = (
        "0.90"
    )
    """Part of the accelerator's memory that vLLM may take, as its flag --gpu-memory-utilization."""
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    """Data type of the KV cache, as vLLM's flag --kv-cache-dtype."""


class HardwareProfileSpec(Struct):
    display_name: Label | None = None
    """Name for people."""
    description: Text | None = None
    """What the machine is and where its figures come from."""
    accelerator: Accelerator
    """The accelerator of the machine."""
    node: NodePlacement = Field(default_factory=NodePlacement)
    """Where Pods may run."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """CPU and memory of one replica."""
    serving: ProfileServing = Field(default_factory=ProfileServing)
    """How vLLM uses the accelerator."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.accelerator.vendor != 'NVIDIA' || has(self.accelerator.computeCapability)",
            'an NVIDIA accelerator needs accelerator.computeCapability, for example "8.9"',
        ),
    )


class HardwareProfileStatus(ConditionedStatus):
    versions: int | None = None
    """Model versions that name this profile."""


class HardwareProfile(Resource):
    """Accelerator memory, compute capability, count and node placement of one kind of machine that serves models."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="HardwareProfile",
        plural="hardwareprofiles",
        singular="hardwareprofile",
        short="hwp",
        namespaced=False,
        columns=(
            PrinterColumn("Accelerator", ".spec.accelerator.model"),
            PrinterColumn("Memory", ".spec.accelerator.memory"),
            PrinterColumn("Count", ".spec.accelerator.count", "integer"),
            PrinterColumn("Capability", ".spec.accelerator.computeCapability"),
            PrinterColumn("Versions", ".status.versions", "integer"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: HardwareProfileSpec
    status: HardwareProfileStatus = Field(default_factory=HardwareProfileStatus)
