"""Who asks and what they may do, by a real API server: tokens, rights, and writes that are judged as the caller's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cluster.tokens import account_kubeconfig
from gatehouse.actions.identity import Action
from gatehouse.cluster.client import ApiClient, ApiError, load_configuration, without_credentials
from gatehouse.domain.query.scopes import EVERY_NAMESPACE
from gatehouse.server.errors import Forbidden, RequestError, Unauthenticated, Unavailable, request_error
from gatehouse.server.identity.access import Access, AccessReviews, CallerClients
from gatehouse.server.identity.authentication import Authentication
from gatehouse.server.identity.callers import BearerToken, OwnAccount, ReviewedUser
from gatehouse.server.identity.headers import HeaderPolicy, Peer, ProxyTrust
from gatehouse.server.identity.identification import Identification
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient

ISSUER = "https://kubernetes.default.svc"
RBAC = "rbac.authorization.k8s.io"
SERVER = "gatehouse-server"
VERSIONS = "modelversions"
SECRET = "a-secret-of-the-proxy"


@dataclass
class Desk:
    """A namespace with the server's account, which has the rights that the project ships, and accounts of callers."""

    plane: RunningControlPlane
    kube: KubeClient
    namespace: str
    folder: Path

    def account(self, name: str, role: str = "", *, everywhere: bool = False) -> str:
        """Makes an account with a role and returns a token of it."""
        self.kube.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": self.namespace}}
        )
        if role:
            self.bind(name, role, everywhere=everywhere)
        return self.token(name)

    def bind(self, name: str, role: str, *, everywhere: bool = False) -> None:
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        metadata = {"name": f"{self.namespace}-{name}-{role}"} | ({} if everywhere else {"namespace": self.namespace})
        self.kube.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "ClusterRoleBinding" if everywhere else "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [subject],
            }
        )

    def token(self, name: str, *audiences: str) -> str:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 600, **({"audiences": list(audiences)} if audiences else {})},
        }
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        token: str = self.kube.request("POST", path, body)["status"]["token"]
        return token

    def user(self, name: str) -> str:
        return f"system:serviceaccount:{self.namespace}:{name}"

    def signing_key(self) -> ec.EllipticCurvePrivateKey:
        """The key with which the API server signs tokens of accounts."""
        [file] = self.plane.authority.parents[1].rglob("service-account.key")
        key = load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


@pytest.fixture
def desk(control_plane: RunningControlPlane, namespace: str, tmp_path: Path) -> Iterator[Desk]:
    with contextlib.closing(control_plane.client()) as kube:
        made = Desk(control_plane, kube, namespace, tmp_path)
        made.account(SERVER, "gatehouse-server", everywhere=True)
        yield made


@dataclass
class Door:
    """The parts of the server that identify callers."""

    identification: Identification
    own: ApiClient
    bare: ApiClient

    async def access(self, *headers: tuple[str, str]) -> Access:
        raw = [(name.encode(), value.encode()) for name, value in headers]
        return await self.identification.access(raw, Peer("10.0.0.9"))

    async def as_owner(self, token: str) -> Access:
        return await self.access(("authorization", f"Bearer {token}"))


@pytest_asyncio.fixture
async def door(desk: Desk) -> AsyncIterator[Door]:
    kubeconfig = account_kubeconfig(desk.plane, desk.namespace, SERVER, folder=desk.folder)
    configuration = await load_configuration(kubeconfig=kubeconfig, context=None)

    async def namespaces() -> frozenset[str]:
        return frozenset({desk.namespace, "default", "gatehouse-system"})

    async with ApiClient(configuration) as own, ApiClient(without_credentials(configuration)) as bare:
        yield Door(
            Identification(
                policy=HeaderPolicy(
                    proxy=ProxyTrust(
                        family="kubeflow", secret_digests=ProxyTrust.of_secrets([SECRET]), group_prefix="team-"
                    ),
                    anonymous_reads=True,
                ),
                authentication=Authentication(own, audiences=(), now=time.monotonic, wall=time.time),
                reviews=AccessReviews(own, namespaces=namespaces, now=time.monotonic),
                clients=CallerClients(own=own, bare=bare),
            ),
            own,
            bare,
        )


