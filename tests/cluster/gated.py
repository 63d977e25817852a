"""A namespace with a stage, what is cleared for it, and what KServe makes of a good template: to test admission.

Each of the ways past the gate is a good object with one thing changed, sent as the person who would try it.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import worlds
from cluster.kservepods import KSERVE, OPEN_DATA_HUB, RELEASES, Release, kserve_pod
from cluster.rig import until
from cluster.status import Manifest
from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY, ANNOTATION_WRITER
from gatehouse.api.model_registry import ServingDefaults
from gatehouse.api.vetted_artifacts import VettedArtifactsSpec
from gatehouse.cluster.writer import FIELD_MANAGER
from gatehouse.domain.admission.allowlist import Shard, ShardKey
from gatehouse.domain.admission.objects import Common, VettedPlan
from gatehouse.domain.runtimes.arguments import KNOWN_INITIALIZERS, admitted_arguments
from gatehouse.domain.runtimes.environment import admitted_environment
from gatehouse.domain.serving.template import render
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import NAMESPACE
from unit.domain.serving.serving_inputs import DIGEST, serving_input

__all__ = [
    "ACCELERATOR",
    "ADDED",
    "ADDED_VARIABLES",
    "DEVELOPER",
    "DIGEST",
    "GATED",
    "HARMLESS_RESOURCE",
    "HOLDER",
    "IMAGE",
    "INITIALIZER",
    "KEYS",
    "LEASE",
    "LEASES",
    "NEXT",
    "NEXT_DIGEST",
    "NO_LIST",
    "REASON",
    "REFUSED",
    "RETAINED",
    "STAGE",
    "URI",
    "Gate",
    "accepted",
    "altered",
    "by_gate",
    "good_runtime",
    "good_service",
    "lead",
    "make_gate",
    "mark",
    "model_pod",
    "objection",
    "refusal",
    "send",
    "take_back",
    "vetted",
    "wait_for_rights",
]

STAGE, OTHER_STAGE = "production", "staging"
URI = "s3://models/granite-3.1-8b-instruct-FP8-dynamic/"
NEXT = "s3://models/granite-3.2/"
NEXT_DIGEST = f"sha256:{'5' * 64}"
"""Another artifact that is cleared, for canaries."""
REFUSED = "s3://models/tampered/"
REASON = "private-ai/tampered-1 is Artifact Changed, gate ArtifactVerified is shut"
GATED = "gate-first"
"""The namespace of the gate; what is retained is so there."""
RETAINED = "s3://models/retired/"
IMAGE = ServingDefaults().vllm_image
"""With its tag and its digest."""
INITIALIZER = KSERVE.initializer
ACCELERATOR = "nvidia.com/gpu"
ADDED = ("--enable-expert-parallel", "--max-cudagraph-capture-size=8")
"""Arguments that a registry allows beside the list."""
ADDED_VARIABLES = ("TEAM_LEVEL", "TEAM_MODE=fast")
"""Variables that a registry allows beside the list."""
HARMLESS_RESOURCE = "example.com/fuse"
"""An extended resource that a registry says is no accelerator."""
DEVELOPER = "ai-developer"
HOLDER = FIELD_MANAGER
"""Who leads where no operator runs."""
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LEASE = "gatehouse-operator"
NO_LIST = "no params found for policy binding with `Deny` parameterNotFoundAction"
"""What the API server itself says while there are no VettedArtifacts."""
KEYS = tuple(f"{stage}/{bucket}" for stage in (STAGE, OTHER_STAGE) for bucket in ("models", "weights"))


def vetted(key: str = f"{STAGE}/models", *, artifacts: Mapping[str, str] | None = None, **changes: Any) -> Manifest:
    """The VettedArtifacts of one stage and bucket; those of production/models hold something."""
    stage, _, bucket = key.partition("/")
    known = key == f"{STAGE}/models"
    given: dict[str, Any] = {
        "stage": stage,
        "bucket": bucket,
        "key": key,
        "keys": list(KEYS),
        "artifacts": ({URI: DIGEST, NEXT: NEXT_DIGEST} if known else {}) if artifacts is None else dict(artifacts),
        "retained": {f"{GATED} {RETAINED}": DIGEST} if known else {},
        "refused": {REFUSED: REASON} if known else {},
        "images": [IMAGE],
        "arguments": dict.fromkeys(admitted_arguments(ADDED), "gatehouse"),
        "environment": admitted_environment(ADDED_VARIABLES),
        "initializers": sorted({*KNOWN_INITIALIZERS, *(release.initializer for release in RELEASES)}),
        "proxies": [OPEN_DATA_HUB.proxy],
        "connections": ["minio-connection", "models"],
        "accelerators": [ACCELERATOR],
        "resources": [HARMLESS_RESOURCE],
    }
    return {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "VettedArtifacts",
        "metadata": {"name": f"{stage}.{bucket}", "annotations": {ANNOTATION_WRITER: HOLDER}},
        "spec": VettedArtifactsSpec(**(given | changes)).wire(),
    }


def good_service(namespace: str, *, uri: str = URI, digest: str = DIGEST, **given: Any) -> Manifest:
    """What the template has for the InferenceService."""
    made = render(serving_input(namespace=namespace, artifact_uri=uri, digest=digest, **given))
    return copy.deepcopy(dict(made.inference_service))


def good_runtime(namespace: str, **given: Any) -> Manifest:
    """What the template has for the ServingRuntime."""
    return copy.deepcopy(dict(render(serving_input(namespace=namespace, **given)).serving_runtime))


def model_pod(namespace: str, *, uri: str = URI, release: Release = KSERVE) -> Manifest:
    """The Pod that KServe makes of the good template."""
    return kserve_pod(good_service(namespace, uri=uri), good_runtime(namespace), release=release)


Path = tuple[str | int, ...]
"""Keys and places down to a field; ``-1`` as the last one appends to a list."""


def altered(body: Manifest, changes: Mapping[Path, Any]) -> Manifest:
    """A copy with other values; None removes a field."""
    copied = copy.deepcopy(dict(body))
    for path, value in changes.items():
        *parents, last = path
        node: Any = copied
        for key in parents:
            node = node[key] if isinstance(key, int) else node.setdefault(key, {})
        if isinstance(last, int) and isinstance(node, list):
            node.append(value) if last == -1 else node.__setitem__(last, value)
        elif value is None:
            node.pop(last, None)
        else:
            node[last] = value
    return copied


def by_gate(error: ApiRefused) -> bool:
    """Whether a policy or RBAC said no: an object that is invalid, or an expression that fails, proves nothing."""
    return error.status == HTTPStatus.FORBIDDEN or NO_LIST in str(error)


def refusal(client: KubeClient, body: Manifest, *, method: str = "POST", query: str = "dryRun=All") -> str:
    """What the API server says when it refuses the object, as it must. Nothing is persisted."""
    said = objection(client, body, method=method, query=query)
    assert said, f"{body['kind']} {body['metadata'].get('name')} was let through"
    return said


def objection(client: KubeClient, body: Manifest, *, method: str = "POST", query: str = "dryRun=All") -> str:
    """What a policy or RBAC says against the object; nothing when the object is let in. ``query`` says what is kept."""
    try:
        send(client, body, method=method, query=query)
    except ApiRefused as refused:
        if not by_gate(refused):
            raise
        return str(refused)
    return ""


def send(client: KubeClient, body: Manifest, *, method: str = "POST", query: str = "dryRun=All") -> Manifest:
    """The object as the API server answers it; persisted only with another query."""
    path = client.path_of(body)
    where = path.rpartition("/")[0] if method == "POST" else path
    return client.request(method, f"{where}?{query}", body)


def mark(client: KubeClient, path: str, marks: Mapping[str, str | None]) -> Manifest:
    """Writes annotations into an object; None takes one away."""
    body = {"metadata": {"annotations": dict(marks)}}
    return client.request("PATCH", path, body, content_type="application/merge-patch+json")


def take_back(client: KubeClient, path: str, *, by: str, reason: str = "read the wrong report") -> None:
    """Deletes a decision or a result as admission wants it."""
    mark(client, path, {ANNOTATION_WITHDRAWN_BY: by, ANNOTATION_WITHDRAWAL_REASON: reason})
    client.request("DELETE", path)


def accepted(client: KubeClient, body: Manifest) -> bool:
    """Whether the object would be let in."""
    return not objection(client, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A control plane whose gate is shut in ``namespace``, with clients of those who come to it."""

    plane: RunningControlPlane
    namespace: str
    admin: KubeClient
    developer: KubeClient
    approver: KubeClient
    operator: KubeClient

    def service(self, changes: Mapping[Path, Any] | None = None, **given: Any) -> Manifest:
        """The good InferenceService, changed."""
        return altered(good_service(self.namespace, **given), changes or {})

    def pod(self, changes: Mapping[Path, Any] | None = None, **given: Any) -> Manifest:
        """The good Pod, changed."""
        return altered(model_pod(self.namespace, **given), changes or {})

    def runtime(self, changes: Mapping[Path, Any] | None = None, **given: Any) -> Manifest:
        """The good ServingRuntime, changed."""
        return altered(good_runtime(self.namespace, **given), changes or {})

    def vet(self, *objects: Manifest) -> None:
        """Writes VettedArtifacts as the operator that leads does."""
        for body in objects:
            self.operator.apply(altered(body, {("metadata", "annotations", ANNOTATION_WRITER): HOLDER}))

    def keep(self, shards: Mapping[ShardKey, Shard]) -> None:
        """Brings the VettedArtifacts to these, in as many objects as the operator would."""
        path = "/apis/gatehouse.dev/v1alpha1/vettedartifacts"
        items = self.operator.request("GET", path)["items"]
        there = {each["metadata"]["name"]: each["spec"] for each in items}
        common = Common.of(
            runtimes=[], registries=[worlds.registry(serving={"vllmImage": IMAGE})], accelerators=[ACCELERATOR]
        )
        plan = VettedPlan.of(shards, there=there, common=common)
        for step in (plan.creations, plan.updates):
            for body in step(there):
                self.vet(body)
                there[body["metadata"]["name"]] = body["spec"]
        for name in plan.deletions(there):
            self.operator.request("DELETE", f"{path}/{name}")

    def settle(self, *, refuses: Manifest | None = None, accepts: Manifest | None = None) -> None:
        """Waits until the API server has seen the newest policies, labels and lists."""
        if refuses is not None:
            until(lambda: not accepted(self.developer, refuses), what="what must be refused is not")
        if accepts is not None:
            until(lambda: accepted(self.developer, accepts), what=lambda: refusal(self.developer, accepts))

    @contextlib.contextmanager
    def another(self, **labels: str) -> Iterator[Gate]:
        """Another namespace with labels of Gatehouse's: ``stage``, ``gate``, ``accelerators``."""
        name = f"gate-{secrets.token_hex(4)}"
        _make(self.admin, name, labels)
        try:
            yield Gate(
                plane=self.plane,
                namespace=name,
                admin=self.admin,
                developer=self.developer,
                approver=self.approver,
                operator=self.operator,
            )
        finally:
            self.admin.request("DELETE", f"/api/v1/namespaces/{name}")


