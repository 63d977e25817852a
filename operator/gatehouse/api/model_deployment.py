"""ModelDeployment: the version of a model that shall run in a namespace, and what runs there."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.deployment_analysis import MOST_METRICS, DeploymentAnalysis
from gatehouse.api.deployment_strategy import MOST_STEPS, DeploymentStrategy
from gatehouse.api.governance_policy import NAMED_LIST
from gatehouse.api.meta import (
    CelRule,
    ConditionedStatus,
    DnsLabel,
    KindInfo,
    ObjectReference,
    PrinterColumn,
    Resource,
    Struct,
)
from gatehouse.api.model_version import Digest
from gatehouse.api.values import Duration

__all__ = [
    "ANNOTATION_DEPLOYED_BY",
    "ANNOTATION_RESUME",
    "ANNOTATION_RETRY",
    "ANNOTATION_ROLLBACK_BY",
    "ANNOTATION_ROLLBACK_REASON",
    "ANNOTATION_ROLLBACK_REQUESTED_AT",
    "ANNOTATION_ROLLBACK_TO",
    "LONGEST_REASON",
    "MOST_REVISIONS",
    "MOST_SERVICES",
    "CanaryStatus",
    "DeployedVersion",
    "DeploymentMethod",
    "DeploymentPhase",
    "GatewayReference",
    "HistoryEntry",
    "MetricStatus",
    "ModelDeployment",
    "ModelDeploymentSpec",
    "ModelDeploymentStatus",
    "Outcome",
    "RetiredStatus",
    "RevisionStatus",
    "RollbackRefusal",
    "RollbackStatus",
    "RouteMethod",
    "RouteStatus",
    "ServiceStatus",
    "StepStatus",
    "StepVerdict",
]

ANNOTATION_DEPLOYED_BY: Final = "gatehouse.dev/deployed-by"
"""Who chose what runs: written together with spec.versionRef or a retry. Admission binds the name to the caller."""
ANNOTATION_ROLLBACK_BY: Final = "gatehouse.dev/rollback-by"
"""Who asks for the rollback. Admission requires the name, and binds it to the caller."""
ANNOTATION_ROLLBACK_TO: Final = "gatehouse.dev/rollback-to"
"""Written by a person: the revision of the history that shall run."""
ANNOTATION_ROLLBACK_REASON: Final = "gatehouse.dev/rollback-reason"
"""Written with the annotation above: why."""
ANNOTATION_ROLLBACK_REQUESTED_AT: Final = "gatehouse.dev/rollback-requested-at"
"""Optional. Another value asks once more for the same rollback."""
ANNOTATION_RETRY: Final = "gatehouse.dev/retry"
"""Another value ends a rollback, and applies spec.versionRef with its newest template."""
ANNOTATION_RESUME: Final = "gatehouse.dev/resume"
"""Written by a person: REVISION/STEP ends the pause of that step of that revision; see ``CanaryStatus``."""

LONGEST_REASON: Final = 1024
MOST_REVISIONS: Final = 50
MOST_SERVICES: Final = 8
"""InferenceServices of one deployment: the stable one, the next one, and retired ones."""

DeploymentPhase = Literal["Held", "Paused", "RollingBack", "Progressing", "Degraded", "Healthy"]
Outcome = Literal["Progressing", "Healthy", "Failed", "RolledBack", "Replaced"]

RevisionName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Time = Annotated[str, StringConstraints(max_length=32)]
Sentence = Annotated[str, StringConstraints(max_length=LONGEST_REASON)]
ServedName = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")
]


Hostname = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$",
    ),
]


class DeployedVersion(Struct):
    name: DnsLabel
    """Name of the ModelVersion, in the namespace of the model."""


class GatewayReference(Struct):
    name: DnsLabel
    """Name of the Gateway."""
    namespace: DnsLabel | None = None
    """Its namespace. When absent: that of the deployment."""
    section_name: DnsLabel | None = None
    """Name of one of its listeners. When absent: every listener that allows the hostname."""


class ModelDeploymentSpec(Struct):
    model_ref: ObjectReference
    """The RegisteredModel whose versions run here. Its namespace is that of the deployment when absent."""
    version_ref: DeployedVersion
    """The ModelVersion that shall run, in the namespace of the model. A promotion changes only this field."""
    served_name: ServedName
    """Name that clients write into the field model of a request. The name is the same for each version."""
    hostname: Hostname | None = None
    """Name of the host under which clients reach the deployment. BlueGreen and Canary need a hostname. Gatehouse writes
    the HTTPRoute or the OpenShift Route of this name."""
    gateway_ref: GatewayReference | None = None
    """The Gateway of the HTTPRoute. When absent: the Gateway in the operator's settings."""
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of Pods of each revision."""
    strategy: DeploymentStrategy = Field(default_factory=DeploymentStrategy)
    """How the next revision replaces the running one."""
    analysis: DeploymentAnalysis = Field(default_factory=DeploymentAnalysis)
    """What the steps named analysis measure."""
    on_failure: Literal["Rollback", "Pause"] = "Rollback"
    """What follows when a revision is not available at its deadline, or when its analysis fails. Rollback: the newest
    good revision whose gates are open is applied. Pause: the failed revision stays."""
    progress_deadline: Duration = "30m"
    """Time within which a revision must be available."""
    revision_history_limit: Annotated[int, Field(ge=2, le=MOST_REVISIONS)] = 10
    """Number of revisions that the status and the cluster keep. The newest good one is always kept."""
    paused: bool = False
    """While true, nothing is applied and nothing is rolled back. What runs goes on."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.modelRef == oldSelf.modelRef",
            "modelRef cannot change: make another ModelDeployment for another model",
        ),
        CelRule(
            "self.servedName == oldSelf.servedName",
            "servedName cannot change, because clients use the name: make another ModelDeployment",
        ),
        CelRule(
            "!has(self.strategy) || !has(self.strategy.type) || self.strategy.type == 'Recreate' || has(self.hostname)",
            "strategies BlueGreen and Canary need spec.hostname, because Gatehouse splits the requests of that host",
        ),
        CelRule(
            "duration(self.progressDeadline) >= duration('10s')",
            "progressDeadline must be at least 10s",
        ),
    )


