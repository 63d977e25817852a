"""ModelRegistry: the connections, stages and users of one registry."""

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
    "LabelSelector",
    "LabelSelectorRequirement",
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
"""The stage that is protected where a registry does not say which are."""


class DatabaseConnection(Struct):
    host: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:-]+$")]
    """Host name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port of the server."""
    database: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_-]+$")]
    """Name of the database."""
    username: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    """User who owns the tables."""
    password_secret: SecretKeyReference | None = None
    """Secret with the password."""
    auth: Literal["Password", "Token"] = "Password"
    """Password, also when absent: it stays until somebody changes it. Token: it is a token of a cloud's IAM, as of AWS
    RDS, Azure or Cloud SQL, which ends soon and is renewed in the Secret. An open connection stays, and a server whose
    certificate was checked may ask for the token in clear."""
    tls: Literal["Required", "Disabled"] = "Required"
    """Required: the connection is encrypted, and the server's certificate is for its host. Disabled: it is in clear."""
    ca_secret: SecretKeyReference | None = None
    """Secret with the PEM certificates that the server's must chain to; the authorities of the system when absent."""

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
    """Artifacts whose URI starts with this are read from this store; the longest prefix wins. Ends with a slash."""
    endpoint: Annotated[str, StringConstraints(max_length=512, pattern=f"^https?://[^/?#@{BLANK}]+/?$")] | None = None
    """URL of the store; the endpoint of AWS for the region when absent."""
    tls: Literal["Required", "Disabled"] = "Required"
    """Required, also when absent: the endpoint is https. Disabled: the endpoint may be http, which anybody on the
    network between can read."""
    region: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """Region that requests are signed for; us-east-1 when absent. Requests to a host of AWS are signed for that
    host's own region."""
    addressing: Literal["Path", "VirtualHost"] = "Path"
    """Path, also when absent: the bucket is the first part of the path. VirtualHost: it is the first part of the host's
    name, as some stores want it (Alibaba OSS, Tencent COS, Volcengine TOS, Huawei OBS)."""
    requester_pays: bool = False
    """Whether requests say that the requester pays for them, as some buckets of AWS and Google want it; false when
    absent."""
    versioned: bool = False
    """Whether the bucket keeps versions and listings show them, so that every overwrite shows, whatever its ETag and
    time; false when absent. Needs s3:ListBucketVersions."""
    credentials_secret: LocalObjectReference | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as in OpenShift AI; anonymous when absent."""
    workload_identity: bool = False
    """Whether the operator's own identity reads the store: web identity such as IRSA, Pod identity, the node's profile.
    The operator's setting workloadIdentityFor must name the registry. False when absent."""
    ca_secret: SecretKeyReference | None = None
    """Secret with the PEM certificates that the store's certificate must chain to."""
    proxy: ProxyUrl | None = None
    """URL of the proxy that leads to the store; the store is asked directly when absent."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!has(self.workloadIdentity) || !self.workloadIdentity || "
            "(!has(self.credentialsSecret) && (!has(self.tls) || self.tls == 'Required'))",
            "workloadIdentity goes without credentialsSecret, and with tls: Required",
        ),
        CelRule(
            "(has(self.tls) && self.tls == 'Disabled') || !has(self.endpoint) || self.endpoint.startsWith('https://')",
            "an endpoint with http goes with tls: Disabled: anybody on the network can read and change it all",
        ),
    )


class LabelSelectorRequirement(Struct):
    key: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the values are compared."""
    values: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """Label values."""


class LabelSelector(Struct):
    match_labels: Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Labels that a namespace must carry."""
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=64)] = Field(default_factory=list)
    """Requirements on the labels of a namespace."""


class AllowedNamespaces(Struct):
    from_: Annotated[Literal["Same", "All", "Selector"], Field(alias="from")] = "Same"
    """Same: only the registry's own namespace. All: every namespace. Selector: namespaces that the selector matches."""
    selector: LabelSelector | None = None
    """Which namespaces, when from is Selector."""

    rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "(self.from == 'Selector') == has(self.selector)",
            "selector goes with from: Selector, and only with it",
        ),
    )


class Verification(Struct):
    content: bool = True
    """Whether every byte is hashed; otherwise only checksums of the store can make a version ready."""
    interval: Duration = "1h"
    """How often the store is asked whether an artifact changed."""
    reread: Duration = "720h"
    """How old the hash of a file may get before the file is read again, though the store shows no change of it. The
    version stays what it is meanwhile."""
    grace: Duration = "24h"
    """How long Ready holds while the store or the database cannot be reached."""
    trust_store_checksums: bool = True
    """Whether a full-object SHA-256 of the store may stand for reading the bytes; once it may not, they are read."""


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
    """Where signed checkpoints are copied to, below one of objectStores, whose credentials may write there. Ends with a
    slash. Best a bucket with Object Lock in another team's hands."""
    checkpoint_interval: Duration | None = None
    """How often a checkpoint is signed, if there are new records; the operator's own setting when absent."""
    retention: Duration | None = None
    """How old records become before a summary stands for them; they are kept for ever when absent."""


