"""GovernancePolicy: what must hold for a version before the version is cleared for a stage."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import (
    NO_BLANKS,
    CelRule,
    ConditionedStatus,
    KindInfo,
    Label,
    PrinterColumn,
    Resource,
    Struct,
    Text,
)
from gatehouse.api.model_evaluation import EvaluationKind
from gatehouse.api.model_registry import LabelSelector, StageName
from gatehouse.api.registered_model import RiskTier
from gatehouse.api.values import Duration
from gatehouse.domain.formats.names import ArtifactFormat

__all__ = [
    "ApprovalRequirement",
    "ArtifactRequirements",
    "EvaluationRequirement",
    "Evaluators",
    "GovernancePolicy",
    "GovernancePolicySpec",
    "GovernancePolicyStatus",
    "HardwareRequirements",
    "LineageField",
    "LineageRequirements",
    "PolicyExpression",
    "PolicyMatch",
    "PolicyMode",
    "RunningServices",
    "SignatureIdentity",
    "SignatureKey",
    "SignatureRequirements",
    "SubmitterEvaluations",
]

PolicyMode = Literal["Enforce", "Audit"]
Comparison = Literal[">=", ">", "<=", "<", "=="]
LineageField = Literal[
    "baseModel",
    "trainingData",
    "code.repository",
    "code.commit",
    "pipelineRun",
    "hyperparameters",
    "dependencies",
]
RuleName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Number = Annotated[str, StringConstraints(min_length=1, max_length=24, pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,9})?$")]
"""A decimal number as text, as Kubernetes writes quantities: JSON readers disagree about floats."""
Stages = Annotated[list[StageName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})]
NAMED_LIST = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class PolicyMatch(Struct):
    risk_tiers: Annotated[list[RiskTier], Field(max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(default_factory=list)
    )
    """Risk tiers of the models that the policy matches; every tier when empty."""
    namespace_selector: LabelSelector | None = None
    """Labels that the namespace of the version must have; every namespace when absent."""
    model_selector: LabelSelector | None = None
    """Labels that the RegisteredModel must have; every model when absent."""


class SignatureKey(Struct):
    name: RuleName
    """Name of the key, shown to people."""
    public_key: Annotated[str, StringConstraints(min_length=64, max_length=4096)]
    """Public key of the signer, in PEM."""


class SignatureIdentity(Struct):
    name: RuleName
    """Name of the identity, shown to people."""
    issuer: Annotated[str, StringConstraints(min_length=8, max_length=512, pattern=f"^https://{NO_BLANKS}$")]
    """OpenID Connect issuer that authenticated the signer."""
    subject: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Subject of the signing certificate, for example ml-team@example.com."""


