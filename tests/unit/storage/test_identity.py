"""Stores that are read with the operator's own identity, lent by a token service, and stores behind a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gatehouse.api.model_registry import ModelRegistry, ObjectStore
from gatehouse.controllers.clients import Connections
from gatehouse.domain.common.errors import Stalled, Waiting
from gatehouse.storage.metrics import NoMetrics
from gatehouse.storage.s3.client import S3Stores

EMPTY: Final = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>models</Name>'
    "<Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


@dataclass
class Cloud:
    """A store, a token service and a proxy in one: who asked for what."""

    lives: timedelta = timedelta(hours=1)
    url: str = ""
    lent: int = 0
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            return await self._lend(request)
        self.asked.append((request.raw_path, request.headers))
        return web.Response(text=EMPTY, content_type="application/xml")

    async def _lend(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("Action") != "AssumeRoleWithWebIdentity" or form.get("WebIdentityToken") != "the-token":
            return web.Response(
                status=403,
                text="<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
            )
        self.lent += 1
        until = (datetime.now(UTC) + self.lives).strftime("%Y-%m-%dT%H:%M:%SZ")
        return web.Response(
            content_type="text/xml",
            text='<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult><Credentials>"
            f"<AccessKeyId>lent-{self.lent}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>session-{self.lent}</SessionToken><Expiration>{until}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        )


@asynccontextmanager
async def running(cloud: Cloud) -> AsyncIterator[Cloud]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cloud.answer)
    async with TestServer(app) as server:
        cloud.url = str(server.make_url("")).rstrip("/")
        yield cloud


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    (tmp_path / "token").write_text("the-token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/gatehouse")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    return monkeypatch


def store(**spec: Any) -> ObjectStore:
    return ObjectStore.model_validate({"uriPrefix": "s3://models/", **spec})


async def listed(stores: S3Stores, place: ObjectStore) -> None:
    await stores.open(place, bucket="models", credentials=None, ca_pem=None).list("m/", limit=1)


async def test_credentials_are_lent_by_web_identity_and_asked_for_once(identity: pytest.MonkeyPatch) -> None:
    stores = S3Stores(NoMetrics())
    async with running(Cloud()) as cloud:
        identity.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
        place = store(endpoint=cloud.url, workloadIdentity=True)
        await asyncio.gather(*(listed(stores, place) for _ in range(3)))
        await stores.aclose()
    assert cloud.lent == 1
    assert {headers["x-amz-security-token"] for _, headers in cloud.asked} == {"session-1"}
    assert all("Credential=lent-1/" in headers["authorization"] for _, headers in cloud.asked)


async def test_credentials_that_run_out_are_renewed(identity: pytest.MonkeyPatch) -> None:
    stores = S3Stores(NoMetrics())
    async with running(Cloud(lives=timedelta(seconds=30))) as cloud:
        identity.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
        for _ in range(2):
            await listed(stores, store(endpoint=cloud.url, workloadIdentity=True))
        await stores.aclose()
    assert cloud.lent >= 2
    assert cloud.asked[-1][1]["x-amz-security-token"] == f"session-{cloud.lent}"


async def test_without_an_identity_nothing_is_asked_anonymously(identity: pytest.MonkeyPatch) -> None:
    identity.delenv("AWS_ROLE_ARN")
    identity.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    stores = S3Stores(NoMetrics())
    async with running(Cloud()) as cloud:
        with pytest.raises(Waiting) as refused:
            await listed(stores, store(endpoint=cloud.url, workloadIdentity=True))
        await stores.aclose()
    assert refused.value.reason == "IdentityUnavailable"
    assert cloud.asked == []


async def test_a_token_service_that_refuses_is_named(identity: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    stores = S3Stores(NoMetrics())
    async with running(Cloud()) as cloud:
        identity.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
        with pytest.raises(Waiting, match="AssumeRoleWithWebIdentity") as refused:
            await listed(stores, store(endpoint=cloud.url, workloadIdentity=True))
        await stores.aclose()
    assert refused.value.reason == "IdentityUnavailable"


async def test_a_store_behind_a_proxy_is_asked_through_it_alone() -> None:
    stores = S3Stores(NoMetrics())
    async with running(Cloud()) as proxy:
        await listed(stores, store(endpoint="http://store.invalid:9000", tls="Disabled", proxy=proxy.url))
        await stores.aclose()
    [(path, headers)] = proxy.asked
    assert headers["host"] == "store.invalid:9000"
    assert path.startswith("http://store.invalid:9000/models")


@pytest.mark.parametrize("named", [(), ("team/other",)])
async def test_a_registry_that_the_operator_does_not_name_gets_no_identity(named: tuple[str, ...]) -> None:
    registry = ModelRegistry.model_validate(
        {
            "metadata": {"name": "registry", "namespace": "team", "uid": "1", "generation": 1},
            "spec": {"objectStores": [{"uriPrefix": "s3://models/", "workloadIdentity": True}]},
        }
    )
    never: Any = None
    connections = Connections(stores=never, databases=never, secrets=never, clock=_Clock(), identified=named)
    with pytest.raises(Stalled) as refused:
        await connections.bucket(registry, registry.spec.object_stores[0], "models")
    assert refused.value.reason == "IdentityNotAllowed"
    assert "workloadIdentityFor" in refused.value.remedy


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)