StepVerdict = Literal["Running", "Passed", "Failed", "Inconclusive"]


class MetricStatus(Struct):
    name: DnsLabel
    """Name of the metric."""
    passed: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Number of measurements that passed."""
    failed: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Number of measurements outside of the range."""
    inconclusive: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Number of measurements without a usable answer."""
    value: Annotated[str, StringConstraints(max_length=32)] | None = None
    """The last value."""
    message: Annotated[str, StringConstraints(max_length=512)] = ""
    """What the last measurement found."""
    rule: Annotated[str, StringConstraints(max_length=64)] = ""
    """Hash of the query and its limits. When they change, the counts begin again."""


class StepStatus(Struct):
    index: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    """Number of the step, from 0. After the last step: the number of steps."""
    since: Time
    """Time at which the step began."""
    verdict: StepVerdict = "Running"
    """How far the step is."""
    measured_at: Time | None = None
    """Time of the last measurement or question."""
    metrics: Annotated[list[MetricStatus], Field(max_length=MOST_METRICS, json_schema_extra=NAMED_LIST)] = Field(
        default_factory=list
    )
    """The measurements of the step."""


class CanaryStatus(Struct):
    revision: RevisionName
    """Name of the next revision."""
    version: DnsLabel
    """Its ModelVersion."""
    digest: Digest
    """Digest of its artifact."""
    service: DnsLabel
    """Name of its InferenceService."""
    since: Time
    """Time at which the revision was applied."""
    weight: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of the requests that the revision gets."""
    step: StepStatus | None = None
    """The step of the strategy. Absent while the revision is not available yet."""


class RetiredStatus(Struct):
    revision: RevisionName
    """Name of the replaced revision."""
    service: DnsLabel
    """Name of its InferenceService, which gets no requests."""
    until: Time
    """Time at which the InferenceService is deleted."""


class RevisionStatus(Struct):
    revision: RevisionName
    """Name of the revision, and of the ControllerRevision that holds it."""
    version: DnsLabel
    """The ModelVersion."""
    digest: Digest
    """Digest of the artifact."""
    since: Time | None = None
    """Time at which the revision was applied."""
    service: DnsLabel | None = None
    """Name of the InferenceService that runs the revision."""


class HistoryEntry(Struct):
    revision: RevisionName
    """Name of the revision."""
    version: DnsLabel
    """The ModelVersion."""
    digest: Digest
    """Digest of the artifact."""
    served_digest: Digest
    """Served digest of the version when the revision was made."""
    template_digest: Digest
    """Digest of the serving template that the revision holds."""
    from_: Annotated[RevisionName | None, Field(alias="from")] = None
    """The revision that ran before."""
    at: Time
    """Time at which the revision was applied."""
    outcome: Outcome
    """What became of the revision."""
    reason: Sentence = ""
    """Why the revision was applied."""
    actor: Annotated[str, StringConstraints(max_length=253)] = ""
    """Who asked for the revision, as far as Gatehouse knows."""
    recorded: Outcome | None = None
    """The outcome that the audit trail has; absent while the trail does not have the revision."""


