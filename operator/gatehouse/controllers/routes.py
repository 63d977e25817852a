"""The routes of deployments, as the cache keeps them, and which deployment has which host.

The operator watches HTTPRoutes and OpenShift's Routes while the API server serves them: either may be absent. The cache
keeps of the routes that no deployment controls only that they exist, and of no route a key or a certificate.

How ``model_deployment`` uses the module: ``BY_HOSTNAME: hostname_of`` is an index of its declaration. A change of
``hostname_part`` of a deployment enqueues ``sharing_hostname``. A change of ``route_part`` of both ``ROUTE_KINDS``
enqueues ``routing``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from gatehouse.api.model_deployment import ModelDeployment, RouteMethod
from gatehouse.api.wire import WireDeployment
from gatehouse.controllers.indexes import BY_HOSTNAME
from gatehouse.controllers.ports import ObjectName, ObjectReader, ServedKinds
from gatehouse.domain.common.readable import member
from gatehouse.domain.deployment.revision import controlling_deployment
from gatehouse.domain.deployment.route import (
    ROUTE_ANNOTATIONS,
    DeployedRoute,
    HostClaim,
    KnownRoute,
    RouteMeans,
    RouteParent,
    deployed_route,
    hostname_finding,
    means_of,
    route_finding,
)
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import Body, Gvr, ObjectKey

__all__ = [
    "HTTP_ROUTES",
    "OPENSHIFT_ROUTES",
    "ROUTE_KINDS",
    "Routes",
    "every_deployment",
    "hostname_of",
    "hostname_part",
    "hosts_of_route",
    "kept_of_route",
    "route_part",
    "routing",
    "sharing_hostname",
]

HTTP_ROUTES: Final = Gvr("gateway.networking.k8s.io", "v1", "httproutes", namespaced=True)
OPENSHIFT_ROUTES: Final = Gvr("route.openshift.io", "v1", "routes", namespaced=True)
ROUTE_KINDS: Final[Mapping[RouteMethod, Gvr]] = MappingProxyType({"HTTPRoute": HTTP_ROUTES, "Route": OPENSHIFT_ROUTES})
_DEPLOYMENTS: Final = ModelDeployment.info.plural
_METADATA: Final = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels"}
)
_UNKEPT: Final = frozenset({"certificate", "key", "caCertificate", "externalCertificate"})
_LARGEST: Final = 64 * 1024
"""Bytes of a spec or a status. The operator's own are far smaller; a larger one counts as empty."""


class Routes:
    """What the cache knows of routes. ``default_gateway`` is the one in the settings."""

    def __init__(self, reader: ObjectReader, *, served: ServedKinds, default_gateway: RouteParent | None) -> None:
        self._reader = reader
        self._served = served
        self._default_gateway = default_gateway

    def of(self, deployment: ModelDeployment) -> KnownRoute | None:
        """None while a deployment with a host cannot know which kinds there are, and which routes."""
        served = {method: self._served(kind.plural) for method, kind in ROUTE_KINDS.items()}
        lists = all(self._reader.complete(kind.plural) for kind in ROUTE_KINDS.values())
        if deployment.spec.hostname is not None and (None in served.values() or not lists):
            return None
        means = means_of(
            deployment,
            served=[method for method, found in served.items() if found],
            default_gateway=self._default_gateway,
        )
        route = self._route(deployment, means)
        refused = route_finding(route, deployment, means)
        if refused is None and means.method != "None":
            refused = hostname_finding(deployment, self._claims(deployment.spec.hostname or ""))
        stale = {other: uid for other in ROUTE_KINDS if other != means.method and (uid := self._own(deployment, other))}
        return KnownRoute(means=means, route=route, refused=refused, stale=stale)

    def _body(self, deployment: ModelDeployment, method: RouteMethod) -> dict[str, Any] | None:
        metadata = deployment.metadata
        return self._reader.get(ROUTE_KINDS[method].plural, metadata.namespace, metadata.name)

    def _route(self, deployment: ModelDeployment, means: RouteMeans) -> DeployedRoute | None:
        if means.method == "None":
            return None
        return deployed_route(self._body(deployment, means.method), deployment, means)

    def _own(self, deployment: ModelDeployment, method: RouteMethod) -> str:
        """The uid of the deployment's route of a kind; empty without one."""
        body = self._body(deployment, method)
        found = deployed_route(body, deployment, RouteMeans(method=method, reason=""))
        return found.uid if found is not None and found.owned else ""

    def _claims(self, hostname: str) -> Iterable[HostClaim]:
        """The deployments that name a host, and since when they have a route with the host."""
        for name in self._reader.select(_DEPLOYMENTS, BY_HOSTNAME, hostname):
            yield HostClaim(
                self._routed(name, hostname), self._reader.created(_DEPLOYMENTS, *name), name.namespace, name.name
            )

    def _routed(self, name: ObjectName, hostname: str) -> str:
        since = [
            self._reader.created(kind.plural, *name)
            for kind in ROUTE_KINDS.values()
            if hostname in self._reader.indexed(kind.plural, name, BY_HOSTNAME)
        ]
        return min(since, default="")


