"""The route of a deployment: what is written is read back, and every edit is seen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.domain.deployment.route import (
    ROUTE_ANNOTATIONS,
    DeployedRoute,
    HostClaim,
    RouteMeans,
    RouteParent,
    altered_finding,
    deployed_route,
    hostname_finding,
    means_of,
    route_finding,
    route_object,
    shares_of,
)
from unit.domain.deployment.deployments import NAMESPACE, deployment

HOST = "chat.apps.example"
PARENT = RouteParent("gateways", "public", "https")
HTTP = RouteMeans(method="HTTPRoute", reason="", parent=PARENT)
OPENSHIFT = RouteMeans(method="Route", reason="")
NOTHING = RouteMeans(method="None", reason="")
MEANS = pytest.mark.parametrize("means", [HTTP, OPENSHIFT], ids=lambda means: means.method)
EVERY_MEANS = st.sampled_from([HTTP, HTTP, OPENSHIFT])
CHAT = deployment(hostname=HOST)

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def weights(draw: st.DrawFn, most: int = 4) -> dict[str, int]:
    names = draw(st.lists(NAMES, min_size=1, max_size=most, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(names) - 1, max_size=len(names) - 1)))
    return {name: high - low for name, low, high in zip(names, [0, *cuts], [*cuts, 100], strict=True)}


def stored(body: dict[str, Any], *, generation: int = 1, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An object as the API server has it after it was created, or patched by a merge patch."""
    made = _merged({}, copy.deepcopy(body))
    made["metadata"] |= {"uid": made["metadata"].get("uid") or "r-1", "generation": generation}
    if "ownerReferences" not in made["metadata"]:
        created = route_object(CHAT, {"chat": 100}, HTTP, uid=None)
        made["metadata"]["ownerReferences"] = created["metadata"]["ownerReferences"]
    return {**made, **({"status": status} if status else {})}


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = _merged(made.get(name), value)
    return made


def read(body: Mapping[str, Any] | None, means: RouteMeans, of: ModelDeployment = CHAT) -> DeployedRoute:
    found = deployed_route(body, of, means)
    assert found is not None
    return found


# means

GATEWAY = {"name": "mine"}


@pytest.mark.parametrize(
    ("spec", "served", "default", "method", "says"),
    [
        ({"hostname": HOST}, ["HTTPRoute", "Route"], PARENT, "HTTPRoute", "Gateway gateways/public/https"),
        ({"hostname": HOST}, ["HTTPRoute"], PARENT, "HTTPRoute", "setting deploymentGateway"),
        ({"hostname": HOST, "gatewayRef": GATEWAY}, ["HTTPRoute"], None, "HTTPRoute", "Gateway chatbots/mine"),
        ({"hostname": HOST, "gatewayRef": GATEWAY}, ["HTTPRoute"], PARENT, "HTTPRoute", "spec.gatewayRef names"),
        ({"hostname": HOST}, ["HTTPRoute", "Route"], None, "Route", "no Gateway is named"),
        ({"hostname": HOST}, ["Route"], PARENT, "Route", "does not serve HTTPRoute"),
        ({"hostname": HOST}, ["HTTPRoute"], None, "None", "name one in spec.gatewayRef"),
        ({"hostname": HOST}, [], PARENT, "None", "install the Gateway API"),
        ({"hostname": HOST, "gatewayRef": GATEWAY}, ["Route"], PARENT, "None", "or remove spec.gatewayRef"),
        ({"hostname": HOST, "gatewayRef": GATEWAY}, [], PARENT, "None", "install the Gateway API"),
        ({}, ["HTTPRoute", "Route"], PARENT, "None", "set spec.hostname"),
    ],
)
def test_the_means_and_their_reason(
    spec: dict[str, Any], served: list[Any], default: RouteParent | None, method: str, says: str
) -> None:
    found = means_of(deployment(**spec), served=served, default_gateway=default)
    assert found.method == method
    assert says in found.reason
    assert ("spec.canary" in found.reason) == (method != "None")
    assert (found.parent is not None) == (method == "HTTPRoute")