def signed(key: ec.EllipticCurvePrivateKey, claims: dict[str, Any], header: dict[str, Any]) -> str:
    """A JWT of these claims."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    text = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    first, second = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{part(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims."""
    header, claims, _ = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("latin-1") for part in token.split(".")
    )
    return json.loads(header), json.loads(claims)


# Tokens


async def test_a_token_of_an_account_names_its_owner(desk: Desk, door: Door) -> None:
    access = await door.as_owner(desk.account("ann"))
    assert access.caller.person.name == desk.user("ann")
    assert f"system:serviceaccounts:{desk.namespace}" in access.caller.person.groups
    assert access.caller.user.uid
    assert access.caller.expires_at is not None


async def test_tokens_that_do_not_count(desk: Desk, door: Door) -> None:
    token = desk.account("ann")
    header, claims = parts_of(token)
    key, foreign = desk.signing_key(), ec.generate_private_key(ec.SECP256R1())
    past = {"iat": int(time.time()) - 7_200, "nbf": int(time.time()) - 7_200, "exp": int(time.time()) - 3_600}
    assert (await door.as_owner(signed(key, claims, header))).caller.person.name == desk.user("ann")
    rejected = {
        "garbage": "garbage",
        "of another server": signed(foreign, claims, header),
        "of another issuer": signed(key, {**claims, "iss": "https://other.example"}, header),
        "expired": signed(key, {**claims, **past}, header),
        "not yet": signed(key, {**claims, "nbf": int(time.time()) + 3_600}, header),
        "of another audience": desk.token("ann", "someone-else"),
        "unsigned": token.rpartition(".")[0] + ".",
        "cut": token[:-5],
        "with another owner": signed(foreign, {**claims, "sub": "system:serviceaccount:kube-system:admin"}, header),
    }
    for bad in rejected.values():
        with pytest.raises(Unauthenticated):
            await door.as_owner(bad)


async def test_the_api_server_itself_rejects_an_expired_token(desk: Desk, door: Door) -> None:
    header, claims = parts_of(desk.account("ann"))
    past = {"iat": int(time.time()) - 7_200, "nbf": int(time.time()) - 7_200, "exp": int(time.time()) - 3_600}
    token = signed(desk.signing_key(), {**claims, **past}, header)
    clock_behind = Authentication(door.own, audiences=(), now=time.monotonic, wall=lambda: 0.0)
    with pytest.raises(Unauthenticated, match="does not count"):
        await clock_behind.caller(BearerToken(token))


async def test_the_token_of_a_deleted_account_does_not_count(desk: Desk, door: Door) -> None:
    token = desk.account("ann")
    desk.kube.request("DELETE", f"/api/v1/namespaces/{desk.namespace}/serviceaccounts/ann")
    with pytest.raises(Unauthenticated):
        await door.as_owner(token)


async def test_an_audience_of_the_server_is_asked_for(desk: Desk, door: Door) -> None:
    desk.account("ann")
    strict = Authentication(door.own, audiences=("gatehouse",), now=time.monotonic, wall=time.time)
    assert (await strict.caller(BearerToken(desk.token("ann", "gatehouse")))).person.name == desk.user("ann")
    with pytest.raises(Unauthenticated):
        await strict.caller(BearerToken(desk.token("ann")))
    # Such a token is none for the API server: reads work, and a write is refused as the caller's.
    access = Access(
        await strict.caller(BearerToken(desk.token("ann", "gatehouse"))),
        reviews=door.identification.reviews,
        clients=door.identification.clients,
    )
    assert await access.readable_namespaces(VERSIONS) == frozenset()
    with pytest.raises(ApiError) as caught:
        await access.api.create("registeredmodels", desk.namespace, model("m"))
    assert isinstance(request_error(caught.value), Unauthenticated)


