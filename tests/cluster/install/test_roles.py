"""Who may do what: each shipped role, each person and the operator, by verb and kind, on the real API server.

The tables are exact both ways: a rule that is added anywhere fails until a table names it, as does one that is lost.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from cluster.impersonation import As
from cluster.pretend_kserve import pretend_kserve
from cluster.rig import Metrics, Operator, until
from cluster.rights import (
    ADMINISTERS,
    ARCHIVED,
    ASKED,
    BUILT_IN,
    ELSEWHERE,
    HOME,
    KINDS,
    LEADS,
    OPERATES,
    RBAC,
    READS_SECRETS,
    REQUESTS,
    SHIPPED,
    STATUS,
    SUBJECTS,
    VERBS,
    VERSION,
    VERSION_PATH,
    Request,
    Rights,
    Subject,
    gatehouse,
)
from cluster.status import Manifest
from cluster.world import World, make_world
from gatehouse.install.shipped_files import documents
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.objects import registry_access
from gatehouse_local.s3 import S3Endpoint


def connect(plane: RunningControlPlane, subject: Subject) -> KubeClient:
    """A client as the subject, with its own token where it has one."""
    return plane.client(subject.user) if subject.user in plane.tokens else As(plane, subject.user or user_of(subject))


def user_of(subject: Subject) -> str:
    """The made-up user that has just one role."""
    return f"only-{subject.role}"


MERGE = "application/merge-patch+json"
PROFILE = next(each for each in documents("manifests/hardware"))["spec"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The control plane with every subject's role bound, and the namespaces' real names."""

    plane: RunningControlPlane
    admin: KubeClient
    names: Mapping[str, str]

    def namespace(self, label: str) -> str:
        """The real name of a namespace of the tables."""
        return self.names.get(label, label)


@pytest.fixture(scope="module")
def cluster(installed: RunningControlPlane) -> Iterator[Cluster]:
    suffix = secrets.token_hex(4)
    names = {HOME: f"home-{suffix}", ELSEWHERE: f"elsewhere-{suffix}"}
    bindings = [binding(subject) for subject in SUBJECTS if subject.role]
    with contextlib.closing(installed.client()) as admin:
        for name in names.values():
            admin.apply(namespace_manifest(name))
        for manifest in (registry_access(names[HOME], operator_user=OPERATOR_USER), *bindings):
            admin.apply(manifest)
        until(lambda: filled(admin), what="the controller manager has not filled in the aggregated roles")
        yield Cluster(installed, admin, names)
        for manifest in bindings:
            admin.request("DELETE", admin.path_of(manifest))
        for name in names.values():
            admin.request("DELETE", f"/api/v1/namespaces/{name}")


def binding(subject: Subject) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"test-{user_of(subject)}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": subject.role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user_of(subject)}],
    }


def filled(admin: KubeClient) -> bool:
    """Whether the last of the aggregated roles, the cluster's own and ours, have our rules."""
    last = {**BUILT_IN, "gatehouse-admin": ADMINISTERS}
    return all(
        ours(rights(admin.request("GET", f"{RBAC}/clusterroles/{name}"))) == spelled(table)
        for name, table in last.items()
    )


# What the roles say


def spelled(table: Rights) -> dict[str, set[str]]:
    return {resource: set(verbs.split()) for resource, verbs in table.items()}


def rights(role: Mapping[str, Any]) -> dict[str, set[str]]:
    """The rules of a role as a table."""
    found: dict[str, set[str]] = {}
    for rule in role.get("rules") or ():
        assert "nonResourceURLs" not in rule
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    key = resource + (f".{group}" if group else "") + (f"[{name}]" if name else "")
                    found.setdefault(key, set()).update(rule["verbs"])
    return found


def ours(table: Mapping[str, set[str]]) -> dict[str, set[str]]:
    return {resource: verbs for resource, verbs in table.items() if resource.endswith(".gatehouse.dev")}


def path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    scope = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{scope}{manifest['kind'].lower()}s/{metadata['name']}"


def test_every_shipped_role_is_in_the_table() -> None:
    assert {path(manifest) for manifest in documents("manifests/rbac")} == set(SHIPPED)


@pytest.mark.parametrize("role", SHIPPED)
def test_a_shipped_role_says_what_the_table_says(cluster: Cluster, role: str) -> None:
    assert rights(cluster.admin.request("GET", f"{RBAC}/{role}")) == spelled(SHIPPED[role])


@pytest.mark.parametrize("role", BUILT_IN)
def test_the_clusters_own_roles_gather_ours(cluster: Cluster, role: str) -> None:
    assert ours(rights(cluster.admin.request("GET", f"{RBAC}/clusterroles/{role}"))) == spelled(BUILT_IN[role])


