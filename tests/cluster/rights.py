"""The tables of rights: what each role says, what each subject may do where, and the requests that try it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.status import Manifest
from cluster.world import API
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.objects import NAMESPACE

__all__ = [
    "ADMINISTERS",
    "ARCHIVED",
    "ASKED",
    "BUILT_IN",
    "ELSEWHERE",
    "HOME",
    "KINDS",
    "LEADS",
    "OPERATES",
    "RBAC",
    "READS_SECRETS",
    "REQUESTS",
    "SHIPPED",
    "STATUS",
    "SUBJECTS",
    "VERBS",
    "VERSION",
    "VERSION_PATH",
    "Request",
    "Rights",
    "Subject",
    "gatehouse",
]

RBAC = "/apis/rbac.authorization.k8s.io/v1"
LEASE = "gatehouse-operator"

# A resource is written as in RBAC, with its group behind a dot, and a name in brackets.

Rights = Mapping[str, str]

REGISTRIES, MODELS = "modelregistries.gatehouse.dev", "registeredmodels.gatehouse.dev"
VERSIONS, PROFILES = "modelversions.gatehouse.dev", "hardwareprofiles.gatehouse.dev"
POLICIES, EVALUATIONS = "governancepolicies.gatehouse.dev", "modelevaluations.gatehouse.dev"
APPROVALS, VETTED = "modelapprovals.gatehouse.dev", "vettedartifacts.gatehouse.dev"
DEPLOYMENTS = "modeldeployments.gatehouse.dev"
KINDS = (REGISTRIES, MODELS, VERSIONS, PROFILES, POLICIES, EVALUATIONS, APPROVALS, VETTED, DEPLOYMENTS)
STATUSES = tuple(kind.replace(".", "/status.", 1) for kind in KINDS)
RECONCILED = (REGISTRIES, MODELS, VERSIONS, PROFILES, POLICIES, DEPLOYMENTS)
STAGES = "stages.gatehouse.dev"
REVISIONS = "controllerrevisions.apps"
LEASES, OWN_LEASE = "leases.coordination.k8s.io", f"leases.coordination.k8s.io[{LEASE}]"
SERVICES, RUNTIMES = "inferenceservices.serving.kserve.io", "servingruntimes.serving.kserve.io"
HTTP_ROUTES, OPENSHIFT_ROUTES = "httproutes.gateway.networking.k8s.io", "routes.route.openshift.io"
CUSTOM_HOSTS = "routes/custom-host.route.openshift.io"
OPENDATAHUB = "modelregistries.modelregistry.opendatahub.io"
KSERVE_WEBHOOKS = "mutatingwebhookconfigurations.admissionregistration.k8s.io[inferenceservice.serving.kserve.io]"
"""Tells which namespace is KServe's."""
LOADERS = tuple(
    f"{kind}.serving.kserve.io"
    for kind in (
        "clusterservingruntimes",
        "clusterstoragecontainers",
        "inferencegraphs",
        "llminferenceserviceconfigs",
        "llminferenceservices",
        "localmodelcaches",
        "localmodelnamespacecaches",
        "localmodelnodegroups",
        "localmodelnodes",
        "trainedmodels",
    )
)
"""KServe's other kinds, by which models or loaders come in: nobody has a right to them."""

READ = "get list watch"
WRITE = "create update patch delete"


def tier(name: str) -> str:
    """What RBAC is asked about a risk tier: no kind, only a name."""
    return f"risktiers.gatehouse.dev[{name}]"


TIERS = tuple(tier(name) for name in ("Low", "Medium", "High"))


def together(*tables: Rights) -> Rights:
    """The rights of several roles of one subject."""
    found: dict[str, str] = {}
    for table in tables:
        for resource, verbs in table.items():
            found[resource] = f"{found.get(resource, '')} {verbs}".strip()
    return found


def decides(*tiers: str) -> Rights:
    """Approves models of these tiers."""
    return together(DISCOVERS, {APPROVALS: "create patch delete"}, dict.fromkeys(tiers, "approve"))