SERVING_ARGUMENT: Final = r"^--[a-z0-9][a-z0-9_-]*(=[A-Za-z0-9._,:+-]*)?$"
"""How an argument of vLLM is written to pass the gate: no path, no JSON, no template. vLLM reads an underscore in a
flag as a dash, and so does the gate."""


SERVING_VARIABLE: Final = r"^[A-Z][A-Z0-9_]{0,126}(=[A-Za-z0-9._,:+-]{0,128})?$"
"""How a registry allows a variable: no path, no URL, no JSON."""

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
"""An image with its tag or digest, or both: none stands for others."""


class ServingDefaults(Struct):
    connection_secret: DnsLabel = "minio-connection"  # noqa: S105 - the name of a Secret
    """Key in KServe's storage-config Secret (or name of the connection) that templates name."""
    label_prefix: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    ] = "modelregistry.opendatahub.io"
    """Prefix of the labels that carry registry ids."""
    vllm_image: Image = (
        "vllm/vllm-openai:v0.30.0@sha256:8a69ffad015f138d7170c4ddc429e230a3bc1c1719f67e14324749df200a4b90"
    )
    """Image of vLLM in serving runtimes."""
    run_as_user: Annotated[int, Field(ge=0, le=2147483647)] = 2000
    """User that model servers run as; newer images of vLLM have one of that number. 0 leaves it to the platform, as on
    OpenShift, which takes one of the namespace's range. It is never root."""
    allowed_arguments: Annotated[
        list[Annotated[str, StringConstraints(max_length=256, pattern=SERVING_ARGUMENT)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Arguments of vLLM that versions and services may set beside the built-in list: --flag with any plain value, or
    --flag=value; an underscore in a flag is a dash, as for vLLM. Those that load other models or other code stay
    refused."""
    allowed_environment: Annotated[
        list[Annotated[str, StringConstraints(max_length=256, pattern=SERVING_VARIABLE)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Variables of model servers that versions may set beside the built-in list: NAME with any plain value, or
    NAME=value. Those that name files, libraries, servers or secrets stay refused."""
    initializer_images: Annotated[
        list[PinnedImage], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Images of KServe's storage initializer that Pods of models may have beside KServe's own releases, each written as
    KServe's ConfigMap writes it, with a tag or a digest."""
    proxy_images: Annotated[
        list[PinnedImage], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """Images of OpenShift AI's kube-rbac-proxy that Pods of models may have before the server, with a tag or digest."""
    allowed_resources: Annotated[
        list[Annotated[str, StringConstraints(max_length=316, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Extended resources, as in example.com/fuse, that any Pod may ask for in a namespace with a stage: they are no
    accelerators."""


class ModelRegistrySpec(Struct):
    mysql: MySqlConnection | None = None
    """Keep rows in MariaDB or MySQL. Without mysql and postgres they are in SQLite in the operator's data directory."""
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
    """Stages in order; a later one needs the earlier one cleared."""
    protected_stages: (
        Annotated[list[StageName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] | None
    ) = None
    """Stages that are shut unless an enforced policy that applies to the version asks for something there; production,
    if it is one of the stages, when absent. An empty list protects none."""
    default_risk_tier: RiskTier = "Medium"
    """Risk tier of models that name none. A model that names a lower one counts as this, unless somebody who may
    classify vouches for it in spec.classifiedBy."""
    required_policies: Annotated[
        list[DnsLabel], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list)
    """GovernancePolicies that must be there: while one is missing, no version is cleared."""
    allowed_namespaces: AllowedNamespaces = Field(default_factory=AllowedNamespaces)
    """Namespaces whose models this registry keeps, as in Gateway API."""
    verification: Verification = Field(default_factory=Verification)
    """How artifacts are verified."""
    serving: ServingDefaults = Field(default_factory=ServingDefaults)
    """What serving templates are made with."""
    audit: Audit = Field(default_factory=Audit)
    """How the audit trail is kept."""

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
    """The prefix from the spec."""
    reachable: bool
    """Whether the store answered."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """What the store answered otherwise."""


class ModelRegistryStatus(ConditionedStatus):
    database: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Database in use, without credentials."""
    schema_version: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Revision of the tables."""
    object_stores: Annotated[
        list[ObjectStoreStatus],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uriPrefix"]},
        ),
    ] = Field(default_factory=list)
    """Which stores answer."""
    models: int | None = None
    """Models that the registry holds, archived ones left out."""
    versions: int | None = None
    """Versions that the registry holds, archived ones left out."""


class ModelRegistry(Resource):
    """A registry: its database, its object stores, its stages and who may use it."""

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
    """The stages that need a policy. One that is protected unless said otherwise must be one of the registry's."""
    if spec.protected_stages is not None:
        return frozenset(spec.protected_stages)
    return frozenset({PRODUCTION} & set(spec.stages))
