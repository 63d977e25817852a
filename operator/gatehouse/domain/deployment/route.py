"""The route of a deployment: which share of the requests of its host each service gets.

A route has the name of its deployment. It is an HTTPRoute of the Gateway API, or a Route of OpenShift. Gatehouse writes
each member that decides where a request goes, defaults included, and so sees each edit of such a member. Certificates
in an OpenShift Route, and annotations that are not written here, belong to whoever sets them.

Nothing in a request chooses the service: no rule matches a header, and OpenShift's cookie is off, because a client with
a cookie would stay with a service that gets no requests any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from gatehouse.api.model_deployment import ModelDeployment, RouteMethod
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import member
from gatehouse.domain.deployment.revision import LABEL_DEPLOYMENT, controlling_deployment, owner_reference
from gatehouse.domain.deployment.rollout import deployment_of
from gatehouse.domain.serving.names import label_value
from gatehouse.domain.serving.template import MANAGED_BY

__all__ = [
    "ROUTE_ANNOTATIONS",
    "UNROUTED",
    "DeployedRoute",
    "HostClaim",
    "KnownRoute",
    "RouteMeans",
    "RouteParent",
    "altered_finding",
    "deployed_route",
    "hostname_finding",
    "means_of",
    "route_finding",
    "route_object",
    "shares_of",
]


ROUTE_ANNOTATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "haproxy.router.openshift.io/balance": "roundrobin",
        "haproxy.router.openshift.io/disable_cookies": "true",
        "haproxy.router.openshift.io/timeout": "1h",
    }
)
"""On an OpenShift Route. Only roundrobin keeps to the weights. Clients with a cookie keep their service, even at weight
0. The router ends an answer after 30 seconds of silence otherwise, and a model may think for longer."""

_GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
_API: Final = {"HTTPRoute": f"{_GATEWAY_GROUP}/v1", "Route": "route.openshift.io/v1"}
_PORT: Final = 80
"""The port of the Service of a predictor."""
_POD_PORT: Final = 8080
"""The port of its Pods. OpenShift's router goes to the Pods."""
_SUFFIX: Final = deployment_of("")
_WHOLE: Final = 100
_MOST: Final = {"HTTPRoute": 16, "Route": 4}
"""How many services a route can name."""
_DEFAULT_WEIGHT: Final = {"HTTPRoute": 1, "Route": 100}
_MOST_WEIGHT: Final = 1_000_000
_LONGEST_TOLD: Final = 400
_NOT_CANARY: Final = "KServe's own spec.canary is not used: KServe 0.20 accepts it and splits no requests"


# Values