def lead(client: KubeClient, holder: str) -> None:
    """Has the Lease say who leads. The API server learns of the new holder by a watch."""
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": NAMESPACE},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10},
    }
    try:
        client.request("POST", LEASES, body)
    except ApiRefused as refused:
        if refused.status != HTTPStatus.CONFLICT:
            raise
        there = client.request("GET", f"{LEASES}/{LEASE}")
        client.request("PUT", f"{LEASES}/{LEASE}", {**there, "spec": body["spec"]})


@contextlib.contextmanager
def make_gate(plane: RunningControlPlane) -> Iterator[Gate]:
    """A namespace of stage production, in which ai-developer may deploy and edit. It goes with its control plane."""
    with contextlib.ExitStack() as stack:
        admin, developer, approver, operator = (
            stack.enter_context(contextlib.closing(plane.client(user)))
            for user in ("admin", DEVELOPER, "ai-admin", OPERATOR_USER)
        )
        _make(admin, GATED, {"stage": STAGE})
        gate = Gate(
            plane=plane, namespace=GATED, admin=admin, developer=developer, approver=approver, operator=operator
        )
        lead(operator, HOLDER)
        until(lambda: accepted(operator, vetted()), what="the API server does not know who leads")
        gate.vet(*(vetted(key) for key in KEYS))
        gate.settle(refuses=gate.service(uri=REFUSED), accepts=gate.service())
        gate.settle(refuses=gate.pod(uri=REFUSED), accepts=gate.pod())
        gate.settle(refuses=gate.runtime({("spec", "containers", 0, "image"): "evil"}), accepts=gate.runtime())
        yield gate