DISCOVERS: Rights = dict.fromkeys(KINDS, READ)
DECLARES: Rights = {**dict.fromkeys((MODELS, VERSIONS), WRITE), EVALUATIONS: "create"}
SETS_UP: Rights = {**dict.fromkeys((REGISTRIES, PROFILES, POLICIES), WRITE), EVALUATIONS: "patch delete"}
SUBMITS: Rights = together(DISCOVERS, DECLARES)
ADMINISTERS: Rights = together(SUBMITS, SETS_UP)
CLASSIFIES: Rights = together({MODELS: f"{READ} patch"}, dict.fromkeys(TIERS, "classify"))
ASSIGNS: Rights = {STAGES: "assign", "namespaces": f"{READ} patch"}
DEPLOYS: Rights = {
    **dict.fromkeys((DEPLOYMENTS, SERVICES, RUNTIMES), f"{READ} {WRITE}"),
    STAGES: "deploy rollback",
}
ROLLS_BACK: Rights = {DEPLOYMENTS: f"{READ} patch", STAGES: "rollback"}
OPERATES: Rights = {
    **dict.fromkeys(set(KINDS) - {VETTED}, "list watch"),
    **{kind.replace(".", "/status.", 1): "patch" for kind in RECONCILED},
    VETTED: "list watch create patch delete",
    SERVICES: "list watch create patch delete",
    "pods": "list",
    RUNTIMES: "create patch",
    **dict.fromkeys((HTTP_ROUTES, OPENSHIFT_ROUTES), "list watch create patch delete"),
    CUSTOM_HOSTS: "create update",
    REVISIONS: "get create delete",
    "deployments.apps": "get",
    KSERVE_WEBHOOKS: "get",
    "configmaps": "get list create patch delete",
    "namespaces": "list watch",
    "events": "create",
}
READS_SECRETS: Rights = {"secrets": "get"}
REVIEWS: Rights = {
    "tokenreviews.authentication.k8s.io": "create",
    "subjectaccessreviews.authorization.k8s.io": "create",
}
SERVES: Rights = {**REVIEWS, REGISTRIES: "get list"}
LEADS: Rights = {LEASES: "create", OWN_LEASE: "create get update"}

SHIPPED: Mapping[str, Rights] = {
    "clusterroles/gatehouse-viewer": DISCOVERS,
    "clusterroles/gatehouse-submitter": SUBMITS,
    "clusterroles/gatehouse-admin": ADMINISTERS,
    "clusterroles/gatehouse-aggregate-to-viewer": DISCOVERS,
    "clusterroles/gatehouse-aggregate-to-submitter": DECLARES,
    "clusterroles/gatehouse-aggregate-to-admin": SETS_UP,
    "clusterroles/gatehouse-approver": decides(*TIERS),
    "clusterroles/gatehouse-approver-medium": decides(*TIERS[:2]),
    "clusterroles/gatehouse-approver-low": decides(*TIERS[:1]),
    "clusterroles/gatehouse-classifier": CLASSIFIES,
    "clusterroles/gatehouse-stage-admin": ASSIGNS,
    "clusterroles/gatehouse-submitter-for-others": {VERSIONS: "submitfor"},
    "clusterroles/gatehouse-deployer": DEPLOYS,
    "clusterroles/gatehouse-rollbacker": ROLLS_BACK,
    "clusterroles/gatehouse-operator": OPERATES,
    "clusterroles/gatehouse-registry-secrets": READS_SECRETS,
    "clusterroles/gatehouse-server": SERVES,
    f"namespaces/{NAMESPACE}/roles/gatehouse-operator": {LEASES: "create", OWN_LEASE: "get update"},
}
"""What the rules of each shipped role say, the aggregated ones as the controller manager filled them in."""

ASKED = (
    *KINDS,
    *STATUSES,
    *(kind.replace(".", "/finalizers.", 1) for kind in KINDS),
    *TIERS,
    STAGES,
    SERVICES,
    RUNTIMES,
    *LOADERS,
    OPENDATAHUB,
    OPENDATAHUB.replace(".", "/status.", 1),
    HTTP_ROUTES,
    OPENSHIFT_ROUTES,
    CUSTOM_HOSTS,
    "configmaps",
    "secrets",
    "events",
    "namespaces",
    "pods",
    "pods/exec",
    "pods/log",
    "nodes",
    "persistentvolumeclaims",
    "serviceaccounts",
    "serviceaccounts/token",
    LEASES,
    OWN_LEASE,
    "deployments.apps",
    REVISIONS,
    "jobs.batch",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    KSERVE_WEBHOOKS,
    *REVIEWS,
    "users",
    "groups",
)
"""Every resource that is asked for, for each subject; what the subject's table does not name must be refused."""
VERBS = (
    *READ.split(),
    *WRITE.split(),
    *("deletecollection", "bind", "escalate", "impersonate"),
    *("approve", "revoke", "classify", "assign", "submitfor", "deploy", "rollback"),
)

SEES_ALL: Rights = {
    **DISCOVERS,
    **dict.fromkeys(
        (
            "configmaps",
            "events",
            "namespaces",
            "pods",
            "pods/log",
            "persistentvolumeclaims",
            "serviceaccounts",
            "deployments.apps",
            REVISIONS,
            "jobs.batch",
        ),
        READ,
    ),
}
"""What the cluster's own role view lets see of what is asked, with Gatehouse's kinds."""

GOVERNS: Rights = together(SEES_ALL, SETS_UP, DECLARES, decides(*TIERS), CLASSIFIES, ASSIGNS)
"""What ai-admin does: sets up, decides, classifies, and says which namespaces are gated."""