# Rights


async def test_reads_are_filtered_by_what_rbac_lets_the_caller_list(desk: Desk, door: Door) -> None:
    everywhere = await door.as_owner(desk.account("reader", "gatehouse-viewer", everywhere=True))
    here = await door.as_owner(desk.account("neighbour", "gatehouse-viewer"))
    nowhere = await door.as_owner(desk.account("stranger"))
    assert await everywhere.readable_namespaces(VERSIONS) is EVERY_NAMESPACE
    assert await here.readable_namespaces(VERSIONS) == {desk.namespace}
    assert await nowhere.readable_namespaces(VERSIONS) == frozenset()
    anonymous = await door.access()
    assert await anonymous.readable_namespaces(VERSIONS) == frozenset()


async def test_answers_are_those_of_the_api_server(desk: Desk, door: Door) -> None:
    token = desk.account("ann", "gatehouse-submitter")
    access = await door.as_owner(token)
    create = Action(verb="create", resource="registeredmodels", namespace=desk.namespace)
    actions = [
        create,
        replace(create, verb="delete"),
        replace(create, verb="deletecollection"),
        replace(create, namespace="default"),
        replace(create, resource="modelapprovals"),
        Action(verb="get", resource="secrets", namespace=desk.namespace, group=""),
        Action(verb="approve", resource="risktiers", name="Low"),
    ]
    allowed = await access.allowed(actions)
    for action in actions:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "verb": action.verb,
                    "group": action.group,
                    "resource": action.resource,
                    "namespace": action.namespace,
                    "name": action.name,
                }
            },
        }
        answer = await access.api.create("selfsubjectaccessreviews", "", review)
        assert allowed[action] == answer["status"]["allowed"], action
    assert sum(allowed.values()) == 2


async def test_a_refusal_of_the_server_has_the_words_of_the_api_server(desk: Desk, door: Door) -> None:
    access = await door.as_owner(desk.account("stranger"))
    with pytest.raises(ApiError) as said:
        await access.api.get("registeredmodels", desk.namespace)
    with pytest.raises(Forbidden) as refused:
        await access.require(Action(verb="list", resource="registeredmodels", namespace=desk.namespace))
    assert refused.value.message == said.value.message


# Writes


def model(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "RegisteredModel",
        "metadata": {"name": name},
        "spec": {"registryRef": {"name": "registry"}},
    }


async def test_a_write_is_made_and_judged_as_the_callers(desk: Desk, door: Door) -> None:
    submitter = await door.as_owner(desk.account("ann", "gatehouse-submitter"))
    stranger = await door.as_owner(desk.account("eve", "gatehouse-viewer", everywhere=True))
    await submitter.api.create("registeredmodels", desk.namespace, model("granite"))
    with pytest.raises(ApiError) as refused:
        await stranger.api.create("registeredmodels", desk.namespace, model("other"))
    error = request_error(refused.value)
    assert isinstance(error, Forbidden)
    assert f'User "{desk.user("eve")}" cannot create resource "registeredmodels"' in error.message
    with pytest.raises(ApiError) as own:
        await door.own.create("registeredmodels", desk.namespace, model("other"))
    assert own.value.status == 403, "the server itself may write nothing"


async def test_admission_sees_the_caller(desk: Desk, door: Door) -> None:
    access = await door.as_owner(desk.account("ann"))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    seen = await access.api.create("selfsubjectreviews", "", review)
    user = ReviewedUser.from_wire(seen["status"]["userInfo"])
    assert (user.name, user.uid) == (desk.user("ann"), access.caller.user.uid)
    assert set(user.groups) == set(access.caller.user.groups)


async def refusal_of(client: ApiClient, namespace: str) -> ApiError:
    """The refusal of a call. The API server keeps an accepted token for some seconds, even when its account is gone."""
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get("modelregistries", namespace)
            except ApiError as refused:
                return refused


