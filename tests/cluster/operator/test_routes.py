"""Routes on the real API server: what is written is what is there, and what others wrote is left or put back.

The kinds are parts of the Gateway API's and of OpenShift's, with their defaults and their kinds of lists.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cluster.rig import Operator, until
from cluster.routekinds import route_kinds, serve_routes
from cluster.servers import available
from cluster.status import Manifest
from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.cluster.client import ApiClient, load_configuration
from gatehouse.cluster.routes import KubernetesRoutes
from gatehouse.controllers.routes import ROUTE_KINDS, kept_of_route
from gatehouse.domain.common.errors import Stalled, Superseded, Waiting
from gatehouse.domain.deployment.route import DeployedRoute, RouteMeans, RouteParent, deployed_route, route_object
from gatehouse.install.shipped_files import documents
from gatehouse_local import ephemeral
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace as namespace_manifest

T = TypeVar("T")
NAMESPACE, CHAT, HOST = "chatbots", "chat", "chat.apps.example"
MERGE = "application/merge-patch+json"
HTTP = RouteMeans(method="HTTPRoute", reason="", parent=RouteParent("gateways", "public", "https"))
OPENSHIFT = RouteMeans(method="Route", reason="")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
EVERYTHING = {"chat": 100}
SPLIT = {"chat": 90, "chat-0a1b2c3d": 10}


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    """A control plane of this module, without routes at first."""
    with available(ephemeral.control_plane()) as running:
        with contextlib.closing(running.client()) as client:
            for manifest in (namespace_manifest(), namespace_manifest(NAMESPACE), *documents("manifests/hardware")):
                client.apply(manifest)
        yield running


@dataclass
class Cluster:
    """The adapter as the operator's user, and the deployment that owns the routes."""

    plane: RunningControlPlane
    kube: KubeClient
    deployment: ModelDeployment
    means: RouteMeans
    written: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def run(self, work: Callable[[KubernetesRoutes], Awaitable[T]]) -> T:
        async def asked() -> T:
            configuration = await load_configuration(kubeconfig=self.plane.kubeconfig, context=OPERATOR_USER)
            async with ApiClient(configuration) as client:
                return await work(KubernetesRoutes(client, written=lambda *what: self.written.append(what)))

        return asyncio.run(asked())

    def put(self, weights: Mapping[str, int], *, uid: str | None = None) -> DeployedRoute:
        body = route_object(self.deployment, weights, self.means, uid=uid)
        return self.read(self.run(lambda routes: routes.put_route(NAMESPACE, body)))

    def delete(self, uid: str) -> None:
        method = self.means.method
        self.run(lambda routes: routes.delete_route(NAMESPACE, CHAT, method=method, uid=uid))

    def read(self, body: Mapping[str, Any] | None) -> DeployedRoute:
        """What the operator reads of a body that its cache kept."""
        assert body is not None
        found = deployed_route(kept_of_route(dict(body)), self.deployment, self.means)
        assert found is not None
        return found

    @property
    def path(self) -> str:
        kind = ROUTE_KINDS[self.means.method]
        return f"/apis/{kind.group}/{kind.version}/namespaces/{NAMESPACE}/{kind.plural}"

    def body(self) -> Manifest | None:
        try:
            return self.kube.request("GET", f"{self.path}/{CHAT}")
        except ApiRefused as refused:
            if refused.status != 404:
                raise
            return None

    def edit(self, patch: Manifest, subresource: str = "") -> Manifest:
        return self.kube.request("PATCH", f"{self.path}/{CHAT}{subresource}", patch, content_type=MERGE)


@contextlib.contextmanager
def cluster(plane: RunningControlPlane, means: RouteMeans) -> Iterator[Cluster]:
    with contextlib.closing(plane.client()) as client:
        made = client.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": CHAT, "namespace": NAMESPACE},
                "spec": {
                    "modelRef": {"name": "granite"},
                    "versionRef": {"name": "granite-1"},
                    "servedName": "granite",
                    "hostname": HOST,
                    # The adapter is tried here. An operator would take away the route of the kind that it does not use.
                    "paused": True,
                },
            }
        )
        running = Cluster(plane, client, ModelDeployment.model_validate(made), means)
        yield running
        with contextlib.suppress(ApiRefused):
            client.request("DELETE", f"{running.path}/{CHAT}")


