"""GovernancePolicy: what must hold of a version before it is cleared for a stage."""

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
    """Risk tiers of the model; every tier when empty."""
    namespace_selector: LabelSelector | None = None
    """Labels of the version's namespace; every namespace when absent."""
    model_selector: LabelSelector | None = None
    """Labels of the RegisteredModel; every model when absent."""


class SignatureKey(Struct):
    name: RuleName
    """Name of the key for people."""
    public_key: Annotated[str, StringConstraints(min_length=64, max_length=4096)]
    """Public key of the signer in PEM."""


class SignatureIdentity(Struct):
    name: RuleName
    """Name of the identity for people."""
    issuer: Annotated[str, StringConstraints(min_length=8, max_length=512, pattern=f"^https://{NO_BLANKS}$")]
    """OpenID Connect issuer that vouched for the signer."""
    subject: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Subject of the signing certificate, as in ml-team@example.com."""


class SignatureRequirements(Struct):
    """An OpenSSF model signature (``model.sig`` beside the files) by one of these signers."""

    keys: Annotated[list[SignatureKey], Field(max_length=16, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """Public keys of signers."""
    identities: Annotated[list[SignatureIdentity], Field(max_length=16, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """Identities of signers in Sigstore certificates."""
    certificate_authorities: Annotated[str, StringConstraints(min_length=64, max_length=32768)] | None = None
    """Certificates in PEM of the authorities that signers' certificates must chain to, as Fulcio's."""

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
    """Formats of weights that are allowed; every checked one when empty. The format other, whose files are only hashed,
    is allowed where an enforced policy names it."""
    remote_code: Literal["Deny", "Allow"] = "Allow"
    """Whether config.json may name code to be loaded (auto_map); such artifacts are invalid by default anyway."""
    verification: Literal["Any", "Content"] = "Any"
    """Content: every byte was read by Gatehouse; a checksum of the store does not do, and is made up for by reading."""
    signature: SignatureRequirements | None = None
    """Who must have signed the artifact."""


class HardwareRequirements(Struct):
    unknown_fit: Literal["Deny", "Allow"] = "Allow"
    """Whether a version may be deployed whose fit to its hardware profile cannot be told."""


class LineageRequirements(Struct):
    required: Annotated[list[LineageField], Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"})]
    """Fields of spec.lineage that must be filled."""


UserName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
AccountName = Annotated[
    str, StringConstraints(max_length=330, pattern=r"^system:serviceaccount:[a-z0-9-]+:[a-z0-9]([a-z0-9.-]*)$")
]
SubmitterEvaluations = Literal["Deny", "Allow"]


class Evaluators(Struct):
    """Whose results count; anybody's but the submitter's when all are empty."""

    users: Annotated[list[UserName], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=list
    )
    """People."""
    groups: Annotated[list[UserName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(default_factory=list)
    )
    """Groups that the evaluation names; admission lets through only groups that its evaluator is in."""
    service_accounts: Annotated[
        list[AccountName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Service accounts, as of pipelines."""

    @property
    def is_anybody(self) -> bool:
        """Whether nobody is named."""
        return not (self.users or self.groups or self.service_accounts)


class EvaluationRequirement(Struct):
    name: RuleName
    """Name of the requirement in the policy."""
    kind: EvaluationKind
    """What the evaluation is about."""
    suite: Label | None = None
    """Suite that must have been run; any when absent."""
    dataset: Label | None = None
    """Data set that must have been used; any when absent."""
    dataset_version: Label | None = None
    """Version of the data set; any when absent."""
    metric: Label
    """Metric that is judged."""
    operator: Comparison
    """How the value is compared with the threshold."""
    threshold: Number
    """What the value is compared with."""
    max_age: Duration | None = None
    """How old the evaluation may be; any age when absent. A result that is not good enough does not age."""
    evaluators: Evaluators = Field(default_factory=Evaluators)
    """Whose results count."""
    stages: Stages = Field(default_factory=list)
    """Stages that want it; all when empty."""


class ApprovalRequirement(Struct):
    stage: StageName
    """Stage that is approved."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """How many people must approve, one when absent: never the submitter, and each counts once."""
    groups: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Groups of which an approver must be in one; anybody whom RBAC lets approve when empty."""
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
    """CEL over version, model, artifact, hardware, evaluations and stage; only the boolean true lets through."""
    message: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """What a person is told when it does not hold, and what to do."""
    stages: Stages = Field(default_factory=list)
    """Stages that it is asked for; all when empty."""


class RunningServices(Struct):
    new_pods: Literal["Deny", "Allow"] = "Allow"
    """Whether a service that runs a version which is not cleared any more may have new Pods."""


class GovernancePolicySpec(Struct):
    description: Text | None = None
    """What the policy is for, and who answers for it."""
    mode: PolicyMode = "Enforce"
    """Enforce shuts gates; Audit only reports what would be shut."""
    match: PolicyMatch = Field(default_factory=PolicyMatch)
    """Which versions it applies to; all of them when empty. Every policy that matches applies."""
    artifact: ArtifactRequirements = Field(default_factory=ArtifactRequirements)
    """What the artifact must be."""
    hardware: HardwareRequirements = Field(default_factory=HardwareRequirements)
    """What the fit to the hardware must be."""
    licenses: Annotated[list[Label], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] = Field(
        default_factory=list
    )
    """Licences that are allowed, compared without regard to case; every licence when empty."""
    lineage: LineageRequirements | None = None
    """What must be known of the origin."""
    evaluations: Annotated[list[EvaluationRequirement], Field(max_length=32, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """Evaluations that must be there, and good enough. The worst result decides until somebody takes it back."""
    submitter_evaluations: SubmitterEvaluations = "Deny"
    """Whether evaluations of the version's submitter count, for requirements and for rules."""
    approvals: Annotated[
        list[ApprovalRequirement],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["stage"]}
        ),
    ] = Field(default_factory=list)
    """Who must approve, by stage."""
    expressions: Annotated[
        list[PolicyExpression], Field(alias="rules", max_length=32, json_schema_extra=NAMED_LIST)
    ] = Field(default_factory=list)
    """CEL rules."""
    serving_runtimes: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Serving runtimes that InferenceServices may name besides the ones that Gatehouse emits."""
    running: RunningServices = Field(default_factory=RunningServices)
    """What becomes of running services when a version is not cleared any more."""


class RuleProblem(Struct):
    rule: Label
    """Rule that does not compile."""
    line: int
    """Line of the expression, from 1."""
    column: int
    """Column of the expression, from 1."""
    message: Annotated[str, StringConstraints(max_length=1024)]
    """What is wrong."""


class GovernancePolicyStatus(ConditionedStatus):
    versions: int | None = None
    """Model versions that the policy applies to."""
    denied: int | None = None
    """How many of them it denies."""
    problems: Annotated[list[RuleProblem], Field(max_length=32)] = Field(default_factory=list)
    """Rules that do not compile. While there are any, every version that the policy applies to is denied."""


class GovernancePolicy(Resource):
    """What must hold before a version is cleared: artifact, licence, lineage, evaluations, approvals and CEL rules."""

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