class RouteParent(NamedTuple):
    """A Gateway, and one of its listeners; None for every listener that allows the host."""

    namespace: str
    name: str
    listener: str | None = None

    @classmethod
    def parse(cls, text: str) -> RouteParent:
        """``NAMESPACE/NAME`` or ``NAMESPACE/NAME/LISTENER``, as the settings have it. Raises ValueError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"expected NAMESPACE/NAME or NAMESPACE/NAME/LISTENER, and not {text[:300]!r}")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(part for part in self if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMeans:
    """How the cluster can split the requests of a deployment, and in words why. None: not at all.

    ``parent`` is the Gateway of an HTTPRoute.
    """

    method: RouteMethod
    reason: str
    parent: RouteParent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedRoute:
    """The route of the deployment's name as the cluster has it.

    ``owned`` is whether the deployment controls the route. ``weights`` are percentages by the name of the
    InferenceService; what others added gets the rest. ``exact`` is whether host, parent and rules are those that the
    operator writes for these weights. ``accepted`` is whether the gateway has taken up this generation, and ``told``
    what the gateway says. An OpenShift router does not say which generation it has taken up.
    """

    uid: str
    owned: bool
    weights: Mapping[str, int]
    exact: bool
    accepted: bool
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRoute:
    """What is known of a deployment's route.

    ``refused`` is why nothing may be written: the host or the name belongs to others. ``stale`` are routes of the
    deployment that its means do not use, as uid by method: after a change of the means, or without a host.
    """

    means: RouteMeans
    route: DeployedRoute | None
    refused: Finding | None
    stale: Mapping[RouteMethod, str]


UNROUTED: Final = KnownRoute(
    means=RouteMeans(method="None", reason="spec.hostname is absent"), route=None, refused=None, stale={}
)


class HostClaim(NamedTuple):
    """A deployment that names a host. The least claim of a host has it.

    ``routed`` is the creationTimestamp of the deployment's own route with that host; empty without one. ``created`` is
    that of the deployment.
    """

    routed: str
    created: str
    namespace: str
    name: str

    @property
    def order(self) -> tuple[bool, str, str, str, str]:
        """Who has a route for the host comes first, then the older one, as at a Gateway."""
        return (not self.routed, *self)


# Means


def means_of(
    deployment: ModelDeployment, *, served: Collection[RouteMethod], default_gateway: RouteParent | None
) -> RouteMeans:
    """How the cluster can split the requests of a deployment. ``served`` are the kinds that the API server serves."""
    spec = deployment.spec
    if spec.hostname is None:
        return RouteMeans(
            method="None",
            reason="spec.hostname is absent, so Gatehouse writes no route and one revision runs at a time; set "
            "spec.hostname for a route",
        )
    named = _named_parent(deployment)
    parent = named or default_gateway
    if "HTTPRoute" in served and parent is not None:
        by = "spec.gatewayRef" if named else "the operator's setting deploymentGateway"
        reason = f"an HTTPRoute splits the requests of {spec.hostname} at the Gateway {parent}, which {by} names"
        return RouteMeans(method="HTTPRoute", reason=f"{reason}; {_NOT_CANARY}", parent=parent)
    if named is not None:
        return RouteMeans(
            method="None",
            reason=f"spec.gatewayRef names the Gateway {named}, but the API server does not serve HTTPRoute of "
            f"{_API['HTTPRoute']}; install the Gateway API 1.2 or newer with a controller{_or_without(served)}",
        )
    if "Route" in served:
        why = "the API server does not serve HTTPRoute" if parent is not None else "no Gateway is named"
        reason = f"a Route of OpenShift splits the requests of {spec.hostname}, because {why}"
        return RouteMeans(method="Route", reason=f"{reason}; {_NOT_CANARY}")
    if "HTTPRoute" in served:
        return RouteMeans(
            method="None",
            reason="the API server serves HTTPRoute, but no Gateway is named; name one in spec.gatewayRef or in the "
            "operator's setting deploymentGateway",
        )
    return RouteMeans(
        method="None",
        reason="the API server serves neither HTTPRoute of the Gateway API nor Route of OpenShift; install the Gateway "
        "API 1.2 or newer with a controller, and name a Gateway",
    )


def _named_parent(deployment: ModelDeployment) -> RouteParent | None:
    named = deployment.spec.gateway_ref
    if named is None:
        return None
    return RouteParent(named.namespace or deployment.metadata.namespace, named.name, named.section_name)


def _or_without(served: Collection[RouteMethod]) -> str:
    return ", or remove spec.gatewayRef to get a Route of OpenShift" if "Route" in served else ""


# Findings


def hostname_finding(deployment: ModelDeployment, claims: Iterable[HostClaim]) -> Finding | None:
    """Why the deployment's host belongs to another deployment; None where the deployment may have its host.

    ``claims`` are those of every deployment with the host, this one's too.
    """
    metadata = deployment.metadata
    at = metadata.creation_timestamp
    unrouted = HostClaim("", "" if at is None else timestamp(at), metadata.namespace, metadata.name)
    known = {(claim.namespace, claim.name): claim for claim in (unrouted, *claims)}
    first = min(known.values(), key=lambda claim: claim.order)
    if (first.namespace, first.name) == (metadata.namespace, metadata.name):
        return None
    return Finding(
        reason="HostnameTaken",
        found=f"the ModelDeployment {first.namespace}/{first.name} has the host {deployment.spec.hostname} already",
        expected="a host that no other ModelDeployment has",
        remedy="choose another spec.hostname, or remove it from the other ModelDeployment",
    )


def route_finding(route: DeployedRoute | None, deployment: ModelDeployment, means: RouteMeans) -> Finding | None:
    """Why the operator leaves the route of the deployment's name alone; None where the route is its own or absent."""
    if route is None or route.owned:
        return None
    metadata = deployment.metadata
    return Finding(
        reason="RouteTaken",
        found=f"the {means.method} {metadata.namespace}/{metadata.name} does not belong to this ModelDeployment",
        expected=f"no {means.method} of that name, or one that the ModelDeployment controls",
        remedy=f"delete that {means.method}, or make a ModelDeployment with another name",
    )