def test_without_the_kind_a_route_waits(plane: RunningControlPlane) -> None:
    for means in (HTTP, OPENSHIFT):
        with cluster(plane, means) as routes:
            with pytest.raises(Waiting) as told:
                routes.put(EVERYTHING)
            assert told.value.reason == "KindNotFound"
            routes.delete("r-1")


@pytest.fixture(params=[HTTP, OPENSHIFT], ids=lambda means: means.method)
def routes(plane: RunningControlPlane, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Both kinds are served, and no route of the name exists."""
    with cluster(plane, request.param) as made:
        serve_routes(made.kube)
        yield made


def test_a_route_is_created_switched_by_one_patch_and_deleted(routes: Cluster) -> None:
    made = routes.put(EVERYTHING)
    assert (made.owned, made.exact, made.accepted, made.weights) == (True, True, False, EVERYTHING)
    plural = ROUTE_KINDS[routes.means.method].plural
    assert [(kind, body["metadata"]["uid"]) for kind, body in routes.written] == [(plural, made.uid)]
    first = routes.body()
    assert first is not None

    split = routes.put(SPLIT, uid=made.uid)
    assert (split.uid, split.exact, split.weights) == (made.uid, True, SPLIT)
    switched = routes.body()
    assert switched is not None
    assert switched["metadata"]["generation"] == first["metadata"]["generation"] + 1
    routes.put(SPLIT, uid=made.uid)
    assert routes.body() == switched, "the same once more changes nothing"

    routes.delete("another-uid")
    assert routes.body() == switched
    routes.delete(made.uid)
    assert routes.body() is None
    routes.delete(made.uid)


HTTP_EDITS: list[Manifest] = [
    {"hostnames": [HOST, "other.example"]},
    {"parentRefs": [{"name": "private"}]},
    {"rules": [{"backendRefs": [{"name": "stranger", "port": 80}]}]},
    {"rules": None},
]
OPENSHIFT_EDITS: list[Manifest] = [
    {"alternateBackends": [{"kind": "Service", "name": "stranger", "weight": 50}]},
    {"to": {"weight": 256}},
    {"path": "/v1"},
    {"tls": {"insecureEdgeTerminationPolicy": "Allow"}},
    {"tls": None},
    {"port": None},
    {"httpHeaders": {"actions": {"request": []}}},
]


def test_an_edit_is_seen_and_the_next_patch_removes_it(routes: Cluster) -> None:
    uid = routes.put(SPLIT).uid
    before = routes.body()
    assert before is not None
    for spec in HTTP_EDITS if routes.means is HTTP else OPENSHIFT_EDITS:
        assert not routes.read(routes.edit({"spec": spec})).exact, spec
        assert routes.put(SPLIT, uid=uid).exact
        after = routes.body()
        assert after is not None
        assert after["spec"] == before["spec"]


def test_a_rule_that_another_person_added_for_a_header_goes(plane: RunningControlPlane) -> None:
    with cluster(plane, HTTP) as routes:
        serve_routes(routes.kube)
        uid = routes.put(SPLIT).uid
        body = routes.body()
        assert body is not None
        [rule] = body["spec"]["rules"]
        header = {"name": "x-canary", "value": "1"}
        added = {"matches": [{"headers": [header]}], "backendRefs": [{"name": "chat-0a1b2c3d-predictor", "port": 80}]}
        assert not routes.read(routes.edit({"spec": {"rules": [added, rule]}})).exact
        assert routes.put(SPLIT, uid=uid).exact


def test_what_belongs_to_others_stays(routes: Cluster) -> None:
    uid = routes.put(EVERYTHING).uid
    others: Manifest = {"metadata": {"labels": {"shard": "b"}, "annotations": {"team.example/owner": "chat"}}}
    if routes.means is OPENSHIFT:
        others["spec"] = {"tls": {"certificate": "a certificate", "key": "a secret key"}}
    kept = routes.edit(others)
    assert routes.read(kept).exact
    assert "secret" not in str(kept_of_route(kept)), "the cache has no key"
    assert routes.put(SPLIT, uid=uid).exact
    after = routes.body()
    assert after is not None
    assert after["metadata"]["labels"]["shard"] == "b"
    assert after["metadata"]["annotations"]["team.example/owner"] == "chat"
    assert after["spec"].get("tls", {}).get("key") == kept["spec"].get("tls", {}).get("key")


def test_a_foreign_route_of_the_name_is_never_written(routes: Cluster) -> None:
    body = route_object(routes.deployment, EVERYTHING, routes.means, uid=None)
    del body["metadata"]["ownerReferences"]
    theirs = routes.kube.request("POST", routes.path, body)
    found = routes.read(theirs)
    assert (found.owned, found.exact, found.weights) == (False, False, {})
    with pytest.raises(Superseded):
        routes.put(SPLIT)
    assert routes.body() == theirs


def test_a_route_that_was_replaced_is_not_patched(routes: Cluster) -> None:
    uid = routes.put(EVERYTHING).uid
    routes.delete(uid)
    with pytest.raises(Superseded):
        routes.put(SPLIT, uid=uid)
    again = routes.put(EVERYTHING)
    assert again.uid != uid
    with pytest.raises(Superseded):
        routes.put(SPLIT, uid=uid)
    assert routes.read(routes.body()).weights == EVERYTHING


def test_admission_may_refuse_a_host(routes: Cluster) -> None:
    kind = ROUTE_KINDS[routes.means.method]
    policy: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "hosts"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [kind.group],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [kind.plural],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "no host is allowed here"}],
        },
    }
    binding: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "hosts"},
        "spec": {"policyName": "hosts", "validationActions": ["Deny"]},
    }

    def refused() -> Stalled | None:
        try:
            made = routes.put(EVERYTHING)
        except Stalled as error:
            return error
        routes.delete(made.uid)
        return None

    for manifest in (policy, binding):
        routes.kube.apply(manifest)
    try:
        error = until(refused, what="the policy refuses nothing")
    finally:
        for manifest in (binding, policy):
            routes.kube.request("DELETE", routes.kube.path_of(manifest))
    assert error.reason == "AdmissionRefused"
    assert "no host is allowed here" in error.message

    def allowed() -> bool:
        with contextlib.suppress(Stalled):
            routes.delete(routes.put(EVERYTHING).uid)
            return True
        return False

    until(allowed, what="the policy is still there")


def test_the_gateway_accepts_a_generation(routes: Cluster) -> None:
    uid = routes.put(EVERYTHING).uid
    body = routes.body()
    assert body is not None
    at = {"lastTransitionTime": "2026-11-01T00:00:00Z", "reason": "Accepted", "message": ""}
    generation = body["metadata"]["generation"]
    conditions = [
        {**at, "type": name, "status": "True", "observedGeneration": generation}
        for name in ("Accepted", "ResolvedRefs")
    ]
    if routes.means is HTTP:
        parent = {"controllerName": "example.com/c", "parentRef": body["spec"]["parentRefs"][0]}
        status: Manifest = {"parents": [{**parent, "conditions": conditions}]}
    else:
        status = {"ingress": [{"host": HOST, "routerName": "default", "conditions": [{"type": "Admitted", **at}]}]}
        status["ingress"][0]["conditions"][0]["status"] = "True"
    assert routes.read(routes.edit({"status": status}, "/status")).accepted
    split = routes.put(SPLIT, uid=uid)
    # An OpenShift router does not say which generation it has.
    assert split.accepted == (routes.means is OPENSHIFT)


def test_the_operator_watches_routes_as_soon_as_their_kinds_are_there(
    plane: RunningControlPlane, tmp_path: Path
) -> None:
    plurals = [kind.plural for kind in ROUTE_KINDS.values()]

    def cached(operator: Operator) -> list[float]:
        return [operator.metrics().sum("gatehouse_cached_objects", kind=plural) for plural in plurals]

    with cluster(plane, HTTP) as http, cluster(plane, OPENSHIFT) as openshift:
        for definition in route_kinds():
            with contextlib.suppress(ApiRefused):
                http.kube.request("DELETE", f"{DEFINITIONS}/{definition['metadata']['name']}")
        with contextlib.closing(Operator(plane, tmp_path, arguments=["--service-interval=1s"])) as operator:
            operator.start()
            serve_routes(http.kube)
            http.put(EVERYTHING)
            openshift.put(EVERYTHING)
            until(lambda: cached(operator) == [1, 1], what=lambda: f"the cache has {cached(operator)}")
            for work in ("HTTPRoutes", "OpenShift routes"):
                assert operator.metrics().sum("gatehouse_periodic_failures_total", work=work) == 0
