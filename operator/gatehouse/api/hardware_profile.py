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
    """Vendor of the accelerator, for example NVIDIA or AMD."""
    model: Label
    """Model of the accelerator, for example L4. vLLM has its own batch size for a model whose name contains A100."""
    memory: Quantity
    """Memory of one accelerator as its driver reports it, for example 23034Mi."""
    compute_capability: Annotated[str, StringConstraints(max_length=5, pattern=r"^[0-9]{1,3}\.[0-9]$")] | None = None
    """NVIDIA compute capability, for example "8.9"; absent for other vendors."""
    fp8: Literal["Compute", "WeightOnly", "None"] | None = None
    """How an accelerator without a compute capability runs FP8 models: in FP8 arithmetic, as storage only, or not at
    all."""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of accelerators that one replica uses on one node."""
    resource_name: QualifiedName = "nvidia.com/gpu"
    """Extended resource that a Pod requests."""


class Toleration(Struct):
    key: Annotated[str, StringConstraints(max_length=316)] | None = None
    """Taint key. An absent key with the operator Exists tolerates every key."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Operator that compares the value; Equal when absent."""
    value: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; every effect when absent."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds for which a NoExecute taint is tolerated."""


class NodePlacement(Struct):
    selector: Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list)
    """Taints that the Pods tolerate."""


class ResourceRequirements(Struct):
    requests: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict)
    """Requests of one replica, without the accelerators."""
    limits: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict)
    """Limits of one replica, without the accelerators."""


class ProfileServing(Struct):
    gpu_memory_utilization: Annotated[str, StringConstraints(max_length=6, pattern=r"^(0\.[0-9]{1,4}|1\.0{1,4})$")] = (
        "0.90"
    )
    """Fraction of the accelerator's memory that vLLM may use, as in vLLM's flag --gpu-memory-utilization."""
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    """Data type of the KV cache, as in vLLM's flag --kv-cache-dtype."""


class HardwareProfileSpec(Struct):
    display_name: Label | None = None
    """Name that people read."""
    description: Text | None = None
    """Description of the machine, and the source of its figures."""
    accelerator: Accelerator
    """The accelerator of the machine."""
    node: NodePlacement = Field(default_factory=NodePlacement)
    """Nodes on which the Pods may run."""
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """CPU and memory of one replica."""
    serving: ProfileServing = Field(default_factory=ProfileServing)
    """Settings with which vLLM uses the accelerator."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.accelerator.vendor != 'NVIDIA' || has(self.accelerator.computeCapability)",
            'an NVIDIA accelerator needs accelerator.computeCapability, for example "8.9"',
        ),
    )


class HardwareProfileStatus(ConditionedStatus):
    versions: int | None = None
    """Number of ModelVersions that name this profile."""


class HardwareProfile(Resource):
    """One kind of machine that serves models: accelerator memory, compute capability, count and node placement."""

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