def altered_finding(written: DeployedRoute, deployment: ModelDeployment, means: RouteMeans) -> Finding | None:
    """Why the API server's answer to a write is another route than was written; None where the answer is the same.

    To write the route again would change nothing.
    """
    if written.exact:
        return None
    metadata = deployment.metadata
    return Finding(
        reason="RouteAltered",
        found=f"the API server keeps another {means.method} {metadata.namespace}/{metadata.name} than was written",
        expected=f"the {means.method} as Gatehouse writes it",
        remedy="update the Gateway API to 1.2 or newer, and look for a webhook or a policy that changes the route",
    )


# Writing


def shares_of(services: Iterable[str], *, stable: str, canary: str | None = None, percent: int = 0) -> dict[str, int]:
    """The weights of all existing services: the canary's percentage, the rest for the stable one, 0 for each other.

    Raises ValueError for a stable service or a canary that does not exist, and for a percentage outside of 0 to 100.
    """
    weights = dict.fromkeys(sorted(services), 0)
    if stable not in weights or canary not in (None, *weights) or not 0 <= percent <= _WHOLE:
        raise ValueError(f"weights are percentages of services that exist, {sorted(weights)}")
    weights[stable] = _WHOLE
    if canary is not None and canary != stable:
        weights[canary] = percent
        weights[stable] = _WHOLE - percent
    return weights


def route_object(
    deployment: ModelDeployment, weights: Mapping[str, int], means: RouteMeans, *, uid: str | None
) -> dict[str, Any]:
    """The route that gives each InferenceService its percentage.

    Without ``uid`` the result is an object to create. With the ``uid`` of the route that exists, the result is a merge
    patch that also removes what others added: server-side apply would keep an added backend of an OpenShift Route.

    A service of weight 0 is named too, so that a switch is one write; not where the kind cannot name so many. Raises
    ValueError where weights are no percentages, or the method is None.
    """
    if means.method == "None" or deployment.spec.hostname is None:
        raise ValueError("a deployment without means has no route")
    named = _named(weights, most=_MOST[means.method])
    spec = _WRITE[means.method](deployment.spec.hostname, named, means)
    metadata = deployment.metadata
    own = {"name": metadata.name, "namespace": metadata.namespace, **_own_metadata(deployment, means)}
    body = {"apiVersion": _API[means.method], "kind": means.method}
    if uid is None:
        return {**body, "metadata": {**own, "ownerReferences": [owner_reference(metadata)]}, "spec": spec}
    return {**body, "metadata": {**own, "uid": uid}, "spec": _cleared(spec, _CLEARED[means.method])}


def _named(weights: Mapping[str, int], *, most: int) -> list[tuple[str, int]]:
    """The services that a route names, by name. Those of weight 0 are left out first."""
    if sum(weights.values()) != _WHOLE or not all(0 <= weight <= _WHOLE for weight in weights.values()):
        raise ValueError(f"weights are percentages with the sum 100, and not {dict(weights)}")
    kept = sorted(weights, key=lambda name: (weights[name] == 0, name))[:most]
    if sum(weights[name] for name in kept) != _WHOLE:
        raise ValueError(f"a route has at most {most} services with requests, and not {dict(weights)}")
    return [(name, weights[name]) for name in sorted(kept)]


def _own_metadata(deployment: ModelDeployment, means: RouteMeans) -> dict[str, Any]:
    labels = {MANAGED_BY[0]: MANAGED_BY[1], LABEL_DEPLOYMENT: label_value(deployment.metadata.name)}
    return {"labels": labels, **({"annotations": dict(ROUTE_ANNOTATIONS)} if means.method == "Route" else {})}


def _write_http_route(hostname: str, weights: Sequence[tuple[str, int]], means: RouteMeans) -> dict[str, Any]:
    """The spec of an HTTPRoute. A Gateway may end long answers, unless the time of a request has no limit."""
    parent = means.parent
    if parent is None:
        raise ValueError("an HTTPRoute has a Gateway")
    section = {} if parent.listener is None else {"sectionName": parent.listener}
    return {
        "hostnames": [hostname],
        "parentRefs": [
            {"group": _GATEWAY_GROUP, "kind": "Gateway", "namespace": parent.namespace, "name": parent.name, **section}
        ],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "timeouts": {"request": "0s"},
                "backendRefs": [
                    {"group": "", "kind": "Service", "name": deployment_of(name), "port": _PORT, "weight": weight}
                    for name, weight in weights
                ],
            }
        ],
    }