@given(
    hostname=st.sampled_from([None, HOST, "a." + "b" * 63 + "." + "c" * 63]),
    gateway=st.none() | st.fixed_dictionaries({"name": NAMES}, optional={"namespace": NAMES, "sectionName": NAMES}),
    served=st.frozensets(st.sampled_from(["HTTPRoute", "Route"])),
    default=st.none() | st.just(PARENT),
)
def test_means_never_lead_past_the_named_gateway(
    hostname: str | None, gateway: Any, served: Any, default: RouteParent | None
) -> None:
    made = deployment(**{k: v for k, v in {"hostname": hostname, "gatewayRef": gateway}.items() if v})
    found = means_of(made, served=served, default_gateway=default)
    assert found.method in {"None", *served}
    assert 0 < len(found.reason) <= 1024
    assert found.method == "None" or hostname is not None
    if gateway is not None:
        assert found.method != "Route"
        expected = (gateway.get("namespace", NAMESPACE), gateway["name"], gateway.get("sectionName"))
        assert found.parent in (None, expected)


@pytest.mark.parametrize("text", ["", "a", "a/", "/b", "a/b/", "a//c", "a/b/c/d"])
def test_what_is_no_gateway_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAMESPACE/NAME"):
        RouteParent.parse(text)


def test_a_gateway_is_read_as_it_is_written() -> None:
    for parent in (PARENT, RouteParent("a", "b")):
        assert RouteParent.parse(str(parent)) == parent


# weights


@given(
    services=st.sets(NAMES, min_size=1, max_size=6), choice=st.data(), percent=st.integers(0, 100), canary=st.booleans()
)
def test_the_weights_of_all_existing_services_sum_to_100(
    services: set[str], choice: st.DataObject, percent: int, canary: bool
) -> None:
    stable = choice.draw(st.sampled_from(sorted(services)))
    other = choice.draw(st.sampled_from(sorted(services))) if canary else None
    found = shares_of(services, stable=stable, canary=other, percent=percent)
    assert found.keys() == services
    assert sum(found.values()) == 100
    assert all(weight == 0 for name, weight in found.items() if name not in (stable, other))
    if other not in (None, stable):
        assert found[other] == percent


@pytest.mark.parametrize(
    "wrong",
    [{"stable": "c"}, {"stable": "a", "canary": "c"}, {"stable": "a", "percent": 101}, {"stable": "a", "percent": -1}],
)
def test_weights_are_of_services_that_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of services that exist"):
        shares_of({"a", "b"}, **wrong)


@MEANS
@pytest.mark.parametrize("wrong", [{}, {"a": 99}, {"a": 101}, {"a": 150, "b": -50}, {"a": 50, "b": 60}])
def test_weights_that_are_no_percentages_are_not_written(wrong: dict[str, int], means: RouteMeans) -> None:
    with pytest.raises(ValueError, match="sum 100"):
        route_object(CHAT, wrong, means, uid=None)


def test_a_route_without_means_or_host_is_not_written() -> None:
    for of, means in ((CHAT, NOTHING), (deployment(), HTTP)):
        with pytest.raises(ValueError, match="without means"):
            route_object(of, {"chat": 100}, means, uid=None)


def test_an_openshift_route_names_four_services_and_leaves_out_those_without_requests() -> None:
    found = route_object(CHAT, {"a": 0, "b": 0, "c": 0, "d": 60, "e": 40}, OPENSHIFT, uid=None)["spec"]
    named = [found["to"], *found["alternateBackends"]]
    assert [(each["name"], each["weight"]) for each in named] == [
        ("a-predictor", 0),
        ("b-predictor", 0),
        ("d-predictor", 60),
        ("e-predictor", 40),
    ]
    with pytest.raises(ValueError, match="at most 4"):
        route_object(CHAT, dict.fromkeys("abcde", 20), OPENSHIFT, uid=None)


# write and read


