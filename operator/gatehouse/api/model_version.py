"""ModelVersion: one immutable version of a model, what Gatehouse found, and what is still missing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import (
    CelRule,
    ConditionedStatus,
    DnsLabel,
    KindInfo,
    Label,
    LocalObjectReference,
    PrinterColumn,
    Resource,
    Struct,
    Text,
    cel,
)
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.formats.names import DEFAULT_FORMAT, ArtifactFormat
from gatehouse.storage.providers.table import ARTIFACT_URI

__all__ = [
    "MODEL_FILE",
    "Admission",
    "Artifact",
    "ArtifactStatus",
    "CodeReference",
    "DeclaredState",
    "Digest",
    "EnvVar",
    "Gate",
    "HardwareStatus",
    "Lineage",
    "ModelFile",
    "ModelVersion",
    "ModelVersionSpec",
    "ModelVersionStatus",
    "Phase",
    "PolicyOutcome",
    "Progress",
    "Refusal",
    "RefusalReason",
    "Serving",
    "TemplateStatus",
    "Verdict",
]

MODEL_FILE: Final = r"^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*){0,31}$"
ModelFile = Annotated[str, StringConstraints(max_length=512, pattern=MODEL_FILE)]
"""A path below an artifact that an argument of a server may contain; at most 32 levels, as in a manifest."""
DeclaredState = Literal["Draft", "Submitted", "Deprecated", "Archived"]
Phase = Literal[
    "Archived",
    "Deprecated",
    "Draft",
    "Waiting",
    "Artifact Missing",
    "Artifact Invalid",
    "Artifact Changed",
    "Verifying",
    "Does Not Fit",
    "Policy Denied",
    "Rejected",
    "Changes Requested",
    "Pending Review",
    "Ready to Deploy",
]
Verdict = Literal["Fits", "Tight", "DoesNotFit", "Unknown"]
RefusalReason = Literal[
    "Rejected", "ChangesRequested", "PolicyDenied", "ArtifactChanged", "ArtifactMissing", "ArtifactInvalid"
]

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
ArtifactUri = Annotated[
    str,
    StringConstraints(min_length=8, max_length=1024, pattern=ARTIFACT_URI),
]
VersionName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9])?$"),
]
Argument = Annotated[
    str,
    StringConstraints(
        max_length=256, pattern=r"^(--[a-z0-9][a-z0-9_-]*([= ][^{}\x00-\x1f]*)?|[A-Za-z0-9._,:+-]{1,128})$"
    ),
]
"""A flag with or without a value, or the value of the preceding flag."""


class Artifact(Struct):
    uri: Annotated[
        ArtifactUri,
        Field(
            json_schema_extra=cel(
                "!self.contains('/../') && !self.contains('/./') && !self.endsWith('/..') && !self.endsWith('/.')",
                "artifact.uri must not have '.' or '..' as a segment",
            )
        ),
    ]
    """Folder of the files in object storage, for example s3://models/granite-3.1-8b/."""
    format: ArtifactFormat = DEFAULT_FORMAT
    """Format of the weights. Files of the format other are only hashed; a policy must allow them."""
    quantization: Label | None = None
    """Quantization of the weights, for example FP8-dynamic. For people only: Gatehouse reads it from the files."""
    digest: Digest | None = None
    """Digest that the files must have. When absent, the first digest that Gatehouse verifies is binding."""


class EnvVar(Struct):
    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the environment variable."""
    value: Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^{}]*$")] = ""
    """Value, without substitution; empty when absent. Put secrets into the serving runtime."""


class Serving(Struct):
    max_model_len: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Maximum length of a sequence in tokens; the longest that fits when absent."""
    extra_args: Annotated[list[Argument], Field(max_length=32)] = Field(default_factory=list)
    """More arguments of vLLM that the gate or the registry allows, each as --flag or --flag=value. As in vLLM,
    --max_num_seqs=64 and the two arguments --max-num-seqs and 64 are the same."""
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Environment variables of vLLM."""


class CodeReference(Struct):
    repository: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Repository of the training code."""
    commit: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{7,64}$")] | None = None
    """Commit of the training code."""


class Lineage(Struct):
    base_model: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Model that this version was made from."""
    training_data: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=128)] = Field(
        default_factory=list
    )
    """Data sets that the model was trained on."""
    code: CodeReference | None = None
    """Training code."""
    pipeline_run: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Run of the pipeline that made the version."""
    hyperparameters: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=256)] = (
        Field(default_factory=dict)
    )
    """Hyperparameters of the training, as text."""
    dependencies: Annotated[list[Annotated[str, StringConstraints(max_length=256)]], Field(max_length=512)] = Field(
        default_factory=list
    )
    """Packages that the training used."""


