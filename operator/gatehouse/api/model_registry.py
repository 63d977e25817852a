"""ModelRegistry: the database, stores, stages and namespaces of one registry."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from gatehouse.api.meta import (
    BLANK,
    CelRule,
    ConditionedStatus,
    DnsLabel,
    KindInfo,
    LocalObjectReference,
    PrinterColumn,
    Resource,
    SecretKeyReference,
    Struct,
)
from gatehouse.api.registered_model import RiskTier
from gatehouse.api.values import Duration
from gatehouse.storage.providers.table import PREFIX_URI

__all__ = [
    "SERVING_ARGUMENT",
    "AllowedNamespaces",
    "Audit",
    "DatabaseConnection",
    "Hooks",
    "LabelSelector",
    "LabelSelectorRequirement",
    "Mirror",
    "ModelRegistry",
    "ModelRegistrySpec",
    "ModelRegistryStatus",
    "ObjectStore",
    "ObjectStoreStatus",
    "ServingDefaults",
    "StageName",
    "Verification",
    "protected_stages",
]

StageName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


PRODUCTION: Final = "production"
"""The stage that is protected when a registry does not list protected stages."""


class DatabaseConnection(Struct):
    host: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:-]+$")]
    """Host name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port of the server."""
    database: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_-]+$")]
    """Name of the database."""
    username: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    """Database user who owns the tables."""
    password_secret: SecretKeyReference | None = None
    """Secret with the password."""
    auth: Literal["Password", "Token"] = "Password"
    """Password, also when absent: the Secret holds a password that stays valid. Token: the Secret holds a token of a
    cloud's IAM (AWS RDS, Azure, Cloud SQL) that expires soon and is renewed in the Secret. Open connections stay open.
    A server whose certificate was verified may request the token in clear text."""
    tls: Literal["Required", "Disabled"] = "Required"
    """Required: the connection is encrypted, and the certificate must match the host. Disabled: plain text."""
    ca_secret: SecretKeyReference | None = None
    """Secret with the authorities, in PEM, of the server's certificate; the system's authorities when absent."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.tls == 'Required' || !has(self.caSecret)",
            "caSecret goes with tls: Required, and only with it",
        ),
        CelRule(
            "self.auth == 'Password' || (self.tls == 'Required' && has(self.passwordSecret))",
            "auth: Token goes with tls: Required and a passwordSecret: the server gets the token itself",
        ),
    )


class MySqlConnection(DatabaseConnection):
    port: Annotated[int, Field(ge=1, le=65535)] = 3306
    """TCP port of the server."""


class PostgresConnection(DatabaseConnection):
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    """TCP port of the server."""


ProxyUrl = Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$")]


class ObjectStore(Struct):
    uri_prefix: Annotated[
        str,
        StringConstraints(
            min_length=6,
            max_length=1024,
            pattern=PREFIX_URI,
        ),
    ]
    """Prefix of the URIs of the artifacts in this store, with a slash at the end. The longest matching prefix wins."""
    endpoint: Annotated[str, StringConstraints(max_length=512, pattern=f"^https?://[^/?#@{BLANK}]+/?$")] | None = None
    """URL of the store; the AWS endpoint of the region when absent."""
    tls: Literal["Required", "Disabled"] = "Required"
    """Required, also when absent: the endpoint uses https. Disabled: the endpoint may use http, which everyone on the
    network can read."""
    region: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """Region for which requests are signed; us-east-1 when absent. Requests to an AWS host are signed for the region
    of that host."""
    addressing: Literal["Path", "VirtualHost"] = "Path"
    """Path, also when absent: the bucket is the first part of the path. VirtualHost: the bucket is the first part of
    the host name, as some stores require (Alibaba OSS, Tencent COS, Volcengine TOS, Huawei OBS)."""
    requester_pays: bool = False
    """Whether requests state that the requester pays, as some buckets of AWS and Google require; false when absent."""
    versioned: bool = False
    """Whether the bucket keeps object versions and listings show them. Gatehouse then sees every overwrite, even one
    with the same ETag and time. False when absent. Needs the permission s3:ListBucketVersions."""
    credentials_secret: LocalObjectReference | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as in OpenShift AI; anonymous access when absent."""
    workload_identity: bool = False
    """Whether the operator reads the store with its own identity: web identity such as IRSA, Pod identity, or the
    profile of the node. The operator's setting workloadIdentityFor must name the registry. False when absent."""
    ca_secret: SecretKeyReference | None = None
    """Secret with the authorities, in PEM, of the store's certificate; the system's authorities when absent."""
    proxy: ProxyUrl | None = None
    """URL of the proxy for requests to the store; direct requests when absent."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!has(self.workloadIdentity) || !self.workloadIdentity || "
            "(!has(self.credentialsSecret) && (!has(self.tls) || self.tls == 'Required'))",
            "workloadIdentity goes without credentialsSecret, and with tls: Required",
        ),
        CelRule(
            "(has(self.tls) && self.tls == 'Disabled') || !has(self.endpoint) || self.endpoint.startsWith('https://')",
            "an endpoint with http needs tls: Disabled: everyone on the network can read and change the artifacts",
        ),
    )


class LabelSelectorRequirement(Struct):
    key: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """Operator that compares the label with the values."""
    values: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """Label values."""


class LabelSelector(Struct):
    match_labels: Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Labels that an object must have."""
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=64)] = Field(default_factory=list)
    """Requirements on the labels of an object."""