def _write_openshift_route(hostname: str, weights: Sequence[tuple[str, int]], _: RouteMeans) -> dict[str, Any]:
    """The spec of an OpenShift Route. Requests have prompts and tokens, so the router takes them by TLS only."""
    to, *others = [{"kind": "Service", "name": deployment_of(name), "weight": weight} for name, weight in weights]
    return {
        "host": hostname,
        "to": to,
        "alternateBackends": others,
        "port": {"targetPort": _POD_PORT},
        "tls": {"termination": "edge", "insecureEdgeTerminationPolicy": "None"},
        "wildcardPolicy": "None",
    }


_WRITE: Final[Mapping[str, Callable[[str, Sequence[tuple[str, int]], RouteMeans], dict[str, Any]]]] = {
    "HTTPRoute": _write_http_route,
    "Route": _write_openshift_route,
}
_CLEARED: Final[Mapping[str, Mapping[str, Any]]] = {
    "HTTPRoute": {"useDefaultGateways": None},
    "Route": {"subdomain": None, "path": None, "httpHeaders": None, "tls": {"destinationCACertificate": None}},
}
"""Members that decide where a request goes and that Gatehouse never sets."""


def _cleared(spec: Mapping[str, Any], cleared: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with nulls for what a merge patch shall remove."""
    nested = {name: _cleared(spec[name], value) for name, value in cleared.items() if isinstance(value, Mapping)}
    return {**spec, **cleared, **nested}


# Reading


def deployed_route(
    body: Mapping[str, Any] | None, deployment: ModelDeployment, means: RouteMeans
) -> DeployedRoute | None:
    """What an HTTPRoute or an OpenShift Route of the deployment's name says; None where there is none."""
    if body is None or means.method == "None":
        return None
    uid = member(body, "metadata", "uid")
    owned = _owned(body, deployment)
    backends = _BACKENDS[means.method](body) if owned else []
    weights = _percentages(backends)
    accepted, told = _ACCEPTED[means.method](body, deployment, means) if owned else (False, "")
    return DeployedRoute(
        uid=uid if isinstance(uid, str) else "",
        owned=owned,
        weights=weights,
        exact=owned and _is_exact(body, deployment, weights, means),
        accepted=accepted,
        told=told,
    )


def _owned(body: object, deployment: ModelDeployment) -> bool:
    owner = controlling_deployment(body)
    return owner is not None and member(owner, "uid") == deployment.metadata.uid


def _is_exact(
    body: Mapping[str, Any], deployment: ModelDeployment, weights: Mapping[str, int], means: RouteMeans
) -> bool:
    """Whether the body has every member as the operator writes it for these weights."""
    try:
        wanted = route_object(deployment, weights, means, uid="")
    except ValueError:
        return False
    return _holds(member(body, "spec"), wanted["spec"]) and all(
        _holds(member(body, "metadata", part), wanted["metadata"].get(part, {})) for part in ("labels", "annotations")
    )


def _holds(found: object, wanted: Mapping[str, Any]) -> bool:
    """Whether each member of ``wanted`` is in ``found``: absent where it is None or empty."""
    for name, value in wanted.items():
        there = member(found, name)
        if isinstance(value, Mapping):
            if not _holds(there, value):
                return False
        elif not (_same(there, value) or (there is None and value in (None, []))):
            return False
    return True


def _same(found: object, wanted: object) -> bool:
    """Equality of JSON: True is not 1."""
    if isinstance(wanted, Mapping):
        return (
            isinstance(found, Mapping)
            and found.keys() == wanted.keys()
            and all(_same(found[name], value) for name, value in wanted.items())
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_same, found, wanted))
    return type(found) is type(wanted) and found == wanted


def _http_backends(body: object) -> list[tuple[str | None, int]]:
    """Service and weight of each backend of the first rule. A backend that is none of ours has no name."""
    rules = _list(member(body, "spec", "rules"))
    found = _list(member(rules[0], "backendRefs")) if rules else []
    return [_backend(each, default=_DEFAULT_WEIGHT["HTTPRoute"]) for each in found]


def _openshift_backends(body: object) -> list[tuple[str | None, int]]:
    found = [member(body, "spec", "to"), *_list(member(body, "spec", "alternateBackends"))]
    return [_backend(each, default=_DEFAULT_WEIGHT["Route"]) for each in found if isinstance(each, Mapping)]


def _backend(backend: object, *, default: int) -> tuple[str | None, int]:
    weight = member(backend, "weight")
    if weight is None:
        weight = default
    counted = weight if isinstance(weight, int) and not isinstance(weight, bool) else 0
    name = member(backend, "name")
    ours = (
        isinstance(name, str)
        and len(name) > len(_SUFFIX)
        and name.endswith(_SUFFIX)
        and member(backend, "kind") in (None, "Service")
        and member(backend, "group") in (None, "")
        and member(backend, "namespace") is None
    )
    return str(name).removesuffix(_SUFFIX) if ours else None, min(max(counted, 0), _MOST_WEIGHT)


