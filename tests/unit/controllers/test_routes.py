"""What the cache keeps of routes, and which deployment may write one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.app.cache_reader import CacheReader
from gatehouse.controllers.indexes import BY_HOSTNAME
from gatehouse.controllers.routes import (
    HTTP_ROUTES,
    OPENSHIFT_ROUTES,
    KnownRoute,
    Routes,
    every_deployment,
    hostname_of,
    hostname_part,
    hosts_of_route,
    kept_of_route,
    route_part,
    routing,
    sharing_hostname,
)
from gatehouse.controllers.table import WATCHES
from gatehouse.domain.deployment.route import RouteMeans, RouteParent, deployed_route, route_object
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.watches import build_caches
from unit.domain.deployment.deployments import deployment

DEPLOYMENTS, HTTP, OPENSHIFT = "modeldeployments", HTTP_ROUTES.plural, OPENSHIFT_ROUTES.plural
HOST, OTHER = "chat.apps.example", "other.apps.example"
PARENT = RouteParent("gateways", "public")
MEANS = {
    HTTP: RouteMeans(method="HTTPRoute", reason="", parent=PARENT),
    OPENSHIFT: RouteMeans(method="Route", reason=""),
}
DAYS = [f"2026-11-0{day}T00:00:00Z" for day in range(1, 5)]
BOTH = {HTTP: True, OPENSHIFT: True}


def made(name: str, *, created: str = DAYS[0], **spec: Any) -> ModelDeployment:
    return deployment(metadata={"name": name, "uid": f"uid-of-{name}", "creationTimestamp": created}, **spec)


def route(of: ModelDeployment, kind: str = HTTP, *, created: str = DAYS[0], **metadata: Any) -> dict[str, Any]:
    body = route_object(of, {of.metadata.name: 100}, MEANS[kind], uid=None)
    known = {"uid": f"route-of-{of.metadata.name}", "generation": 1, "creationTimestamp": created, **metadata}
    return {**body, "metadata": {**body["metadata"], **known}}


class Cluster:
    """The operator's caches of deployments and of routes, and what the API server serves."""

    def __init__(self, **served: bool | None) -> None:
        watches = [
            replace(watch, indexes={**watch.indexes, BY_HOSTNAME: hostname_of}) if watch.kind == DEPLOYMENTS else watch
            for watch in WATCHES
        ]
        self.caches = build_caches(watches)
        self.served: dict[str, bool | None] = {HTTP: True, OPENSHIFT: False, **served}
        for kind in (HTTP, OPENSHIFT):
            self.caches[kind].complete = True
        self.routes = Routes(CacheReader(self.caches), served=self.served.get, default_gateway=PARENT)
        self._revision = 0

    def put(self, kind: str, body: Any) -> None:
        self._revision += 1
        made = body.wire() if isinstance(body, ModelDeployment) else body
        self.caches[kind].apply(
            "MODIFIED", {**made, "metadata": {**made["metadata"], "resourceVersion": str(self._revision)}}
        )

    def known(self, of: ModelDeployment) -> KnownRoute:
        found = self.routes.of(of)
        assert found is not None
        return found


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_the_own_route_is_read(cluster: Cluster) -> None:
    chat = made("chat", hostname=HOST)
    cluster.put(DEPLOYMENTS, chat)
    found = cluster.known(chat)
    assert (found.means.method, found.means.parent, found.route, found.refused) == ("HTTPRoute", PARENT, None, None)
    cluster.put(HTTP, route(chat))
    found = cluster.known(chat)
    assert found.route is not None
    assert (found.route.exact, found.route.weights, found.refused) == (True, {"chat": 100}, None)
    assert not found.stale


@pytest.mark.parametrize("unknown", [HTTP, OPENSHIFT])
def test_nothing_is_known_before_both_kinds_are(unknown: str) -> None:
    chat = made("chat", hostname=HOST)
    assert Cluster(**{unknown: None}).routes.of(chat) is None
    listing = Cluster()
    listing.caches[unknown].complete = False
    assert listing.routes.of(chat) is None


def test_a_deployment_without_host_asks_nothing() -> None:
    blind = Cluster(**{HTTP: None, OPENSHIFT: None})
    found = blind.known(made("chat"))
    assert (found.means.method, found.route, found.refused, found.stale) == ("None", None, None, {})


def test_a_route_of_other_means_is_stale() -> None:
    cluster = Cluster(**BOTH)
    chat = made("chat", hostname=HOST)
    cluster.put(OPENSHIFT, route(chat, OPENSHIFT))
    assert cluster.known(chat).stale == {"Route": "route-of-chat"}
    cluster.put(HTTP, route(chat))
    without = made("chat")
    assert cluster.known(without).stale == {"HTTPRoute": "route-of-chat", "Route": "route-of-chat"}
    cluster.put(OPENSHIFT, route(chat, OPENSHIFT, ownerReferences=[]))
    assert not cluster.known(chat).stale, "a foreign one is left alone"


def test_a_foreign_route_of_the_name_is_refused(cluster: Cluster) -> None:
    chat = made("chat", hostname=HOST)
    cluster.put(HTTP, route(chat, ownerReferences=[]))
    found = cluster.known(chat)
    assert found.refused is not None
    assert found.refused.reason == "RouteTaken"