# What the operator declares for the kinds


def kept_of_route(body: Body) -> Body:
    """The members of a route that the operator reads."""
    metadata: Mapping[str, Any] = body["metadata"]
    kept = {name: value for name, value in metadata.items() if name in _METADATA and name != "labels"}
    owner = controlling_deployment(body)
    if owner is None:
        return {"metadata": kept}
    reference = {name: member(owner, name) for name in ("kind", "controller", "uid")}
    annotations = member(metadata, "annotations")
    said = {name: member(annotations, name) for name in ROUTE_ANNOTATIONS}
    return {
        "metadata": {
            **kept,
            "labels": metadata.get("labels") or {},
            "annotations": {name: value for name, value in said.items() if value is not None},
            "ownerReferences": [reference],
        },
        "spec": _bounded(_without_keys(body.get("spec"))),
        "status": _bounded(body.get("status")),
    }


def _without_keys(spec: object) -> object:
    tls = member(spec, "tls")
    if not isinstance(spec, Mapping) or not isinstance(tls, Mapping):
        return spec
    return {**spec, "tls": {name: value for name, value in tls.items() if name not in _UNKEPT}}


def _bounded(part: object) -> object:
    return part if isinstance(part, dict) and len(orjson.dumps(part)) <= _LARGEST else {}


def hosts_of_route(route: Body) -> Iterable[str]:
    """Values of ``BY_HOSTNAME``: the hosts of a route that a deployment controls."""
    named = member(route, "spec", "hostnames")
    for host in (*(named if isinstance(named, list) else ()), member(route, "spec", "host")):
        if isinstance(host, str):
            yield host


def route_part(route: Body) -> object:
    """What a deployment depends on in the route of its name."""
    metadata = {name: value for name, value in route["metadata"].items() if name != "resourceVersion"}
    return [metadata, route.get("spec"), route.get("status")]


def routing(route: Body, caches: Caches) -> Iterable[ObjectKey]:
    """The deployment of a route's name."""
    metadata = route["metadata"]
    if caches[_DEPLOYMENTS].get(metadata["namespace"], metadata["name"]) is not None:
        yield ObjectKey(_DEPLOYMENTS, metadata["namespace"], metadata["name"])


def every_deployment(caches: Caches) -> Iterable[ObjectKey]:
    """Every deployment: another kind of route may have come or gone."""
    yield from caches[_DEPLOYMENTS].keys()


def hostname_of(deployment: WireDeployment) -> Iterable[str]:
    """Values of ``BY_HOSTNAME``: the host that a deployment names."""
    hostname = deployment["spec"].get("hostname")
    if isinstance(hostname, str):
        yield hostname


def hostname_part(deployment: WireDeployment) -> object:
    """The part of a deployment that others of its host depend on."""
    return list(hostname_of(deployment))


def sharing_hostname(deployment: WireDeployment, caches: Caches) -> Iterable[ObjectKey]:
    """Each deployment of a deployment's host."""
    for hostname in hostname_of(deployment):
        yield from caches.select(_DEPLOYMENTS, BY_HOSTNAME, hostname)