@given(weights=weights(), means=EVERY_MEANS, patched=st.booleans())
def test_what_is_written_is_read_back(weights: dict[str, int], means: RouteMeans, patched: bool) -> None:
    found = read(stored(route_object(CHAT, weights, means, uid="r-1" if patched else None)), means)
    assert found.owned
    assert found.exact
    assert found.uid == "r-1"
    assert found.weights == weights
    assert sum(found.weights.values()) == 100
    assert not found.accepted


@MEANS
def test_a_route_says_what_gatehouse_decided_for_it(means: RouteMeans) -> None:
    made = route_object(CHAT, {"chat": 90, "chat-0a1b2c3d": 10}, means, uid=None)
    metadata = made["metadata"]
    assert (metadata["name"], metadata["namespace"], "uid" in metadata) == ("chat", NAMESPACE, False)
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "gatehouse", "gatehouse.dev/deployment": "chat"}
    [owner] = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("ModelDeployment", "d-1", True)
    if means.method == "HTTPRoute":
        assert "annotations" not in metadata
        [rule] = made["spec"]["rules"]
        assert made["spec"]["hostnames"] == [HOST]
        assert rule["timeouts"] == {"request": "0s"}, "an answer may take minutes"
        assert [each["path"] for each in rule["matches"]] == [{"type": "PathPrefix", "value": "/"}]
        assert [(each["name"], each["port"], each["weight"]) for each in rule["backendRefs"]] == [
            ("chat-predictor", 80, 90),
            ("chat-0a1b2c3d-predictor", 80, 10),
        ]
    else:
        assert metadata["annotations"] == ROUTE_ANNOTATIONS
        assert made["spec"]["tls"] == {"termination": "edge", "insecureEdgeTerminationPolicy": "None"}