def test_the_older_deployment_has_the_host_until_the_younger_one_has_a_route(cluster: Cluster) -> None:
    old, young = made("old", created=DAYS[0], hostname=HOST), made("young", created=DAYS[1], hostname=HOST)
    for each in (old, young):
        cluster.put(DEPLOYMENTS, each)
    refused = cluster.known(young).refused
    assert refused is not None
    assert "chatbots/old" in refused.found
    assert cluster.known(old).refused is None
    # An older deployment that names the host later takes it from no other one.
    cluster.put(HTTP, route(young, created=DAYS[2]))
    assert cluster.known(young).refused is None
    taken = cluster.known(old).refused
    assert taken is not None
    assert taken.reason == "HostnameTaken"
    # The claim of a route ends with the host of the deployment.
    cluster.put(DEPLOYMENTS, made("young", created=DAYS[1], hostname=OTHER))
    assert cluster.known(old).refused is None


def test_a_foreign_route_claims_no_host(cluster: Cluster) -> None:
    old, young = made("old", hostname=HOST), made("young", created=DAYS[1], hostname=HOST)
    for each in (old, young):
        cluster.put(DEPLOYMENTS, each)
    cluster.put(HTTP, route(young, ownerReferences=[]))
    assert cluster.known(old).refused is None


# what is kept


@pytest.mark.parametrize("kind", [HTTP, OPENSHIFT])
def test_a_kept_route_reads_like_the_whole_one(kind: str) -> None:
    chat = made("chat", hostname=HOST)
    whole = route(chat, kind, managedFields=[{}], annotations={"other": "x" * 1000, **_annotations(chat, kind)})
    kept = kept_of_route(whole)
    assert deployed_route(kept, chat, MEANS[kind]) == deployed_route(whole, chat, MEANS[kind])
    assert kept_of_route(kept) == kept, "an own write passes twice"
    assert "managedFields" not in kept["metadata"]
    assert "other" not in kept["metadata"]["annotations"]
    assert list(hosts_of_route(kept)) == [HOST]


def _annotations(of: ModelDeployment, kind: str) -> dict[str, str]:
    found: dict[str, str] = route_object(of, {"chat": 100}, MEANS[kind], uid=None)["metadata"].get("annotations", {})
    return found


def test_of_a_foreign_route_only_the_name_is_kept() -> None:
    kept = kept_of_route(route(made("chat", hostname=HOST), OPENSHIFT, ownerReferences=[]))
    assert kept.keys() == {"metadata"}
    assert kept["metadata"].keys() == {"name", "namespace", "uid", "generation", "creationTimestamp"}
    assert list(hosts_of_route(kept)) == []


def test_no_key_is_kept() -> None:
    body = route(made("chat", hostname=HOST), OPENSHIFT)
    secret = dict.fromkeys(("certificate", "key", "caCertificate"), "hunter2")
    body["spec"]["tls"] |= {**secret, "externalCertificate": {"name": "hunter2"}}
    assert "hunter2" not in str(kept_of_route(body))
    assert kept_of_route(body)["spec"]["tls"]["termination"] == "edge"


def test_a_huge_spec_or_status_counts_as_empty() -> None:
    body = route(made("chat", hostname=HOST))
    body["spec"]["rules"][0]["filters"] = ["x" * 1000] * 100
    kept = kept_of_route({**body, "status": {"parents": ["x" * 1000] * 100}})
    assert (kept["spec"], kept["status"]) == ({}, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(spec=JSON, status=JSON, owners=JSON, labels=JSON, kind=st.sampled_from([HTTP, OPENSHIFT]))
def test_a_hostile_route_is_kept_and_indexed(spec: Any, status: Any, owners: Any, labels: Any, kind: str) -> None:
    chat = made("chat", hostname=HOST)
    own = route(chat, kind)["metadata"]["ownerReferences"]
    for owner in (owners, own):
        body = {"metadata": {"name": "chat", "namespace": "a", "ownerReferences": owner, "labels": labels}}
        kept = kept_of_route({**body, "spec": spec, "status": status})
        assert all(isinstance(host, str) for host in hosts_of_route(kept))
        assert deployed_route(kept, chat, MEANS[kind]) is not None
        route_part(kept)


# who is reconciled


def test_a_route_and_a_host_reconcile_the_deployments_that_depend_on_them(cluster: Cluster) -> None:
    for each in (made("a", hostname=HOST), made("b", hostname=HOST), made("c", hostname=OTHER), made("d")):
        cluster.put(DEPLOYMENTS, each)
    keys = {name: ObjectKey(DEPLOYMENTS, "chatbots", name) for name in "abcd"}
    wire: Any = made("a", hostname=HOST).wire()
    assert set(sharing_hostname(wire, cluster.caches)) == {keys["a"], keys["b"]}
    assert list(sharing_hostname({**wire, "spec": {}}, cluster.caches)) == []
    assert hostname_part(wire) == [HOST]
    assert list(routing(route(made("a", hostname=HOST)), cluster.caches)) == [keys["a"]]
    assert list(routing(route(made("z", hostname=HOST)), cluster.caches)) == []
    assert set(every_deployment(cluster.caches)) == set(keys.values())


def test_what_a_deployment_depends_on_changes_with_the_status_and_not_with_the_revision() -> None:
    body = kept_of_route(route(made("a", hostname=HOST)))
    again = {**body, "metadata": {**body["metadata"], "resourceVersion": "2"}}
    assert route_part(body) == route_part(again)
    assert route_part(body) != route_part({**body, "status": {"parents": []}})
