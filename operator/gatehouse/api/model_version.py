"""ModelVersion: one immutable version of a model, what was found out about it, and what is still owed."""

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

__all__ = [
    "MODEL_FILE",
    "Admission",
    "Artifact",
    "ArtifactFormat",
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
"""A path below an artifact that can stand in an argument of a server; as deep as a manifest's paths, 32 levels."""
ArtifactFormat = Literal["safetensors", "gguf", "onnx", "other"]
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
    StringConstraints(
        min_length=8, max_length=1024, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)+/?$"
    ),
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
"""A flag with its value or without, or the value of the flag before it."""


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
    """Folder of the files in object storage, as in s3://models/granite-3.1-8b/."""
    format: ArtifactFormat = "safetensors"
    """Format of the weights. The files of other formats are only hashed: cleared where a policy names other."""
    quantization: Label | None = None
    """How the weights are quantized, as in FP8-dynamic; for people, the files tell what holds."""
    digest: Digest | None = None
    """Digest that the files must have; the first one verified holds when absent."""


class EnvVar(Struct):
    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the environment variable."""
    value: Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^{}]*$")] = ""
    """Value, written as it is, empty when absent; for a secret use the serving runtime."""


class Serving(Struct):
    max_model_len: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Longest sequence in tokens that vLLM is started for; the largest that fits when absent."""
    extra_args: Annotated[list[Argument], Field(max_length=32)] = Field(default_factory=list)
    """More arguments of vLLM, each as --flag or --flag=value, of those that the gate and the registry allow. What vLLM
    reads alike is taken alike: --max_num_seqs=64, and --max-num-seqs and 64 as two arguments."""
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Environment of vLLM."""


class CodeReference(Struct):
    repository: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Repository of the training code."""
    commit: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]{7,64}$")] | None = None
    """Commit of the training code."""


class Lineage(Struct):
    base_model: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Model this one was made from."""
    training_data: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=128)] = Field(
        default_factory=list
    )
    """Data sets it was trained on."""
    code: CodeReference | None = None
    """Training code."""
    pipeline_run: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Run of the pipeline that made it."""
    hyperparameters: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=256)] = (
        Field(default_factory=dict)
    )
    """Hyperparameters of the training, as text."""
    dependencies: Annotated[list[Annotated[str, StringConstraints(max_length=256)]], Field(max_length=512)] = Field(
        default_factory=list
    )
    """Packages it was made with."""


class ModelVersionSpec(Struct):
    model_ref: LocalObjectReference
    """The RegisteredModel that this is a version of."""
    version: VersionName
    """Name of the version, unique in the model."""
    description: Text | None = None
    """What is new in the version."""
    submitted_by: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Author of the version: its approvals must be of others. Admission binds it to the caller; set once, it stays."""
    submitted_via: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Who applied the version for its author, as a GitOps controller does; admission binds it to the caller."""
    artifact: Artifact
    """Where the files are and what they must be."""
    hardware_profile_ref: LocalObjectReference
    """HardwareProfile that the version is to run on."""
    runtime: Literal["vLLM"] = "vLLM"
    """Serving runtime."""
    serving: Serving = Field(default_factory=Serving)
    """How the runtime is started."""
    lineage: Lineage = Field(default_factory=Lineage)
    """Where the version comes from."""
    metrics: Annotated[dict[str, float], Field(max_length=128)] = Field(default_factory=dict)
    """Free numbers; judged metrics belong in a ModelEvaluation."""
    custom_properties: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)
    ] = Field(default_factory=dict)
    """Free words for search."""
    state: DeclaredState = "Submitted"
    """What the author intends with the version."""

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
    """Where the SHA-256 of the files are from: computed from the bytes, or the store's own; absent when not known."""
    total_bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Size of all files in bytes."""
    size: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The same for people, as in 7.8 GiB."""
    files: int | None = None
    """Number of files."""
    parameters: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Number of parameters, from the headers of the weights."""
    architecture: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Architecture from config.json."""
    model_file: ModelFile | None = None
    """The file of the artifact that servers are given in place of its folder, as of GGUF."""
    dtypes: Annotated[dict[str, Annotated[int, Field(json_schema_extra={"format": "int64"})]], Field(max_length=64)] = (
        Field(default_factory=dict)
    )
    """Parameters by data type."""
    unsafe_files: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=20)] = Field(
        default_factory=list
    )
    """Files that could run code when loaded; the first twenty."""
    notes: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """What keeps nobody from serving it and is worth to know: files that are passed over, what is odd in others."""


class Progress(Struct):
    """How far the content check is."""

    files_done: int
    """Files hashed."""
    files: int
    """Files in all."""
    bytes_done: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    """Bytes hashed."""
    bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    """Bytes in all."""