class AllowedNamespaces(Struct):
    from_: Annotated[Literal["Same", "All", "Selector"], Field(alias="from")] = "Same"
    """Same: only the namespace of the registry. All: every namespace. Selector: namespaces that the selector
    matches."""
    selector: LabelSelector | None = None
    """Selector of the namespaces, when from is Selector."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "(self.from == 'Selector') == has(self.selector)",
            "selector goes with from: Selector, and only with it",
        ),
    )


class Verification(Struct):
    content: bool = True
    """Whether Gatehouse hashes every byte. If false, only checksums of the store can make a version ready."""
    interval: Duration = "1h"
    """Interval at which Gatehouse lists the store to find changes of an artifact."""
    reread: Duration = "720h"
    """Maximum age of the hash of a file. After this time Gatehouse reads the file again, even if the listing shows no
    change. The version keeps its phase meanwhile."""
    grace: Duration = "24h"
    """Time for which Ready holds while the store or the database cannot be reached."""
    trust_store_checksums: bool = True
    """Whether a SHA-256 of the whole object from the store replaces reading the bytes. If false, Gatehouse reads
    them."""


class Audit(Struct):
    uri: (
        Annotated[
            str,
            StringConstraints(
                min_length=6,
                max_length=512,
                pattern=PREFIX_URI,
            ),
        ]
        | None
    ) = None
    """URI for copies of signed checkpoints, with a slash at the end. It must be below the uriPrefix of one of
    objectStores, whose credentials may write there. A bucket with Object Lock that another team owns is best."""
    checkpoint_interval: Duration | None = None
    """Interval at which the operator signs a checkpoint of new records; the operator's setting when absent."""
    retention: Duration | None = None
    """Age after which a summary replaces records; records are kept without limit when absent."""


SERVING_ARGUMENT: Final = r"^--[a-z0-9][a-z0-9_-]*(=[A-Za-z0-9._,:+-]*)?$"
"""The form of an argument of vLLM that the gate accepts: no path, no JSON, no template. vLLM reads an underscore in a
flag as a dash, and so does the gate."""


SERVING_VARIABLE: Final = r"^[A-Z][A-Z0-9_]{0,126}(=[A-Za-z0-9._,:+-]{0,128})?$"
"""The form in which a registry allows a variable: no path, no URL, no JSON."""

Image = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=f"^[^{BLANK}{{}}]+$")]
PinnedImage = Annotated[
    str,
    StringConstraints(
        min_length=3,
        max_length=512,
        pattern=r"^[a-z0-9][a-z0-9._:/-]*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
        r"@sha256:[0-9a-f]{64})$",
    ),
]
"""An image with a tag, a digest or both. One entry allows one image."""