def edits(value: Any, *, grows: Callable[[tuple[Any, ...]], bool], at: tuple[Any, ...] = ()) -> Iterator[Any]:
    """The value after each single edit: a member changed, removed or added."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: made} for made in edits(each, grows=grows, at=(*at, name)))
        if grows(at):
            yield {**value, "added": "by hand"}
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield [*value[:number], *value[number + 1 :]]
            yield from (
                [*value[:number], made, *value[number + 1 :]] for made in edits(each, grows=grows, at=(*at, number))
            )
        if value:
            yield [*value, value[0]]
        yield [*value, {"name": "stranger", "kind": "Service", "port": 80, "weight": 1}]
        if value != value[::-1]:
            yield value[::-1]
    elif isinstance(value, str):
        yield from (value + "x", "", None, 1, {"a": 1}, ["a"])
    else:
        yield from (value + 1, value - 1, str(value), None, True, [value], 2**80)


def _in_http_lists(at: tuple[Any, ...]) -> bool:
    """Lists of an HTTPRoute are Gatehouse's whole; other members of the spec are another writer's."""
    return at[:1] in (("rules",), ("parentRefs",)) and len(at) > 1


@MEANS
def test_any_single_edit_of_the_spec_is_seen(means: RouteMeans) -> None:
    before = stored(route_object(CHAT, {"chat": 70, "chat-0a1b2c3d": 30}, means, uid=None))
    known, count = read(before, means), 0
    for spec in edits(before["spec"], grows=_in_http_lists if means is HTTP else lambda _: False):
        if spec == before["spec"]:
            continue
        count += 1
        found = read({**before, "spec": spec}, means)
        assert not found.exact or found.weights != known.weights, spec
        assert sum(found.weights.values()) <= 100
    assert count > 60


@pytest.mark.parametrize(
    ("means", "added"),
    [
        (HTTP, {"useDefaultGateways": "All"}),
        (OPENSHIFT, {"path": "/v1"}),
        (OPENSHIFT, {"subdomain": "other"}),
        (OPENSHIFT, {"httpHeaders": {"actions": {}}}),
        (OPENSHIFT, {"tls": {"destinationCACertificate": "pem"}}),
    ],
)
def test_a_member_that_leads_requests_elsewhere_is_seen_and_removed(means: RouteMeans, added: dict[str, Any]) -> None:
    body = stored(route_object(CHAT, {"chat": 100}, means, uid=None))
    edited = _merged(body, {"spec": added})
    assert not read(edited, means).exact
    repaired = _merged(edited, route_object(CHAT, {"chat": 100}, means, uid="r-1"))
    assert repaired["spec"] == body["spec"]
    assert read(repaired, means).exact


def test_a_backend_that_another_person_added_goes_with_the_next_patch() -> None:
    body = stored(route_object(CHAT, {"chat": 100}, OPENSHIFT, uid=None))
    stranger = {"kind": "Service", "name": "stranger", "weight": 100}
    edited = _merged(body, {"spec": {"alternateBackends": [stranger]}})
    found = read(edited, OPENSHIFT)
    assert (found.exact, found.weights) == (False, {"chat": 50})
    repaired = _merged(edited, route_object(CHAT, {"chat": 100}, OPENSHIFT, uid="r-1"))
    assert read(repaired, OPENSHIFT).exact


@MEANS
def test_labels_and_annotations_of_gatehouse_are_seen_and_others_are_left(means: RouteMeans) -> None:
    body = stored(route_object(CHAT, {"chat": 100}, means, uid=None))
    for part in ("labels", "annotations"):
        for name in body["metadata"].get(part, {}):
            for value in ("other", None):
                assert not read(_merged(body, {"metadata": {part: {name: value}}}), means).exact
        others = _merged(body, {"metadata": {part: {"team.example/shard": "b"}}})
        assert read(others, means).exact
        repaired = _merged(others, route_object(CHAT, {"chat": 100}, means, uid="r-1"))
        assert repaired["metadata"][part]["team.example/shard"] == "b"


def test_a_certificate_belongs_to_whoever_sets_it() -> None:
    body = stored(route_object(CHAT, {"chat": 100}, OPENSHIFT, uid=None))
    own = _merged(body, {"spec": {"tls": {"externalCertificate": {"name": "chat-tls"}, "certificate": "pem"}}})
    assert read(own, OPENSHIFT).exact
    patched = _merged(own, route_object(CHAT, {"chat": 100}, OPENSHIFT, uid="r-1"))
    assert patched["spec"]["tls"] == own["spec"]["tls"]


def test_shares_of_a_hand_edited_route_are_rounded_to_100() -> None:
    body = stored(route_object(CHAT, {"a": 40, "b": 30, "c": 30}, HTTP, uid=None))
    for backend in body["spec"]["rules"][0]["backendRefs"]:
        backend["weight"] = 1
    found = read(body, HTTP)
    assert (found.exact, found.weights) == (False, {"a": 34, "b": 33, "c": 33})
    for backend in body["spec"]["rules"][0]["backendRefs"]:
        backend["weight"] = 0
    found = read(body, HTTP)
    assert (found.exact, found.weights) == (False, {"a": 0, "b": 0, "c": 0})


# hostile bodies


@given(parts=st.tuples(JSON, JSON, JSON, JSON), means=EVERY_MEANS, data=st.data())
def test_a_hostile_body_gives_a_safe_answer(
    parts: tuple[Any, Any, Any, Any], means: RouteMeans, data: st.DataObject
) -> None:
    spec, status, labels, owners = parts
    good = stored(route_object(CHAT, {"chat": 100}, means, uid=None))
    body = {
        "metadata": {**good["metadata"], "labels": labels, **({"ownerReferences": owners} if owners else {})},
        "spec": data.draw(
            st.sampled_from([spec, {**good["spec"], "rules": spec, "to": spec, "alternateBackends": spec}])
        ),
        "status": data.draw(
            st.sampled_from(
                [status, {"parents": status, "ingress": status}, {"parents": [status], "ingress": [status]}]
            )
        ),
    }
    found = read(body, means)
    assert not found.accepted
    assert not found.exact
    assert all(0 <= weight <= 100 for weight in found.weights.values())
    assert sum(found.weights.values()) <= 100
    assert len(found.told) <= 400


@given(body=st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON), means=EVERY_MEANS)
def test_a_body_of_any_shape_is_somebody_elses(body: Any, means: RouteMeans) -> None:
    found = read(body, means)
    assert (found.owned, found.exact, found.accepted, found.weights) == (False, False, False, {})


@MEANS
def test_a_foreign_route_is_reported_and_not_read(means: RouteMeans) -> None:
    body = stored(route_object(CHAT, {"chat": 100}, means, uid=None))
    for owner in ([], None, [{"kind": "ModelDeployment", "uid": "d-2", "controller": True}]):
        found = read({**body, "metadata": {**body["metadata"], "ownerReferences": owner}}, means)
        finding = route_finding(found, CHAT, means)
        assert finding is not None
        assert finding.reason == "RouteTaken"
        assert f"{means.method} {NAMESPACE}/chat" in finding.found
        assert not found.weights
    assert route_finding(read(body, means), CHAT, means) is None
    assert route_finding(None, CHAT, means) is None
    assert deployed_route(None, CHAT, means) is None
    assert deployed_route(body, CHAT, NOTHING) is None


def test_a_write_that_the_api_server_altered_is_reported() -> None:
    body = stored(route_object(CHAT, {"chat": 100}, HTTP, uid=None))
    assert altered_finding(read(body, HTTP), CHAT, HTTP) is None
    del body["spec"]["rules"][0]["timeouts"]
    found = altered_finding(read(body, HTTP), CHAT, HTTP)
    assert found is not None
    assert found.reason == "RouteAltered"
    assert "1.2" in found.remedy


# what the gateway says


def parent_status(
    *,
    ref: Mapping[str, Any] | None = None,
    accepted: str = "True",
    resolved: str | None = "True",
    observed: Any = 3,
    message: str = "",
) -> dict[str, Any]:
    given = {"Accepted": accepted, "ResolvedRefs": resolved}
    named = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateways", "name": "public"}
    return {
        "controllerName": "example.com/gateway",
        "parentRef": {**named, "sectionName": "https"} if ref is None else ref,
        "conditions": [
            {"type": name, "status": status, "reason": "Because", "message": message, "observedGeneration": observed}
            for name, status in given.items()
            if status is not None
        ],
    }


OTHER_PARENT = {"namespace": "gateways", "name": "private", "sectionName": "https"}


@pytest.mark.parametrize(
    ("parents", "accepted", "says"),
    [
        ([parent_status()], True, "has accepted"),
        ([parent_status(observed=4)], True, "has accepted"),
        ([parent_status(ref=OTHER_PARENT), parent_status()], True, "has accepted"),
        ([parent_status(accepted="False"), parent_status()], True, "has accepted"),
        (
            [{"parentRef": parent_status()["parentRef"], "conditions": [{"type": "Affected"}]}, parent_status()],
            True,
            "",
        ),
        ([], False, "has not answered"),
        ([parent_status(ref=OTHER_PARENT)], False, "has not answered"),
        ([parent_status(ref={"namespace": "gateways", "name": "public"})], False, "has not answered"),
        ([parent_status(ref={"name": "public", "sectionName": "https"})], False, "has not answered"),
        ([parent_status(ref={**parent_status()["parentRef"], "kind": "Service"})], False, "has not answered"),
        ([parent_status(observed=2)], False, "Accepted of generation 2, and the route has generation 3"),
        ([parent_status(observed=None)], False, "Accepted of generation None"),
        ([parent_status(observed="3")], False, "Accepted of generation 3"),
        ([parent_status(accepted="False", message="not allowed")], False, "Accepted=False, Because: not allowed"),
        ([parent_status(resolved="False", message="no Service")], False, "ResolvedRefs=False, Because: no Service"),
        ([parent_status(accepted="Unknown")], False, "Accepted=Unknown"),
        ([parent_status(resolved=None)], False, "nothing of ResolvedRefs"),
        ([parent_status(accepted="False", message="a\x1b[31m\n" + "b" * 9000)], False, "a?[31m?bb"),
    ],
)
def test_an_http_route_is_accepted_by_its_gateway_in_its_generation(
    parents: list[Any], accepted: bool, says: str
) -> None:
    body = stored(route_object(CHAT, {"chat": 100}, HTTP, uid=None), generation=3, status={"parents": parents})
    found = read(body, HTTP)
    assert found.accepted == accepted
    assert says in found.told
    assert len(found.told) <= 400


def test_a_parent_without_namespace_is_that_of_the_route() -> None:
    means = RouteMeans(method="HTTPRoute", reason="", parent=RouteParent(NAMESPACE, "mine"))
    status = {"parents": [parent_status(ref={"name": "mine"})]}
    assert read(stored(route_object(CHAT, {"chat": 100}, means, uid=None), status=status), means).accepted


def ingress(host: str = HOST, status: str = "True", **said: str) -> dict[str, Any]:
    return {"host": host, "routerName": "default", "conditions": [{"type": "Admitted", "status": status, **said}]}


@pytest.mark.parametrize(
    ("found", "accepted", "says"),
    [
        ([ingress()], True, "router default has admitted"),
        ([ingress(status="False"), ingress()], True, "has admitted"),
        ([], False, "no router"),
        ([ingress("other.example")], False, "no router"),
        ([ingress(status="False", reason="HostAlreadyClaimed", message="x")], False, "False, HostAlreadyClaimed: x"),
        ([{"host": HOST}], False, "nothing of Admitted"),
    ],
)
def test_an_openshift_route_is_accepted_by_a_router_with_its_host(found: list[Any], accepted: bool, says: str) -> None:
    body = stored(route_object(CHAT, {"chat": 100}, OPENSHIFT, uid=None), status={"ingress": found})
    route = read(body, OPENSHIFT)
    assert route.accepted == accepted
    assert says in route.told


# hosts

AT = {"creationTimestamp": "2026-11-02T00:00:00Z"}
NAMED = deployment(metadata=AT, hostname=HOST)


def claim(namespace: str, name: str, created: str, routed: str = "") -> HostClaim:
    return HostClaim(routed, created, namespace, name)


MINE = claim(NAMESPACE, "chat", AT["creationTimestamp"])
EARLIER, LATER = "2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"


@pytest.mark.parametrize(
    ("claims", "holder"),
    [
        ([], None),
        ([MINE], None),
        ([MINE, claim("a", "b", LATER)], None),
        ([MINE, claim("z", "b", EARLIER)], "z/b"),
        ([claim("z", "b", EARLIER)], "z/b"),
        ([MINE, claim("a", "b", AT["creationTimestamp"])], "a/b"),
        ([MINE, claim("z", "b", AT["creationTimestamp"])], None),
        ([MINE, claim("z", "b", LATER, routed=LATER)], "z/b"),
        ([MINE._replace(routed=LATER), claim("z", "b", EARLIER)], None),
        ([MINE._replace(routed=LATER), claim("z", "b", LATER, routed=EARLIER)], "z/b"),
    ],
)
def test_a_host_belongs_to_who_has_a_route_and_then_to_the_older_one(
    claims: list[HostClaim], holder: str | None
) -> None:
    found = hostname_finding(NAMED, claims)
    assert (found is None) == (holder is None)
    if found is not None:
        assert found.reason == "HostnameTaken"
        assert f"ModelDeployment {holder}" in found.found
        assert HOST in found.found


@given(
    others=st.sets(
        st.builds(claim, NAMES, NAMES, st.sampled_from([EARLIER, LATER]), routed=st.sampled_from(["", EARLIER, LATER])),
        min_size=1,
        max_size=5,
    )
)
def test_exactly_one_deployment_has_a_host(others: set[HostClaim]) -> None:
    claims = {(each.namespace, each.name): each for each in others}
    free = [
        each
        for each in claims.values()
        if hostname_finding(
            deployment(
                metadata={"namespace": each.namespace, "name": each.name, "creationTimestamp": each.created},
                hostname=HOST,
            ),
            claims.values(),
        )
        is None
    ]
    assert len(free) == 1