async def test_with_a_token_that_ended_no_call_falls_back_to_the_server(desk: Desk, door: Door) -> None:
    access = await door.as_owner(desk.account("ann", "gatehouse-viewer"))
    desk.kube.request("DELETE", f"/api/v1/namespaces/{desk.namespace}/serviceaccounts/ann")
    assert await door.own.get("modelregistries", desk.namespace), "the server itself may read these"
    for client in (access.api, door.bare.bearing("garbage")):
        assert (await refusal_of(client, desk.namespace)).status == 401
    with pytest.raises(ApiError) as nameless:
        await door.bare.get("modelregistries", desk.namespace)
    assert nameless.value.status in {401, 403}


# Proxies and the server's own account


def impersonator(desk: Desk) -> None:
    """The right that an installation with a proxy binds: any user, and the groups with the prefix."""
    desk.kube.apply(
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"{desk.namespace}-proxy"},
            "rules": [
                {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]},
                {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["team-a"], "verbs": ["impersonate"]},
            ],
        }
    )
    desk.bind(SERVER, f"{desk.namespace}-proxy", everywhere=True)


async def test_a_caller_whom_a_proxy_names_acts_by_impersonation(desk: Desk, door: Door) -> None:
    proof = ("x-gatehouse-proxy-secret", SECRET)
    access = await door.access(proof, ("kubeflow-userid", "ann@example.org"), ("kubeflow-groups", "team-a,others"))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with pytest.raises(ApiError) as refused:
        await access.api.create("selfsubjectreviews", "", review)
    assert refused.value.status == 403, "without the right to impersonate"
    impersonator(desk)
    seen = ReviewedUser.from_wire((await access.api.create("selfsubjectreviews", "", review))["status"]["userInfo"])
    assert seen.name == "ann@example.org"
    assert set(seen.groups) == {"team-a", "system:authenticated"} == set(access.caller.user.groups)
    desk.kube.apply(
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "team-a", "namespace": desk.namespace},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "gatehouse-submitter"},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": "team-a"}],
        }
    )
    assert await access.readable_namespaces(VERSIONS) == {desk.namespace}
    await access.api.create("registeredmodels", desk.namespace, model("granite"))


async def test_the_servers_own_account_names_itself(desk: Desk, door: Door) -> None:
    caller = await door.identification.authentication.caller(OwnAccount())
    assert caller.person.name == desk.user(SERVER)
    access = Access(caller, reviews=door.identification.reviews, clients=door.identification.clients)
    assert await access.readable_namespaces("modelregistries") is EVERY_NAMESPACE
    assert await access.readable_namespaces(VERSIONS) == frozenset()


async def test_a_server_without_rights_says_so_and_refuses_no_caller(desk: Desk, door: Door) -> None:
    token = desk.account("powerless")
    kubeconfig = account_kubeconfig(desk.plane, desk.namespace, "powerless", folder=desk.folder)
    async with await ApiClient.connect(kubeconfig=kubeconfig) as powerless:
        identity = Authentication(powerless, audiences=(), now=time.monotonic, wall=time.time)
        with pytest.raises(
            Unavailable, match="creating tokenreviews; expected: its account is bound to the ClusterRole"
        ):
            await identity.caller(BearerToken(token))


async def test_no_error_repeats_a_token(desk: Desk, door: Door) -> None:
    header, claims = parts_of(desk.account("ann"))
    foreign = signed(ec.generate_private_key(ec.SECP256R1()), claims, header)
    for token in (foreign, "sha256~garbage-of-another-cluster", desk.token("ann", "someone-else")):
        with pytest.raises(RequestError) as caught:
            await door.as_owner(token)
        assert token not in f"{caught.value} {caught.value.headers} {caught.value.__cause__!r}"
        with pytest.raises(ApiError) as refused:
            await door.bare.bearing(token).get("registeredmodels", desk.namespace)
        assert token not in f"{refused.value!r} {refused.value.message}"