def wait_for_rights(admin: KubeClient, role: str, *, user: str, group: str = "", namespace: str) -> None:
    """Waits until a binding of a ClusterRole holds: the API server's authorizer learns of bindings by a watch."""
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}"
    rule = until(
        lambda: next((rule for rule in admin.request("GET", path)["rules"] or () if rule.get("resources")), None),
        what=f"ClusterRole {role} has no rules",
    )
    verb, resource, subresource = rule["verbs"][0], *f"{rule['resources'][0]}/".split("/")[:2]
    attributes = {
        "verb": "get" if verb == "*" else verb,
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "name": (rule.get("resourceNames") or [""])[0],
        "namespace": namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": [group] if group else [], "resourceAttributes": attributes},
    }
    reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    until(
        lambda: admin.request("POST", reviews, review)["status"]["allowed"],
        what=f"{user or group} has no right of {role}",
    )


def _make(admin: KubeClient, name: str, labels: Mapping[str, str]) -> None:
    marks = {f"gatehouse.dev/{key}": value for key, value in labels.items()}
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": marks}})
    for role in ("edit", "gatehouse-deployer"):
        admin.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": role, "namespace": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DEVELOPER}],
            }
        )
        wait_for_rights(admin, role, user=DEVELOPER, namespace=name)