class ModelVersionSpec(Struct):
    model_ref: LocalObjectReference
    """The RegisteredModel that the version belongs to."""
    version: VersionName
    """Name of the version, unique in the model."""
    description: Text | None = None
    """Description of the version, for example its changes."""
    submitted_by: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Author of the version, who cannot approve it. Admission verifies the caller. Once set, the author never
    changes."""
    submitted_via: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Pipeline or GitOps controller that applied the version for its author. Admission verifies the caller."""
    artifact: Artifact
    """Location of the files, and requirements on them."""
    hardware_profile_ref: LocalObjectReference
    """HardwareProfile that the version runs on."""
    runtime: Literal["vLLM"] = "vLLM"
    """Serving runtime."""
    serving: Serving = Field(default_factory=Serving)
    """Settings with which the runtime starts."""
    lineage: Lineage = Field(default_factory=Lineage)
    """Origin of the version."""
    metrics: Annotated[dict[str, float], Field(max_length=128)] = Field(default_factory=dict)
    """Numbers for information only. Metrics that a policy compares belong in a ModelEvaluation."""
    custom_properties: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)
    ] = Field(default_factory=dict)
    """Keys and values for search."""
    state: DeclaredState = "Submitted"
    """State that the author declares."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule("self.modelRef.name == oldSelf.modelRef.name", "modelRef cannot change: make a new ModelVersion"),
        CelRule("self.version == oldSelf.version", "version cannot change: make a new ModelVersion"),
        CelRule(
            "self.artifact.uri == oldSelf.artifact.uri",
            "artifact.uri cannot change: a new artifact is a new version",
        ),
        CelRule(
            "!has(oldSelf.artifact.digest) || "
            "(has(self.artifact.digest) && self.artifact.digest == oldSelf.artifact.digest)",
            "artifact.digest cannot change once set: a new artifact is a new version",
        ),
        CelRule(
            "!has(oldSelf.submittedBy) || (has(self.submittedBy) && self.submittedBy == oldSelf.submittedBy)",
            "submittedBy cannot change once set: the submitter may not approve the version",
        ),
        CelRule(
            "!has(oldSelf.submittedVia) || (has(self.submittedVia) && self.submittedVia == oldSelf.submittedVia)",
            "submittedVia cannot change once set: the submitter may not approve the version",
        ),
    )


class ArtifactStatus(Struct):
    digest: Digest | None = None
    """Digest of the manifest of the files."""
    content_source: Literal["Bytes", "StoreChecksum", "Mixed"] | None = None
    """Source of the SHA-256 of the files: computed from the bytes, or reported by the store; absent when unknown."""
    total_bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Size of all files in bytes."""
    size: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Size of all files for people, for example 7.8 GiB."""
    files: int | None = None
    """Number of files."""
    parameters: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Number of parameters, from the headers of the weights."""
    architecture: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Architecture from config.json."""
    model_file: ModelFile | None = None
    """File of the artifact that servers load instead of the folder, for example a GGUF file."""
    dtypes: Annotated[dict[str, Annotated[int, Field(json_schema_extra={"format": "int64"})]], Field(max_length=64)] = (
        Field(default_factory=dict)
    )
    """Number of parameters for each data type."""
    unsafe_files: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=20)] = Field(
        default_factory=list
    )
    """Files that could run code when they are loaded; at most the first 20."""
    notes: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Notes that do not stop the version: files that the check ignored, and oddities of other files."""


class Progress(Struct):
    """Progress of the check of the content."""

    files_done: int
    """Number of files that are hashed."""
    files: int
    """Number of all files."""
    bytes_done: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    """Number of bytes that are hashed."""
    bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    """Number of all bytes."""


class HardwareStatus(Struct):
    verdict: Verdict
    """Whether the version fits the hardware profile."""
    weights_bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Bytes of weights on one accelerator."""
    overhead_bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Bytes that vLLM uses on one accelerator in addition to weights and KV cache."""
    kv_cache_bytes_per_token: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Bytes of KV cache for each token on one accelerator."""
    max_model_len: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Sequence length in tokens with which the template starts vLLM, or the longest length that would fit. Absent when
    no length is known; vLLM then uses its default."""
    max_num_seqs: int | None = None
    """Number of sequences that the template lets vLLM serve at once; absent when vLLM's default fits."""
    tensor_parallel_size: int | None = None
    """Number of accelerators that one replica uses."""
    warnings: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=8)] = Field(
        default_factory=list
    )
    """Warnings about slow or unusual configurations that still work."""


class TemplateStatus(Struct):
    name: Annotated[str, StringConstraints(max_length=253)]
    """ConfigMap with inferenceservice.yaml and servingruntime.yaml."""
    digest: Annotated[str, StringConstraints(max_length=71)]
    """Digest of the content of the ConfigMap."""


