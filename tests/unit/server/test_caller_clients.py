"""Credentials of calls to the API server: the caller's alone, over connections that show no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration
from multidict import CIMultiDict

from gatehouse.cluster.client import ApiClient, without_credentials
from gatehouse_local.net import LOOPBACK

OWN = "the-token-of-the-server"


@asynccontextmanager
async def api() -> AsyncIterator[tuple[str, list[CIMultiDict[str]]]]:
    """An API server that records the headers of requests and sets a cookie."""
    seen: list[CIMultiDict[str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(CIMultiDict(request.headers))
        return web.json_response({"items": []}, headers={"Set-Cookie": "of=the-first"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    try:
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


def configuration(host: str, **more: Any) -> Configuration:
    made = Configuration(host=host, **more)
    made.api_key = {"BearerToken": f"Bearer {OWN}"}
    return made


async def test_a_call_for_a_caller_has_the_callers_token_and_no_other_credentials() -> None:
    async with api() as (host, seen), ApiClient(without_credentials(configuration(host))) as bare:
        ann, eve = bare.bearing("of-ann"), bare.bearing("of-eve")
        await ann.get("modelversions", "home")
        await eve.create("modelversions", "home", {})
        await bare.get("modelversions", "home")
        assert [headers.getall("Authorization", []) for headers in seen] == [["Bearer of-ann"], ["Bearer of-eve"], []]
        for headers in seen:
            assert not [name for name in headers if name.lower().startswith("impersonate") or name.lower() == "cookie"]
            assert OWN not in str(headers)


async def test_a_call_by_impersonation_names_the_user_and_each_group() -> None:
    async with api() as (host, seen), ApiClient(configuration(host)) as own:
        await own.impersonating("ann", ("team-a", "team-b")).get("modelversions", "home")
        await own.get("modelversions", "home")
        assert seen[0].getall("Impersonate-User") == ["ann"]
        assert seen[0].getall("Impersonate-Group") == ["team-a", "team-b"]
        assert [headers["Authorization"] for headers in seen] == [f"Bearer {OWN}"] * 2
        assert "Impersonate-User" not in seen[1]
        # A token replaces the names of an impersonation, and the other way round.
        await own.impersonating("ann", ()).bearing("of-eve").get("modelversions", "home")
        assert seen[2]["Authorization"] == "Bearer of-eve"
        assert "Impersonate-User" not in seen[2]


def test_all_credentials_are_taken_off_and_the_authority_is_kept() -> None:
    full = configuration(
        "https://api.example",
        ssl_ca_cert="/ca",
        ca_cert_data="PEM",
        cert_file="/client.crt",
        key_file="/client.key",
        username="u",
        password="p",
        access_token="t",
    )
    full.refresh_api_key_hook = lambda _: None
    bare = without_credentials(full)
    assert (bare.host, bare.ssl_ca_cert, bare.ca_cert_data) == ("https://api.example", "/ca", "PEM")
    assert bare.verify_ssl
    assert not any((bare.api_key, bare.cert_file, bare.key_file, bare.username, bare.password, bare.access_token))
    assert bare.refresh_api_key_hook is None
    full.verify_ssl = False
    assert not without_credentials(full).verify_ssl


async def test_connections_with_a_client_certificate_take_no_token() -> None:
    async with ApiClient(configuration("http://api.example")) as client:
        client._configuration.cert_file = "/client.crt"
        with pytest.raises(ValueError, match="goes before a token"):
            client.bearing("of-ann")
