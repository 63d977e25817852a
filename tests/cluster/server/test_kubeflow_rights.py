"""Users, verbs and doors: the API server's own answers are the expected ones. What kubectl refuses, REST refuses."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.server.doors import CATALOG, V1, V3, Doors
from cluster.server.processes import RBAC, bind, make_account
from cluster.world import API
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient, trust
from gatehouse_local.objects import namespace as namespace_manifest

ROLES = {
    "viewer": "gatehouse-viewer",
    "submitter": "gatehouse-submitter",
    "approver": "gatehouse-approver",
    "admin": "gatehouse-admin",
}
NARROW: Mapping[str, tuple[list[str], list[str]]] = {
    "lister": (["list"], []),
    "getter": (["get"], []),
    "creator": (["get", "create"], []),
    "patcher": (["patch"], []),
    "one": (["get", "patch"], ["granite", "granite-1"]),
}
"""Roles of the test: verbs on models and versions, and the names of the objects that they are limited to."""
USERS = (*ROLES, *NARROW, "neighbour", "auditor", "nobody")
"""The neighbour submits in another namespace; the auditor reads everywhere."""
KINDS = {"registeredmodels": "RegisteredModel", "modelversions": "ModelVersion"}
OBJECTS = {"registeredmodels": "granite", "modelversions": "granite-1"}
PATHS = {"registeredmodels": "registered_models", "modelversions": "model_versions"}


@dataclass(frozen=True)
class Said:
    """An answer: the status, and the message of a refusal."""

    status: int
    message: str = ""

    @property
    def allowed(self) -> bool:
        return self.status < 400


@dataclass
class Tower:
    """The doors, the entries behind them, and who stands before them."""

    doors: Doors
    plane: RunningControlPlane
    tls: ssl.SSLContext
    other: str
    tokens: Mapping[str, str]
    governed: Mapping[str, str]
    recorded: Mapping[str, str]

    def kubectl(self, user: str, verb: str, plural: str) -> Said:
        """What the API server says to a user; nothing is written."""
        base = f"{API}/namespaces/{self.doors.world.namespace}/{plural}"
        one = f"{base}/{OBJECTS[plural]}"
        world = self.doors.world
        fresh = world.model("other") if plural == "registeredmodels" else world.version("other")
        state = {"spec": {"state": "Archived"}}
        method, path, body = {
            "get": ("GET", one, None),
            "list": ("GET", base, None),
            "create": ("POST", f"{base}?dryRun=All", fresh),
            "patch": ("PATCH", f"{one}?dryRun=All", {"metadata": {"labels": {"a": "b"}}}),
            "archive": ("PATCH", f"{one}?dryRun=All", state),
        }[verb]
        port = urlsplit(self.plane.url).port or 0
        kube = KubeClient(port=port, token=self.tokens[user], tls=self.tls)
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        with contextlib.closing(kube):
            try:
                kube.request(method, path, body, content_type=content)
            except ApiRefused as refused:
                return Said(refused.status, str(refused).partition(f"answered {refused.status}: ")[2])
        return Said(200)

    def rest(self, user: str, method: str, path: str, body: object = None) -> tuple[Said, Any]:
        status, answer = self.doors.server.ask(method, path, body, token=self.tokens[user])
        refused = isinstance(answer, dict) and status >= 400
        return Said(status, answer["message"] if refused else ""), answer


@pytest.fixture
def tower(doors: Doors, installed: RunningControlPlane) -> Iterator[Tower]:
    world = doors.world
    kube, other = world.kube, f"{world.namespace}-other"
    kube.apply(namespace_manifest(other))
    kube.apply(world.registry(allowedNamespaces={"from": "All"}, defaults={"namespace": world.namespace}))
    tokens = {user: make_account(kube, world.namespace, user, role) for user, role in ROLES.items()}
    for name, (verbs, names) in NARROW.items():
        rule = {"apiGroups": ["gatehouse.dev"], "resources": list(KINDS), "verbs": verbs, "resourceNames": names}
        metadata = {"name": f"{world.namespace}-{name}"}
        kube.apply({"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [rule]})
        tokens[name] = make_account(kube, world.namespace, name, f"{world.namespace}-{name}")
    tokens["neighbour"] = make_account(kube, other, "neighbour", "gatehouse-submitter")
    tokens["auditor"] = make_account(kube, world.namespace, "auditor")
    bind(kube, world.namespace, "auditor", "gatehouse-viewer", everywhere=True)
    tokens["nobody"] = make_account(kube, world.namespace, "nobody")
    world.apply(world.model(), world.version())
    world.phase("granite-1", "Ready to Deploy")
    governed = {plural: world.get(kind, OBJECTS[plural])["status"]["registryId"] for plural, kind in KINDS.items()}  # type: ignore[index]
    recorded: dict[str, str] = {}
    for plural, more in (("registeredmodels", {}), ("modelversions", {"registeredModelId": "registeredmodels"})):
        body = {"name": "recorded", **{member: recorded[of] for member, of in more.items()}}
        status, made = doors.server.ask("POST", f"{V3}/{PATHS[plural]}", body, token=doors.submitter)
        assert status == 201, made
        recorded[plural] = made["id"]
    yield Tower(doors, installed, trust(installed.authority), other, tokens, governed, recorded)
    kube.request("DELETE", f"/api/v1/namespaces/{other}")


def unnamed(message: str, plural: str) -> str:
    """The sentence about a recorded entry, which has no object."""
    return message.replace(f'.gatehouse.dev "{OBJECTS[plural]}"', ".gatehouse.dev")


def test_every_door_answers_as_the_api_server_does(tower: Tower) -> None:
    said = {
        (user, verb, plural): tower.kubectl(user, verb, plural)
        for user in USERS
        for verb in ("get", "list", "create", "patch", "archive")
        for plural in KINDS
    }
    assert {answer.status for answer in said.values()} == {200, 403}
    for verb in ("get", "list", "create", "patch", "archive"):
        assert {said[user, verb, plural].allowed for user in USERS for plural in KINDS} == {True, False}, verb
    differences = [
        f"{user} {what}: REST {found}, the API server {wanted}"
        for answers in (reads, writes)
        for user in USERS
        for what, found, wanted in answers(tower, said, user)
        if found != wanted
    ]
    assert differences == []
    again = {key: tower.kubectl(*key) for key in said}
    assert again == said


Row = tuple[str, Any, Any]


def reads(tower: Tower, said: Mapping[tuple[str, str, str], Said], user: str) -> Iterator[Row]:
    """What a user sees: by an id, in lists, and in the catalog."""
    for prefix in (V3, V1):
        for plural, path in PATHS.items():
            by_id = said[user, "get", plural]
            for ids, whole in ((tower.governed, by_id.allowed), (tower.recorded, by_id.allowed and user != "one")):
                found, answer = tower.rest(user, "GET", f"{prefix}/{path}/{ids[plural]}")
                yield f"get {prefix}/{path}/{ids[plural]}", found.status, 200 if whole else 404
                if not whole:
                    yield "the words of what is not there", "not found" in found.message, True
            _, answer = tower.rest(user, "GET", f"{prefix}/{path}")
            seen = {item["id"] for item in answer["items"]}
            everything = {tower.governed[plural], tower.recorded[plural]}
            yield (
                f"list {prefix}/{path}",
                seen & everything,
                everything if said[user, "list", plural].allowed else set(),
            )
    _, answer = tower.rest(user, "GET", f"{CATALOG}/models")
    listed = said[user, "list", "modelversions"].allowed
    yield "list the catalog", [item["id"] for item in answer["items"]], [tower.governed["modelversions"]] * listed
    for ending in ("", "/artifacts"):
        found, _ = tower.rest(user, "GET", f"{CATALOG}/sources/gatehouse/models/granite/granite-1{ending}")
        allowed = said[user, "get", "modelversions"].allowed
        yield f"get of the catalog{ending}", found.status, 200 if allowed else 404


def writes(tower: Tower, said: Mapping[tuple[str, str, str], Said], user: str) -> Iterator[Row]:
    """What a user may make and change, in the words of the API server."""
    namespace = tower.doors.world.namespace
    for prefix in (V3, V1):
        name = f"{user} {prefix[-2:]}"
        found, _ = tower.rest(user, "POST", f"{prefix}/registered_models?namespace={namespace}", {"name": name})
        wanted = said[user, "create", "registeredmodels"]
        yield f"create {prefix}/registered_models", found, replace_ok(wanted, 201)
        body = {"name": name, "registeredModelId": tower.recorded["registeredmodels"]}
        found, _ = tower.rest(user, "POST", f"{prefix}/model_versions", body)
        # Who may not read the model does not learn that it is there.
        wanted = said[user, "create", "modelversions"]
        hidden = not said[user, "get", "registeredmodels"].allowed or user == "one"
        yield f"create {prefix}/model_versions", *masked(found, replace_ok(wanted, 201), hidden=hidden)
        for plural, path in PATHS.items():
            for ids, governed in ((tower.governed, True), (tower.recorded, False)):
                one = f"{prefix}/{path}/{ids[plural]}"
                hidden = not said[user, "get", plural].allowed or (user == "one" and not governed)
                for verb, change in (("patch", {"description": user}), ("archive", {"state": "ARCHIVED"})):
                    found, _ = tower.rest(user, "PATCH", one, change)
                    wanted = said[user, verb, plural]
                    if not governed:
                        wanted = Said(wanted.status, unnamed(wanted.message, plural))
                    yield f"{verb} {one}", *masked(found, wanted, hidden=hidden)
                    if found.allowed and verb == "archive":
                        assert tower.rest("admin", "PATCH", one, {"state": "LIVE"})[0].status == 200


def replace_ok(said: Said, status: int) -> Said:
    return Said(status) if said.allowed else said


def masked(found: Said, wanted: Said, *, hidden: bool) -> tuple[object, object]:
    """An entry that the user may not read is not found, whatever else the user may do."""
    return (found.status, 404) if hidden else (found, wanted)


def test_a_write_into_another_namespace_is_judged_there(tower: Tower) -> None:
    home, other = tower.doors.world.namespace, tower.other
    for user, namespace, status in (
        ("submitter", other, 403),
        ("neighbour", home, 403),
        ("neighbour", other, 201),
        ("auditor", other, 403),
    ):
        body = {"name": f"{user} in {namespace}"}
        found, _ = tower.rest(user, "POST", f"{V3}/registered_models?namespace={namespace}", body)
        assert found.status == status, (user, namespace, found)
        if status == 403:
            assert f'in the namespace "{namespace}"' in found.message
    # A name is unique in the registry, and who asks for it learns no more than that.
    found, answer = tower.rest("neighbour", "POST", f"{V3}/registered_models?namespace={other}", {"name": "granite"})
    assert (found.status, "already exists" in found.message) == (409, True)
    assert home not in json.dumps(answer)