class Gate(Struct):
    """One requirement that must hold before the version is cleared for a stage."""

    name: Label
    """Name of the gate, which is also the type of its condition."""
    stage: Annotated[str, StringConstraints(max_length=63)] = ""
    """Stage that the gate belongs to; every stage when empty."""
    open: bool
    """Whether the gate is open."""
    unknown: bool = False
    """Whether the state of the gate is unknown. An unknown gate stops nothing and proves nothing."""
    rule: Annotated[str, StringConstraints(max_length=512)]
    """Requirement of the gate."""
    found: Annotated[str, StringConstraints(max_length=2048)]
    """What Gatehouse found."""
    wanted: Annotated[str, StringConstraints(max_length=1024)]
    """What Gatehouse expects, to open the gate."""
    remedy: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What to do when the gate is shut."""
    waiting: bool = False
    """Whether the gate is shut only because another gate is shut. It needs no action of its own."""

    @property
    def shut(self) -> bool:
        """Whether the gate stops the version."""
        return not self.open and not self.unknown


class Refusal(Struct):
    """Reason to refuse the version that also applies to every other version of the same artifact."""

    stage: Annotated[str, StringConstraints(max_length=63)] = ""
    """Stage that the version is refused for; every stage when empty."""
    reason: RefusalReason
    """Decision of a person or of a policy, or a fact about the bytes."""


class Admission(Struct):
    """A namespace in which a service was observed while the version was cleared for the stage of the namespace."""

    stage: Annotated[str, StringConstraints(max_length=63)]
    """Stage of the namespace."""
    namespace: Annotated[str, StringConstraints(max_length=63)]
    """Namespace of the service."""


class RunningStatus(Struct):
    """Pods of a service that run the version."""

    stage: Annotated[str, StringConstraints(max_length=63)]
    """Stage of the namespace."""
    namespace: Annotated[str, StringConstraints(max_length=63)]
    """Namespace of the Pods."""
    service: Annotated[str, StringConstraints(max_length=253)]
    """InferenceService or LLMInferenceService that the Pods belong to."""
    digest: Digest | None = None
    """Digest of the artifact that the Pods loaded, absent where the Pods do not tell."""
    pods: Annotated[int, Field(ge=0)]
    """Number of Pods whose model server has started."""
    ready: Annotated[int, Field(ge=0)]
    """Number of the Pods that take requests."""
    approved: bool
    """Whether the version is cleared for the stage with the digest that the Pods run."""


class PolicyOutcome(Struct):
    name: DnsLabel
    """Policy that applies to the version."""
    outcome: Literal["Complies", "Owes", "Denies"]
    """Verdict of the policy, the worst of all stages. A policy in mode Audit only reports its verdict."""


class ModelVersionStatus(ConditionedStatus):
    phase: Phase | None = None
    """Phase of the version, which summarises its gates."""
    cleared_for: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Stages for which the version is cleared."""
    deployed_to: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Stages in which an InferenceService runs the version."""
    admitted_to: Annotated[list[Admission], Field(max_length=128)] = Field(default_factory=list)
    """Namespaces with an enforced gate in which a service of the version, with its digest, was observed while the
    version was cleared for the stage."""
    running: Annotated[list[RunningStatus], Field(max_length=64)] = Field(default_factory=list)
    """Pods that run the version: the digest that they loaded beside the one that is approved. Pods without approval
    come first."""
    claimed_at: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Time since which a version of this namespace is registered with the URI of the artifact. The namespace with the
    earliest time owns the URI."""
    refusals: Annotated[list[Refusal], Field(max_length=64)] = Field(default_factory=list)
    """Reasons to refuse the version that also apply to every other version of the artifact."""
    registry: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The registry that keeps the version, as namespace/name."""
    registry_id: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Id of the version's row in the registry."""
    artifact: ArtifactStatus | None = None
    """What Gatehouse found at the URI."""
    recorded_digest: Digest | None = None
    """Digest that the registry recorded for the version, when the files have another digest."""
    verification: Progress | None = None
    """Progress of the check of the content, while the check runs."""
    hardware: HardwareStatus | None = None
    """Fit of the version to the hardware profile, with its figures."""
    template: TemplateStatus | None = None
    """The serving template."""
    served_digest: Digest | None = None
    """Served digest: a digest over the recorded digest of the artifact, spec.serving, the runtime and the hardware
    profile. Approvals name the served digest, and lapse when it changes."""
    risk_tier: RiskTier | None = None
    """Risk tier of the version: the highest tier that the version was ever submitted with."""
    policies: Annotated[
        list[PolicyOutcome],
        Field(
            max_length=128, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = Field(default_factory=list)
    """Policies that apply to the version, with their verdicts."""
    gates: Annotated[
        list[Gate],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "stage"]},
        ),
    ] = Field(default_factory=list)
    """Every gate with what was found and what is expected; `gatehouse explain` prints them."""


class ModelVersion(Resource):
    """One immutable version of a model: its artifact, hardware, runtime and lineage, and what Gatehouse found."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ModelVersion",
        plural="modelversions",
        singular="modelversion",
        short="mv",
        namespaced=True,
        columns=(
            PrinterColumn("Model", ".spec.modelRef.name"),
            PrinterColumn("Version", ".spec.version"),
            PrinterColumn("Status", ".status.phase"),
            PrinterColumn("Deployed", ".status.deployedTo[*]"),
            PrinterColumn("Hardware", ".spec.hardwareProfileRef.name"),
            PrinterColumn("Runtime", ".spec.runtime"),
            PrinterColumn("Fit", ".status.hardware.verdict", wide=True),
            PrinterColumn("Digest", ".status.artifact.digest", wide=True),
            PrinterColumn("Size", ".status.artifact.size", wide=True),
            PrinterColumn("URI", ".spec.artifact.uri", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: ModelVersionSpec
    status: ModelVersionStatus = Field(default_factory=ModelVersionStatus)