def test_a_label_adds_the_rules_of_another_part(cluster: Cluster) -> None:
    part = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "test-part", "labels": {"rbac.gatehouse.dev/aggregate-to-viewer": "true"}},
        "rules": [{"apiGroups": ["part.gatehouse.dev"], "resources": ["parts"], "verbs": ["get"]}],
    }
    roles = ("gatehouse-viewer", "gatehouse-submitter", "gatehouse-admin", "view", "edit", "admin")

    def holding() -> set[str]:
        found = {role: rights(cluster.admin.request("GET", f"{RBAC}/clusterroles/{role}")) for role in roles}
        return {role for role, table in found.items() if "parts.part.gatehouse.dev" in table}

    cluster.admin.apply(part)
    try:
        until(lambda: holding() == set(roles), what=lambda: f"only {holding()} took the rule up")
    finally:
        cluster.admin.request("DELETE", f"{RBAC}/clusterroles/test-part")
    until(lambda: not holding(), what=lambda: f"{holding()} kept the rule")


# What the API server allows


def may(client: KubeClient, verb: str, resource: str, namespace: str) -> bool:
    """The answer to one SelfSubjectAccessReview."""
    plain, _, name = resource.rstrip("]").partition("[")
    plural, _, group = plain.partition(".")
    plural, _, subresource = plural.partition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {
                "verb": verb,
                "group": group,
                "resource": plural,
                "subresource": subresource,
                "name": name,
                "namespace": namespace,
            }
        },
    }
    answer = client.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.label)
def test_a_subject_may_do_what_its_table_says_and_nothing_else(cluster: Cluster, subject: Subject) -> None:
    assert set(subject.may) <= set(ASKED)
    namespace = cluster.namespace(subject.namespace)
    with contextlib.closing(connect(cluster.plane, subject)) as client:
        found = {resource: {verb for verb in VERBS if may(client, verb, resource, namespace)} for resource in ASKED}
    assert {resource: verbs for resource, verbs in found.items() if verbs} == spelled(subject.may)


# Requests


@pytest.fixture(scope="module")
def objects(cluster: Cluster) -> Cluster:
    """One object of each sort that the requests are about."""
    home = cluster.namespace(HOME)
    for manifest in (
        gatehouse("ModelRegistry", "registry", {}),
        gatehouse("RegisteredModel", "granite", {}),
        {**VERSION, "metadata": {"name": "granite-1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a-template"}},
    ):
        cluster.admin.apply({**manifest, "metadata": {**manifest["metadata"], "namespace": home}})
    return cluster


@pytest.mark.parametrize("asked", REQUESTS, ids=str)
def test_a_request_is_answered_as_the_tables_say(objects: Cluster, asked: Request) -> None:
    subject = next(each for each in SUBJECTS if each.label == asked.subject)
    where = asked.path.format(home=objects.namespace(HOME), elsewhere=objects.namespace(ELSEWHERE))
    content_type = "application/merge-patch+json" if asked.method == "PATCH" else "application/json"
    dry = "" if asked.method == "GET" else "?dryRun=All"
    with contextlib.closing(connect(objects.plane, subject)) as client:
        if asked.allowed:
            assert client.request(asked.method, f"{where}{dry}", asked.body, content_type=content_type)
            return
        with pytest.raises(ApiRefused) as refused:
            client.request(asked.method, f"{where}{dry}", asked.body, content_type=content_type)
    assert refused.value.status == 403


def test_a_status_in_a_declaration_is_dropped(objects: Cluster) -> None:
    subject = next(each for each in SUBJECTS if each.label == "submitter")
    where = f"{VERSION_PATH.format(home=objects.namespace(HOME))}?dryRun=All"
    with contextlib.closing(connect(objects.plane, subject)) as client:
        answered = client.request("POST", where, {**VERSION, **STATUS})
    assert "phase" not in answered["status"]