class HardwareStatus(Struct):
    verdict: Verdict
    """Whether the version fits the hardware profile."""
    weights_bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Bytes of weights on one accelerator."""
    overhead_bytes: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Bytes that vLLM takes of one accelerator besides weights and KV cache."""
    kv_cache_bytes_per_token: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Bytes of KV cache a token takes on one accelerator."""
    max_model_len: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Sequence length in tokens that the template starts vLLM with, or the longest that would fit; absent where
    nothing says a length, and vLLM takes its own."""
    max_num_seqs: int | None = None
    """Sequences that the template lets vLLM serve at once; absent where vLLM's own number will do."""
    tensor_parallel_size: int | None = None
    """Accelerators that one replica spans."""
    warnings: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=8)] = Field(
        default_factory=list
    )
    """What works, but not as well as it could."""


class TemplateStatus(Struct):
    name: Annotated[str, StringConstraints(max_length=253)]
    """ConfigMap with inferenceservice.yaml and servingruntime.yaml."""
    digest: Annotated[str, StringConstraints(max_length=71)]
    """Digest of what the ConfigMap holds."""


class Gate(Struct):
    """One thing that has to hold before the version may be deployed to a stage."""

    name: Label
    """Name of the gate, the same as its condition's type."""
    stage: Annotated[str, StringConstraints(max_length=63)] = ""
    """Stage that the gate stands before; every stage when empty."""
    open: bool
    """Whether it holds."""
    unknown: bool = False
    """Whether that is not known: the gate then stops nothing, and says nothing for the version."""
    rule: Annotated[str, StringConstraints(max_length=512)]
    """What has to hold."""
    found: Annotated[str, StringConstraints(max_length=2048)]
    """What was found."""
    wanted: Annotated[str, StringConstraints(max_length=1024)]
    """What would open it."""
    remedy: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What to do, when it is shut."""
    waiting: bool = False
    """Whether it is shut only because another gate is, and opens or says more by itself once that one does."""

    @property
    def shut(self) -> bool:
        """Whether it stops the version."""
        return not self.open and not self.unknown


class Refusal(Struct):
    """Why the version is refused, in a way that counts for every version of the same artifact."""

    stage: Annotated[str, StringConstraints(max_length=63)] = ""
    """Stage that the version is refused for; every stage when empty."""
    reason: RefusalReason
    """A person's decision, a policy's, or a fact about the bytes."""


class Admission(Struct):
    """A namespace whose service was seen while the version was cleared for its stage."""

    stage: Annotated[str, StringConstraints(max_length=63)]
    """Stage of the namespace."""
    namespace: Annotated[str, StringConstraints(max_length=63)]
    """Namespace of the service."""


class PolicyOutcome(Struct):
    name: DnsLabel
    """Policy that applies to the version."""
    outcome: Literal["Complies", "Owes", "Denies"]
    """What it says of the version, the worst over all stages; an Audit policy only reports it."""


class ModelVersionStatus(ConditionedStatus):
    phase: Phase | None = None
    """Where the version stands."""
    cleared_for: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Stages whose every gate is open."""
    deployed_to: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Stages in which an InferenceService runs the version."""
    admitted_to: Annotated[list[Admission], Field(max_length=128)] = Field(default_factory=list)
    """Namespaces with an enforced gate and a service of the version, with its digest, that was seen there while the
    version was cleared for their stage."""
    claimed_at: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Since when a version of this namespace has been registered with the artifact's URI. The URI belongs to the
    namespace with the earliest time."""
    refusals: Annotated[list[Refusal], Field(max_length=64)] = Field(default_factory=list)
    """Why the version is refused, where that counts for every version of the artifact."""
    registry: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The registry that keeps the version, as namespace/name."""
    registry_id: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Id of the version's row in the registry."""
    artifact: ArtifactStatus | None = None
    """What was found at the URI."""
    recorded_digest: Digest | None = None
    """Digest that the registry holds the version to, where what was found is not that."""
    verification: Progress | None = None
    """How far the content check is, while it runs."""
    hardware: HardwareStatus | None = None
    """Whether the version fits the profile, and with which figures."""
    template: TemplateStatus | None = None
    """The serving template."""
    served_digest: Digest | None = None
    """Digest of what is served: the recorded digest of the artifact, spec.serving, runtime and hardware profile.
    Approvals name it, and lapse when it changes."""
    risk_tier: RiskTier | None = None
    """Risk tier that the version is held to: the highest that it was ever submitted with."""
    policies: Annotated[
        list[PolicyOutcome],
        Field(
            max_length=128, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = Field(default_factory=list)
    """Policies that apply to the version, and what they say."""
    gates: Annotated[
        list[Gate],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "stage"]},
        ),
    ] = Field(default_factory=list)
    """Every gate with what was found and what is expected; `gatehouse explain` prints them."""


class ModelVersion(Resource):
    """One immutable version of a model: its artifact, hardware, runtime and lineage, and what Gatehouse established."""

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