class RegistryService(Struct):
    name: DnsLabel
    """Name of the Service."""
    namespace: DnsLabel
    """Namespace of the Service."""


class ServingDefaults(Struct):
    connection_secret: DnsLabel = "minio-connection"  # noqa: S105 - the name of a Secret
    """Key in KServe's Secret storage-config, or name of the connection, that templates use."""
    label_prefix: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = "modelregistry.opendatahub.io"
    """Prefix of the labels that hold registry ids."""
    registry_service: RegistryService | None = None
    """The Service of the REST server of this registry. Templates name the Service in labels, and the InferenceService
    controllers and dashboards of Kubeflow and OpenShift AI find the registry by these labels."""
    vllm_image: Image = (
        "vllm/vllm-openai:v0.30.0@sha256:8a69ffad015f138d7170c4ddc429e230a3bc1c1719f67e14324749df200a4b90"
    )
    """Image of vLLM that serving runtimes use."""
    run_as_user: Annotated[int, Field(ge=0, le=2147483647)] = 2000
    """User id that model servers run as; newer vLLM images contain a user with the default id. 0 lets the platform
    choose, as OpenShift does from the range of the namespace. Model servers never run as root."""
    allowed_arguments: Annotated[
        list[Annotated[str, StringConstraints(max_length=256, pattern=SERVING_ARGUMENT)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Arguments of vLLM that versions and services may set in addition to the built-in list: --flag with any plain
    value, or --flag=value. An underscore in a flag is read as a dash, as vLLM does. Arguments that load other models
    or other code stay refused."""
    allowed_environment: Annotated[
        list[Annotated[str, StringConstraints(max_length=256, pattern=SERVING_VARIABLE)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Variables of model servers that versions may set in addition to the built-in list: NAME with any plain value, or
    NAME=value. Variables that name files, libraries, servers or secrets stay refused."""
    initializer_images: Annotated[
        list[PinnedImage], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Images of KServe's storage initializer that Pods of models may run in addition to KServe's releases. Write each
    image as KServe's ConfigMap does, with a tag or a digest."""
    proxy_images: Annotated[
        list[PinnedImage], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Images of OpenShift AI's kube-rbac-proxy that Pods of models may run beside the server, with a tag or a
    digest."""
    allowed_resources: Annotated[
        list[Annotated[str, StringConstraints(max_length=316, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Extended resources that are not accelerators, for example example.com/fuse. Every Pod in a namespace with a stage
    may request them."""


class ClientDefaults(Struct):
    namespace: DnsLabel | None = None
    """Namespace of the models that a REST client registers without naming one."""
    hardware_profile_ref: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Name of the HardwareProfile of a version whose client names none."""
    runtime: Literal["vLLM"] | None = None
    """Model server of a version whose client names none."""


class Hooks(Struct):
    token_secret: SecretKeyReference
    """Secret with the token that object stores send with their events. Events only tell the operator where to look:
    it verifies each artifact as without them."""


class Mirror(Struct):
    url: Annotated[
        str,
        StringConstraints(max_length=512, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$"),
    ]
    """URL of a Kubeflow Model Registry, without /api."""
    tls: Literal["Required", "Disabled"] = "Required"
    """Required, also when absent: the URL uses https. Disabled: the URL may use http, over which everyone on the
    network can read the token and change what is written."""
    token_secret: SecretKeyReference | None = None
    """Secret with the bearer token for the mirror; no credentials when absent."""
    ca_secret: SecretKeyReference | None = None
    """Secret with the authorities, in PEM, of the mirror's certificate; the system's authorities when absent."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "(has(self.tls) && self.tls == 'Disabled') || self.url.startsWith('https://')",
            "a mirror with http needs tls: Disabled: everyone on the network can read the token",
        ),
    )


class ModelRegistrySpec(Struct):
    mysql: MySqlConnection | None = None
    """Keep rows in MariaDB or MySQL. Without mysql and postgres, rows are in SQLite in the operator's data
    directory."""
    postgres: PostgresConnection | None = None
    """Keep rows in PostgreSQL."""
    object_stores: Annotated[
        list[ObjectStore],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uriPrefix"]},
        ),
    ] = Field(default_factory=list)
    """Object stores that artifacts are read from."""
    stages: Annotated[
        list[StageName],
        Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=lambda: ["staging", "production"])
    """Stages in order. A version is cleared for a stage only after it is cleared for every earlier stage."""
    protected_stages: (
        Annotated[list[StageName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] | None
    ) = None
    """Stages that are shut until an enforced policy that applies to the version requires something there. When absent,
    production is protected if it is one of the stages. An empty list protects no stage."""
    default_risk_tier: RiskTier = "Medium"
    """Risk tier of models that name no tier. A lower tier of a model counts only if a person with the verb classify
    vouches for it in spec.classifiedBy."""
    required_policies: Annotated[
        list[DnsLabel], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """GovernancePolicies that must exist. While one is missing, no version is cleared."""
    allowed_namespaces: AllowedNamespaces = Field(default_factory=AllowedNamespaces)
    """Namespaces whose models this registry keeps, in the form of the Gateway API."""
    verification: Verification = Field(default_factory=Verification)
    """Settings for the verification of artifacts."""
    serving: ServingDefaults = Field(default_factory=ServingDefaults)
    """Settings for serving templates."""
    audit: Audit = Field(default_factory=Audit)
    """Settings for the audit trail."""
    defaults: ClientDefaults = Field(default_factory=ClientDefaults)
    """Values for REST clients that cannot say: their API has no such fields."""
    hooks: Hooks | None = None
    """Events of the object stores, which the server takes at /hooks/s3/NAME; not taken when absent."""
    mirrors: Annotated[
        list[Mirror],
        Field(max_length=4, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["url"]}),
    ] = Field(default_factory=list)
    """Kubeflow Model Registries that get a copy of each model, version and artifact. Nothing is read back."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!(has(self.mysql) && has(self.postgres))",
            "choose one database: mysql or postgres, or neither for SQLite",
        ),
        CelRule(
            "!has(self.audit) || !has(self.audit.uri) || "
            "(has(self.objectStores) && self.objectStores.exists(s, self.audit.uri.startsWith(s.uriPrefix)))",
            "audit.uri must be below the uriPrefix of one of objectStores",
        ),
        CelRule(
            "!has(self.protectedStages) || self.protectedStages.all(s, s in self.stages)",
            "protectedStages must be among stages",
        ),
    )


class ObjectStoreStatus(Struct):
    uri_prefix: Annotated[str, StringConstraints(max_length=1024)]
    """The uriPrefix from the spec."""
    reachable: bool
    """Whether the store answers."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Error that the store reported; empty when the store answers."""


class ModelRegistryStatus(ConditionedStatus):
    database: Annotated[str, StringConstraints(max_length=512)] | None = None
    """URL of the database, without credentials."""
    schema_version: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Revision of the database schema."""
    object_stores: Annotated[
        list[ObjectStoreStatus],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uriPrefix"]},
        ),
    ] = Field(default_factory=list)
    """State of each object store."""
    models: int | None = None
    """Number of models in the registry, without archived models."""
    versions: int | None = None
    """Number of versions in the registry, without archived versions."""


class ModelRegistry(Resource):
    """A registry: its database, its object stores, its stages, and the namespaces that may use it."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ModelRegistry",
        plural="modelregistries",
        singular="modelregistry",
        short="mreg",
        namespaced=True,
        columns=(
            PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            PrinterColumn("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
            PrinterColumn("Models", ".status.models", "integer"),
            PrinterColumn("Versions", ".status.versions", "integer"),
            PrinterColumn("Database", ".status.database", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: ModelRegistrySpec = Field(default_factory=ModelRegistrySpec)
    status: ModelRegistryStatus = Field(default_factory=ModelRegistryStatus)


def protected_stages(spec: ModelRegistrySpec) -> frozenset[str]:
    """The protected stages of a registry. The default, production, counts only if it is a stage of the registry."""
    if spec.protected_stages is not None:
        return frozenset(spec.protected_stages)
    return frozenset({PRODUCTION} & set(spec.stages))