HOME, ELSEWHERE = "home", "elsewhere"
"""Two namespaces of the test: the first is one that holds a ModelRegistry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who asks, where, and all that is allowed. ``role`` is bound to a made-up user for the time of the test."""

    label: str
    user: str = ""
    role: str = ""
    namespace: str
    may: Rights


SUBJECTS = (
    Subject(label="operator at home", user=OPERATOR_USER, namespace=NAMESPACE, may=OPERATES | READS_SECRETS | LEADS),
    Subject(label="operator at a registry", user=OPERATOR_USER, namespace=HOME, may=OPERATES | READS_SECRETS),
    Subject(label="operator elsewhere", user=OPERATOR_USER, namespace=ELSEWHERE, may=OPERATES),
    Subject(label="developer", user="ai-developer", namespace="default", may=together(SEES_ALL, DEPLOYS)),
    Subject(label="developer elsewhere", user="ai-developer", namespace=HOME, may=SEES_ALL),
    Subject(label="admin", user="ai-admin", namespace=HOME, may=GOVERNS),
    Subject(label="admin at the operator's", user="ai-admin", namespace=NAMESPACE, may=GOVERNS),
    Subject(label="viewer", role="gatehouse-viewer", namespace=HOME, may=DISCOVERS),
    Subject(label="submitter", role="gatehouse-submitter", namespace=HOME, may=SUBMITS),
    Subject(label="administrator", role="gatehouse-admin", namespace=HOME, may=ADMINISTERS),
    Subject(label="approver", role="gatehouse-approver", namespace=HOME, may=decides(*TIERS)),
    Subject(label="approver of low risk", role="gatehouse-approver-low", namespace=HOME, may=decides(*TIERS[:1])),
    Subject(label="classifier", role="gatehouse-classifier", namespace=HOME, may=CLASSIFIES),
    Subject(label="administrator of stages", role="gatehouse-stage-admin", namespace=HOME, may=ASSIGNS),
    Subject(label="controller", role="gatehouse-submitter-for-others", namespace=HOME, may={VERSIONS: "submitfor"}),
    Subject(label="deployer", role="gatehouse-deployer", namespace=HOME, may=DEPLOYS),
    Subject(label="person on call", role="gatehouse-rollbacker", namespace=HOME, may=ROLLS_BACK),
    Subject(label="reader of Secrets", role="gatehouse-registry-secrets", namespace=HOME, may=READS_SECRETS),
    Subject(label="server", role="gatehouse-server", namespace=HOME, may=SERVES),
    Subject(label="viewer of the cluster", role="view", namespace=HOME, may=SEES_ALL),
    Subject(label="stranger", user="stranger", namespace=HOME, may={}),
)