def test_a_declaration_in_a_status_is_dropped(objects: Cluster) -> None:
    where = f"{VERSION_PATH.format(home=objects.namespace(HOME))}/granite-1"
    before = objects.admin.request("GET", where)
    smuggled = {**STATUS, "spec": {"state": "Draft"}, "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}}
    with contextlib.closing(objects.plane.client(OPERATOR_USER)) as operator:
        answered = operator.request(
            "PATCH", f"{where}/status?dryRun=All", smuggled, content_type="application/merge-patch+json"
        )
    assert answered["status"]["phase"] == "Ready to Deploy"
    assert answered["spec"] == before["spec"]
    assert not {"labels", "annotations"} & answered["metadata"].keys()


# The operator at work


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    with make_world(installed, minio) as made:
        yield made


def test_a_registry_waits_for_the_right_to_read_its_secrets(world: World, operator: Operator) -> None:
    granted = registry_access(world.namespace, operator_user=OPERATOR_USER)
    world.kube.request("DELETE", world.kube.path_of(granted))
    world.apply(world.registry())
    expected = f"SecretForbidden: the operator may not read Secret {world.namespace}/store"
    world.wait(
        "registry", lambda body: expected in str(body["status"]), kind="ModelRegistry", what="may read its Secret"
    )
    world.apply(granted)
    world.ask("registry", kind="ModelRegistry")
    world.final("registry", kind="ModelRegistry")


def deploy_three_revisions(plane: RunningControlPlane, world: World) -> None:
    """A deployment that keeps two revisions goes through three of one version, and is deleted."""
    labels = {"gatehouse.dev/stage": "staging", "gatehouse.dev/gate": "Off"}
    where = f"/api/v1/namespaces/{world.namespace}"
    world.kube.request("PATCH", where, {"metadata": {"labels": labels}}, content_type=MERGE)
    spec = {"modelRef": {"name": "granite"}, "versionRef": {"name": "granite-1"}, "servedName": "granite"}
    deployment = gatehouse("ModelDeployment", "chat", {**spec, "revisionHistoryLimit": 2})
    world.apply({**deployment, "metadata": {"name": "chat", "namespace": world.namespace}})

    # The third revision is seen whether or not the first one is gone by then.
    seen: set[str] = set()

    def coming(count: int) -> None:
        def reached(body: Manifest) -> bool:
            seen.update(each["revision"] for each in body["status"].get("history", ()))
            return len(seen) == count and body["status"]["phase"] == "Progressing"

        world.wait("chat", reached, kind="ModelDeployment", what=f"has not had {count} revisions")

    def healthy(body: Manifest) -> bool:
        return (len(body["status"]["history"]), body["status"]["phase"]) == (2, "Healthy")

    for count, length in enumerate((16384, 8192, 4096), start=1):
        world.patch("ModelVersion", "granite-1", {"spec": {"serving": {"maxModelLen": length}}})
        coming(count)
    with pretend_kserve(plane, world.namespace):
        world.wait("chat", healthy, kind="ModelDeployment", what="is not Healthy with two revisions")
    world.delete("ModelDeployment", "chat")
    world.wait("granite-1", lambda body: not body["status"].get("deployedTo"), what="still runs")


def test_the_operator_needs_each_right_that_it_has(
    installed: RunningControlPlane, world: World, operator: Operator
) -> None:
    """In the life of one version, one deployment and one policy it makes use of everything that its tables grant."""
    policy = gatehouse("GovernancePolicy", world.namespace, {"mode": "Audit", "match": {"riskTiers": ["High"]}})
    profile = gatehouse("HardwareProfile", world.namespace, PROFILE)
    world.apply(policy, profile)
    world.upload()
    world.apply(world.registry(), world.model(), world.version(hardwareProfileRef={"name": world.namespace}))
    world.ready()
    deploy_three_revisions(installed, world)
    world.ready()
    world.patch("ModelVersion", "granite-1", {"spec": ARCHIVED["spec"]})
    world.phase("granite-1", "Archived")
    world.events("granite-1", at_least=2)
    until(lambda: listed(world), what="nothing says what may be served")
    world.delete("ModelVersion", "granite-1")
    operator.wait_idle()
    world.delete("ModelRegistry", "registry")
    granted = {
        (verb, resource.partition("[")[0].partition(".")[0].partition("/")[0])
        for resource, verbs in spelled(OPERATES | READS_SECRETS | LEADS).items()
        for verb in verbs
    }
    # Not counted: the informer's own lists and watches, and that a server-side apply takes the right to create too.
    # Seldom: the list of templates, each ten minutes. And the Lease may be there from an earlier test.
    plurals = {kind.partition(".")[0] for kind in KINDS}
    unseen = {(verb, each) for verb in ("list", "watch") for each in {*plurals, "namespaces"}}
    unseen |= {("list", "configmaps"), ("create", "leases"), ("watch", "inferenceservices")}
    unseen |= {("create", each) for each in ("inferenceservices", "servingruntimes")}
    # No deployment here has a hostname: tests/cluster/operator/test_routes.py and test_rollouts.py use these rights.
    unseen |= {("delete", "inferenceservices")}
    written = {(verb, "routes") for verb in ("create", "update", "patch", "delete")}
    unseen |= written | {(verb, "httproutes") for verb, _ in written}
    unseen |= {("watch", each) for each in ("httproutes", "routes")}

    def unused() -> set[tuple[str, str]]:
        counted = operator.metrics()
        return {right for right in granted - unseen if not asked_for(counted, *right)}

    until(lambda: not unused(), what=lambda: f"the operator has no use for {unused()}")
    for each in (policy, profile):
        world.kube.request("DELETE", world.kube.path_of(each))


def listed(world: World) -> bool:
    """Whether there is a list of what admission lets through of the world's bucket."""
    return bool(world.vetted())


def asked_for(counted: Metrics, verb: str, resource: str) -> bool:
    verbs = (verb, "apply") if verb == "patch" else (verb,)
    return any(counted.sum("gatehouse_api_requests_total", verb=each, resource=resource) for each in verbs)