def _percentages(backends: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    """The share of each service. Shares are rounded so that the sum over all backends is 100, or 0 without weights."""
    weights: dict[str | None, int] = {}
    for name, weight in backends:
        weights[name] = weights.get(name, 0) + weight
    total = sum(weights.values())
    if not total:
        return {name: 0 for name in weights if name is not None}
    shares = {name: weight * _WHOLE // total for name, weight in weights.items()}
    missing = _WHOLE - sum(shares.values())
    for name in sorted(weights, key=lambda name: (-(weights[name] * _WHOLE % total), name or ""))[:missing]:
        shares[name] += 1
    return {name: share for name, share in shares.items() if name is not None}


def _http_accepted(body: object, _: ModelDeployment, means: RouteMeans) -> tuple[bool, str]:
    """Whether the Gateway says Accepted and ResolvedRefs of this generation.

    ResolvedRefs is False while one of the services is missing, whatever its weight.
    """
    generation = member(body, "metadata", "generation")
    told = f"the Gateway {means.parent} has not answered yet; is there a Gateway of that name, with a controller?"
    for parent in _list(member(body, "status", "parents")):
        if not _is_parent(member(parent, "parentRef"), body, means.parent):
            continue
        conditions = _conditions(parent)
        if "Accepted" not in conditions:
            continue
        shut = next(
            (name for name in ("Accepted", "ResolvedRefs") if not _true(conditions.get(name), generation)), None
        )
        if shut is None:
            return True, f"the Gateway {means.parent} has accepted the route"
        told = _words(f"the Gateway {means.parent} says {_condition(shut, conditions.get(shut), generation)}")
    return False, told


def _is_parent(found: object, body: object, parent: RouteParent | None) -> bool:
    if parent is None:
        return False
    namespace = member(found, "namespace")
    if namespace is None:
        namespace = member(body, "metadata", "namespace")
    return (
        (namespace, member(found, "name"), member(found, "sectionName")) == tuple(parent)
        and member(found, "kind") in (None, "Gateway")
        and member(found, "group") in (None, _GATEWAY_GROUP)
        and member(found, "port") is None
    )


def _openshift_accepted(body: object, deployment: ModelDeployment, _: RouteMeans) -> tuple[bool, str]:
    """Whether a router has admitted the route with its host."""
    told = "no router of OpenShift has answered yet"
    for ingress in _list(member(body, "status", "ingress")):
        if member(ingress, "host") != deployment.spec.hostname:
            continue
        router, admitted = member(ingress, "routerName"), _conditions(ingress).get("Admitted")
        if member(admitted, "status") == "True":
            return True, _words(f"the router {router} has admitted the route")
        told = _words(f"the router {router} says {_condition('Admitted', admitted, None)}")
    return False, told


def _conditions(body: object) -> Mapping[str, object]:
    found = [(member(each, "type"), each) for each in _list(member(body, "conditions"))]
    return {name: each for name, each in found if isinstance(name, str)}


def _true(condition: object, generation: object) -> bool:
    observed = member(condition, "observedGeneration")
    return (
        member(condition, "status") == "True"
        and isinstance(generation, int)
        and isinstance(observed, int)
        and observed >= generation
    )


def _condition(name: str, condition: object, generation: object) -> str:
    if condition is None:
        return f"nothing of {name}"
    if member(condition, "status") == "True":
        observed = member(condition, "observedGeneration")
        return f"{name} of generation {observed}, and the route has generation {generation}"
    status, reason, message = (member(condition, part) for part in ("status", "reason", "message"))
    return f"{name}={status}, {reason}: {message}"


def _words(text: str) -> str:
    """What others wrote, in bounds."""
    printable = "".join(char if char.isprintable() else "?" for char in text[: _LONGEST_TOLD + 1])
    return printable if len(printable) <= _LONGEST_TOLD else f"{printable[: _LONGEST_TOLD - 1]}…"


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


_BACKENDS: Final[Mapping[str, Callable[[object], list[tuple[str | None, int]]]]] = {
    "HTTPRoute": _http_backends,
    "Route": _openshift_backends,
}
_ACCEPTED: Final[Mapping[str, Callable[[object, ModelDeployment, RouteMeans], tuple[bool, str]]]] = {
    "HTTPRoute": _http_accepted,
    "Route": _openshift_accepted,
}