class SignatureRequirements(Struct):
    """Accepted signers: one of them must have made the OpenSSF signature ``model.sig`` beside the files."""

    keys: Annotated[list[SignatureKey], Field(max_length=16, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """Public keys of the signers."""
    identities: Annotated[list[SignatureIdentity], Field(max_length=16, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """Identities of the signers in Sigstore certificates."""
    certificate_authorities: Annotated[str, StringConstraints(min_length=64, max_length=32768)] | None = None
    """Certificates, in PEM, of the authorities that signers' certificates must chain to, for example Fulcio's."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "(has(self.keys) && size(self.keys) > 0) || (has(self.identities) && size(self.identities) > 0)",
            "name at least one key or identity of a signer",
        ),
        CelRule(
            "!has(self.identities) || size(self.identities) == 0 || has(self.certificateAuthorities)",
            "identities need certificateAuthorities: the certificates, in PEM, of the authority that vouches for them",
        ),
    )


class ArtifactRequirements(Struct):
    formats: Annotated[
        list[ArtifactFormat],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Formats of weights that are allowed; every checked format when empty. Files of the format other are only hashed.
    A version of that format is allowed only where an enforced policy lists other."""
    remote_code: Literal["Deny", "Allow"] = "Allow"
    """Whether config.json may name code to load (auto_map). Without such a policy these artifacts are invalid too."""
    verification: Literal["Any", "Content"] = "Any"
    """Content: Gatehouse must have read every byte. If only a checksum of the store is known, Gatehouse reads the
    files."""
    signature: SignatureRequirements | None = None
    """Signers, one of whom must have signed the artifact."""


class HardwareRequirements(Struct):
    unknown_fit: Literal["Deny", "Allow"] = "Allow"
    """Whether a version may be deployed when its fit to the hardware profile is unknown."""


class LineageRequirements(Struct):
    required: Annotated[list[LineageField], Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"})]
    """Fields of spec.lineage that must be set."""


UserName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
AccountName = Annotated[
    str, StringConstraints(max_length=330, pattern=r"^system:serviceaccount:[a-z0-9-]+:[a-z0-9]([a-z0-9.-]*)$")
]
SubmitterEvaluations = Literal["Deny", "Allow"]


class Evaluators(Struct):
    """The people whose results count. When all lists are empty, everyone's results count except the submitter's."""

    users: Annotated[list[UserName], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=list
    )
    """Names of users."""
    groups: Annotated[list[UserName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(default_factory=list)
    )
    """Groups. The evaluation must name the group, and admission verifies that the evaluator is a member."""
    service_accounts: Annotated[
        list[AccountName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Service accounts, for example those of pipelines."""

    @property
    def is_anybody(self) -> bool:
        """Whether no evaluator is named, and everyone counts."""
        return not (self.users or self.groups or self.service_accounts)


class EvaluationRequirement(Struct):
    name: RuleName
    """Name of the requirement in the policy."""
    kind: EvaluationKind
    """Kind of the evaluation."""
    suite: Label | None = None
    """Suite that the evaluation must have run; any suite when absent."""
    dataset: Label | None = None
    """Data set that the evaluation must have used; any data set when absent."""
    dataset_version: Label | None = None
    """Version of the data set; any version when absent."""
    metric: Label
    """Metric whose value is compared with the threshold."""
    operator: Comparison
    """Operator that compares the value with the threshold."""
    threshold: Number
    """Threshold that the value is compared with."""
    max_age: Duration | None = None
    """Maximum age of the evaluation; any age when absent. A result that fails the threshold counts at any age."""
    evaluators: Evaluators = Field(default_factory=Evaluators)
    """The people and service accounts whose results count."""
    stages: Stages = Field(default_factory=list)
    """Stages that need the evaluation; all stages when empty."""


class ApprovalRequirement(Struct):
    stage: StageName
    """Stage that needs the approval."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """Number of people who must approve; 1 when absent. The submitter never counts, and each person counts once."""
    groups: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Groups; an approver must be a member of at least one. When empty, everyone whom RBAC permits may approve."""
    service_accounts: Annotated[
        list[
            Annotated[
                str,
                StringConstraints(max_length=330, pattern=r"^system:serviceaccount:[a-z0-9-]+:[a-z0-9]([a-z0-9.-]*)$"),
            ]
        ],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Service accounts that count as approvers; none when empty."""


class PolicyExpression(Struct):
    name: RuleName
    """Name of the rule in the policy."""
    expression: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    """CEL expression over version, model, artifact, hardware, evaluations and stage. Only the boolean true passes."""
    message: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Message that people read when the rule does not hold: what is wrong, and what to do."""
    stages: Stages = Field(default_factory=list)
    """Stages that the rule applies to; all stages when empty."""


class RunningServices(Struct):
    new_pods: Literal["Deny", "Allow"] = "Allow"
    """Whether a running service may start new Pods after its version is no longer cleared."""


class GovernancePolicySpec(Struct):
    description: Text | None = None
    """Purpose of the policy, and who is responsible for it."""
    mode: PolicyMode = "Enforce"
    """Enforce: the policy shuts gates. Audit: the policy only reports which gates it would shut."""
    match: PolicyMatch = Field(default_factory=PolicyMatch)
    """Versions that the policy applies to; all versions when empty. Every policy that matches a version applies."""
    artifact: ArtifactRequirements = Field(default_factory=ArtifactRequirements)
    """Requirements on the artifact."""
    hardware: HardwareRequirements = Field(default_factory=HardwareRequirements)
    """Requirements on the fit to the hardware profile."""
    licenses: Annotated[list[Label], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=list
    )
    """Licences that are allowed, in upper or lower case; every licence when empty."""
    lineage: LineageRequirements | None = None
    """Requirements on the lineage."""
    evaluations: Annotated[list[EvaluationRequirement], Field(max_length=32, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """Evaluations that must exist and meet their thresholds. The worst result decides until it is withdrawn."""
    submitter_evaluations: SubmitterEvaluations = "Deny"
    """Whether evaluations by the submitter of the version count, for requirements and for rules."""
    approvals: Annotated[
        list[ApprovalRequirement],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["stage"]}
        ),
    ] = Field(default_factory=list)
    """Approvals that are required, for each stage."""
    expressions: Annotated[
        list[PolicyExpression], Field(alias="rules", max_length=32, json_schema_extra=NAMED_LIST)
    ] = Field(default_factory=list)
    """Rules, written as CEL expressions."""
    serving_runtimes: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Serving runtimes that InferenceServices may name in addition to the runtimes that Gatehouse writes."""
    running: RunningServices = Field(default_factory=RunningServices)
    """What happens to running services when their version is no longer cleared."""


class RuleProblem(Struct):
    rule: Label
    """Rule that does not compile."""
    line: int
    """Line of the expression; the first line is 1."""
    column: int
    """Column of the expression; the first column is 1."""
    message: Annotated[str, StringConstraints(max_length=1024)]
    """Error of the compiler."""


class GovernancePolicyStatus(ConditionedStatus):
    versions: int | None = None
    """Number of ModelVersions that the policy applies to."""
    denied: int | None = None
    """Number of ModelVersions that the policy denies."""
    problems: Annotated[list[RuleProblem], Field(max_length=32)] = Field(default_factory=list)
    """Rules that do not compile. While one exists, the policy denies every version that it applies to."""


class GovernancePolicy(Resource):
    """Requirements for a version: artifact, licence, lineage, evaluations, approvals and CEL rules."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="GovernancePolicy",
        plural="governancepolicies",
        singular="governancepolicy",
        short="gp",
        namespaced=False,
        columns=(
            PrinterColumn("Mode", ".spec.mode"),
            PrinterColumn("Tiers", ".spec.match.riskTiers"),
            PrinterColumn("Versions", ".status.versions", "integer"),
            PrinterColumn("Denied", ".status.denied", "integer"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            PrinterColumn("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: GovernancePolicySpec = Field(default_factory=GovernancePolicySpec)
    status: GovernancePolicyStatus = Field(default_factory=GovernancePolicyStatus)