BUILT_IN: Mapping[str, Rights] = {"view": DISCOVERS, "edit": SUBMITS, "admin": SUBMITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request and whether it is allowed. Nothing is persisted; ``{home}`` in the path is the namespace."""

    subject: str
    method: str
    path: str
    body: Manifest | None = None
    allowed: bool

    def __str__(self) -> str:
        return f"{self.subject} {self.method} {self.path}"


def gatehouse(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


VERSION = gatehouse(
    "ModelVersion",
    "new",
    {
        "modelRef": {"name": "granite"},
        "version": "new",
        "artifact": {"uri": "s3://models/granite/"},
        "hardwareProfileRef": {"name": "nvidia-l4"},
    },
)
MODEL = gatehouse("RegisteredModel", "new", {})
REGISTRY = gatehouse("ModelRegistry", "new", {})
ARCHIVED = {"spec": {"state": "Archived"}}
STATUS = {"status": {"phase": "Ready to Deploy"}}
CONFIG_MAP: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
VERSION_PATH = f"{API}/namespaces/{{home}}/modelversions"
MODEL_PATH = f"{API}/namespaces/{{home}}/registeredmodels"
REGISTRY_PATH = f"{API}/namespaces/{{home}}/modelregistries"
PROFILE_PATH = f"{API}/hardwareprofiles/nvidia-l4"
LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces"


def lease(name: str) -> Manifest:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}}


def asks(
    subject: str, *, allowed: bool, requests: Iterable[tuple[str, str] | tuple[str, str, Manifest]]
) -> list[Request]:
    return [
        Request(subject=subject, allowed=allowed, method=method, path=where, body=body[0] if body else None)
        for method, where, *body in requests
    ]


REQUESTS = [
    *asks(
        "developer elsewhere",
        allowed=True,
        requests=[
            ("GET", VERSION_PATH),
            ("GET", f"{VERSION_PATH}/granite-1"),
            ("GET", PROFILE_PATH),
            ("GET", "/api/v1/namespaces/{home}/configmaps/a-template"),
        ],
    ),
    *asks(
        "developer elsewhere",
        allowed=False,
        requests=[
            ("POST", VERSION_PATH, VERSION),
            ("PATCH", f"{VERSION_PATH}/granite-1", ARCHIVED),
            ("PATCH", f"{VERSION_PATH}/granite-1/status", STATUS),
            ("DELETE", f"{VERSION_PATH}/granite-1"),
            ("POST", REGISTRY_PATH, REGISTRY),
            ("GET", "/api/v1/namespaces/{home}/secrets/store"),
            ("POST", "/api/v1/namespaces/{home}/configmaps", CONFIG_MAP),
        ],
    ),
    *asks(
        "submitter",
        allowed=True,
        requests=[
            ("POST", VERSION_PATH, VERSION),
            ("POST", MODEL_PATH, MODEL),
            ("PATCH", f"{VERSION_PATH}/granite-1", ARCHIVED),
            ("DELETE", f"{VERSION_PATH}/granite-1"),
        ],
    ),
    *asks(
        "submitter",
        allowed=False,
        requests=[
            ("PATCH", f"{VERSION_PATH}/granite-1/status", STATUS),
            ("DELETE", VERSION_PATH),
            ("POST", REGISTRY_PATH, REGISTRY),
            ("PATCH", f"{REGISTRY_PATH}/registry", {"spec": {"stages": ["production"]}}),
            ("PATCH", PROFILE_PATH, {"spec": {"accelerator": {"memory": "1Ti"}}}),
            ("GET", "/api/v1/namespaces/{home}/configmaps/a-template"),
            ("GET", "/api/v1/namespaces/{home}/secrets/store"),
        ],
    ),
    *asks(
        "admin",
        allowed=True,
        requests=[
            ("POST", REGISTRY_PATH, REGISTRY),
            ("POST", VERSION_PATH, VERSION),
            ("PATCH", f"{MODEL_PATH}/granite", ARCHIVED),
            ("PATCH", f"{VERSION_PATH}/granite-1", ARCHIVED),
            ("DELETE", f"{VERSION_PATH}/granite-1"),
            ("DELETE", f"{REGISTRY_PATH}/registry"),
            ("DELETE", PROFILE_PATH),
        ],
    ),
    *asks(
        "admin",
        allowed=False,
        requests=[
            ("PATCH", f"{VERSION_PATH}/granite-1/status", STATUS),
            ("PATCH", f"{REGISTRY_PATH}/registry/status", STATUS),
            ("GET", "/api/v1/namespaces/{home}/secrets/store"),
            ("PATCH", f"{RBAC}/clusterroles/gatehouse-admin", {"metadata": {"labels": {"a": "b"}}}),
        ],
    ),
    *asks(
        "operator at a registry",
        allowed=True,
        requests=[
            ("GET", f"{API}/modelversions"),
            ("PATCH", f"{VERSION_PATH}/granite-1/status", STATUS),
            ("GET", "/api/v1/namespaces/{home}/secrets/store"),
            ("POST", "/api/v1/namespaces/{home}/configmaps", CONFIG_MAP),
            ("DELETE", "/api/v1/namespaces/{home}/configmaps/a-template"),
            ("POST", f"{LEASE_PATH}/{NAMESPACE}/leases", lease("another")),
        ],
    ),
    *asks(
        "operator at a registry",
        allowed=False,
        requests=[
            ("GET", "/api/v1/namespaces/{home}/secrets"),
            ("GET", "/api/v1/namespaces/{elsewhere}/secrets/store"),
            ("PATCH", f"{VERSION_PATH}/granite-1", ARCHIVED),
            ("PATCH", f"{VERSION_PATH}/granite-1", {"metadata": {"labels": {"a": "b"}}}),
            ("PATCH", f"{VERSION_PATH}/granite-1", {"metadata": {"finalizers": ["gatehouse.dev/x"]}}),
            ("DELETE", f"{VERSION_PATH}/granite-1"),
            ("PATCH", PROFILE_PATH, {"metadata": {"annotations": {"a": "b"}}}),
            ("PUT", "/api/v1/namespaces/{home}/configmaps/a-template", CONFIG_MAP),
            ("POST", f"{LEASE_PATH}/{{home}}/leases", lease(LEASE)),
            ("PATCH", f"{LEASE_PATH}/{NAMESPACE}/leases/{LEASE}", {"spec": {"holderIdentity": "x"}}),
            ("PUT", f"{LEASE_PATH}/{NAMESPACE}/leases/another", lease("another")),
            ("POST", "/api/v1/namespaces/{home}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}),
        ],
    ),
    *asks("stranger", allowed=False, requests=[("GET", VERSION_PATH), ("GET", PROFILE_PATH)]),
]