class RollbackStatus(Struct):
    version: DnsLabel
    """The ModelVersion that was rolled back. It is not applied again while spec.versionRef names it, unless the
    annotation gatehouse.dev/retry gets another value."""
    from_: Annotated[RevisionName | None, Field(alias="from")] = None
    """The revision that ran before the rollback."""
    to: RevisionName
    """The revision that the rollback applied."""
    at: Time
    """Time of the rollback."""
    reason: Sentence
    """Why."""
    actor: Annotated[str, StringConstraints(max_length=253)]
    """Who asked; gatehouse where a deadline was missed."""
    recorded: bool = False
    """Whether the audit trail has the rollback."""


class RollbackRefusal(Struct):
    reason: Annotated[str, StringConstraints(max_length=128)]
    """Reason as one stable word."""
    message: Sentence
    """What was found, what is expected, what to do."""


class ServiceStatus(Struct):
    name: DnsLabel
    """Name of the InferenceService."""
    uid: Annotated[str, StringConstraints(max_length=128)]
    """Its uid."""
    generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
    """Its generation after the operator wrote it. Another generation is an edit by another writer."""
    written_at: Time
    """Time of the last write."""


class RouteStatus(Struct):
    weights: Annotated[dict[str, Annotated[int, Field(ge=0, le=100)]], Field(max_length=MOST_SERVICES)]
    """Percentage of the requests of each InferenceService, by name."""
    written_at: Time
    """Time of the last write."""
    altered: bool = False
    """Whether the API server kept another route than was written."""


RouteMethod = Literal["None", "HTTPRoute", "Route"]


class DeploymentMethod(Struct):
    type: RouteMethod
    """How requests are split between revisions. HTTPRoute: by the Gateway API. Route: by OpenShift's router. None:
    requests cannot be split, and one revision runs at a time."""
    reason: Sentence
    """Why."""


class ModelDeploymentStatus(ConditionedStatus):
    phase: DeploymentPhase | None = None
    """Summary: Held (a gate is shut, and what runs goes on), Paused, RollingBack, Progressing, Degraded or Healthy."""
    stage: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Stage of the namespace."""
    stable: RevisionStatus | None = None
    """The revision that gets all requests that the next one does not get."""
    canary: CanaryStatus | None = None
    """The next revision while strategy BlueGreen or Canary brings it in."""
    retired: Annotated[list[RetiredStatus], Field(max_length=MOST_SERVICES)] = Field(default_factory=list)
    """Replaced revisions that still run, newest first."""
    last_good: RevisionStatus | None = None
    """The newest revision that was available."""
    services: Annotated[
        list[ServiceStatus],
        Field(max_length=MOST_SERVICES, json_schema_extra=NAMED_LIST),
    ] = Field(default_factory=list)
    """The InferenceServices, as the operator wrote them last."""
    route: RouteStatus | None = None
    """The route, as the operator wrote it last."""
    method: DeploymentMethod | None = None
    """How requests are split."""
    rollback: RollbackStatus | None = None
    """The rollback that is in force."""
    rollback_refusal: RollbackRefusal | None = None
    """Why the last request for a rollback was refused."""
    last_handled_rollback: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Hash of the last request for a rollback that the operator handled."""
    last_handled_retry: Annotated[str, StringConstraints(max_length=256)] | None = None
    """The last value of the annotation gatehouse.dev/retry that the operator handled."""
    history: Annotated[list[HistoryEntry], Field(max_length=MOST_REVISIONS + 2)] = Field(default_factory=list)
    """Revisions, newest first."""


class ModelDeployment(Resource):
    """The version of a model that shall run in a namespace. The InferenceService of its name runs the version."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ModelDeployment",
        plural="modeldeployments",
        singular="modeldeployment",
        short="mdep",
        namespaced=True,
        columns=(
            PrinterColumn("Model", ".spec.modelRef.name"),
            PrinterColumn("Version", ".spec.versionRef.name"),
            PrinterColumn("Running", ".status.stable.version"),
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Stage", ".status.stage"),
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            PrinterColumn("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
            PrinterColumn("Revision", ".status.stable.revision", wide=True),
            PrinterColumn("Last Good", ".status.lastGood.revision", wide=True),
            PrinterColumn("Digest", ".status.stable.digest", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = Field(default_factory=ModelDeploymentStatus)
