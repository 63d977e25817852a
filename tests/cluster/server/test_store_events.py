"""Events of a real MinIO, from an upload by any client to a verified version; and what a stranger's events come to."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.rig import Operator, until
from cluster.server.processes import ServerProcess, make_account
from cluster.servers import available
from cluster.tokens import account_kubeconfig
from cluster.world import MINIATURE, World, make_world, secret
from gatehouse.controllers.store_hints import BURST, SPACING
from gatehouse.storage.s3.bucket_events import BucketEvents, ensure_bucket_events
from gatehouse.storage.s3.users import StoreAdministrator
from gatehouse_local import ephemeral
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.minio import WEBHOOK, MinioWebhook
from gatehouse_local.net import LOOPBACK, free_port

TOKEN = secrets.token_urlsafe(24)
HOOK = "/hooks/s3/registry"
FIRST = "config.json"
"""Without the other files the artifact is invalid, and looked at again after a minute."""


@dataclass
class Hooked:
    """A world whose MinIO sends its events to a running server, and the operator beside it."""

    world: World
    server: ServerProcess
    operator: Operator

    def send(self, *keys: str, bucket: str = "", token: str = TOKEN, path: str = HOOK) -> tuple[int, Any]:
        """Records as MinIO writes them."""
        records = [{"s3": {"bucket": {"name": bucket or self.world.bucket}, "object": {"key": key}}} for key in keys]
        return self.server.ask("POST", path, {"EventName": "s3:ObjectCreated:Put", "Records": records}, token=token)

    def listings(self) -> float:
        return self.operator.metrics().sum("gatehouse_store_requests_total", operation="list")

    def hints(self) -> list[dict[str, Any]]:
        return self.world.rows(self.operator, "store_hints")


@pytest.fixture
def hooked(installed: RunningControlPlane, operator: Operator, tmp_path: Path) -> Iterator[Hooked]:
    port = free_port()
    webhook = MinioWebhook(f"http://{LOOPBACK}:{port}{HOOK}", TOKEN)
    with available(ephemeral.minio(webhook=webhook)) as endpoint, make_world(installed, endpoint) as world:
        world.apply(secret("hooks", world.namespace, {"token": TOKEN}))
        world.apply(world.registry(hooks={"tokenSecret": {"name": "hooks", "key": "token"}}))
        world.final("registry", kind="ModelRegistry")
        make_account(world.kube, world.namespace, "server", "gatehouse-server", everywhere=True)
        make_account(world.kube, world.namespace, "server", "gatehouse-registry-secrets")
        kubeconfig = account_kubeconfig(installed, world.namespace, "server", folder=tmp_path)
        arguments = [f"--registry={world.namespace}/registry", f"--data-dir={operator.data_dir}"]
        with contextlib.closing(ServerProcess(tmp_path, kubeconfig, *arguments, port=port)) as server:
            until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
            administrator = StoreAdministrator(
                url=endpoint.url, name=endpoint.credentials.access_key, secret_key=endpoint.credentials.secret_key
            )
            for _ in range(2):  # the second time nothing is left to do
                ensure_bucket_events(administrator, [BucketEvents(world.bucket, WEBHOOK)])
            yield Hooked(world, server, operator)


def test_an_upload_by_any_client_is_verified_at_once(hooked: Hooked, record_property: Any) -> None:
    world = hooked.world
    world.upload(files={FIRST: MINIATURE[FIRST]})
    world.apply(world.model(), world.version())
    world.phase("granite-1", "Artifact Invalid")
    before = hooked.listings()
    world.upload(files={name: content for name, content in MINIATURE.items() if name != FIRST})
    uploaded = time.monotonic()
    world.ready(seconds=30)
    record_property("seconds", took := time.monotonic() - uploaded)
    print(f"verified {took:.2f} s after the upload, {hooked.listings() - before:g} listings")
    assert hooked.listings() - before <= BURST
    until(lambda: not hooked.hints(), what="hints stay")


def test_a_flood_of_hints_costs_few_listings_and_makes_nothing_ready(hooked: Hooked) -> None:
    world = hooked.world
    world.apply(world.model(), world.version())
    world.phase("granite-1", "Artifact Missing")
    world.upload(files={FIRST: MINIATURE[FIRST]})
    world.phase("granite-1", "Artifact Invalid")
    before, started = hooked.listings(), time.monotonic()
    for _ in range(150):
        assert hooked.send(*(f"granite-1/{number}.bin" for number in range(20)))[0] == 202
    until(lambda: not hooked.hints(), what="hints stay")
    marker = world.ask("granite-1")
    world.wait("granite-1", lambda body: body["status"].get("lastHandledReconcileAt") == marker)
    took = time.monotonic() - started
    listings = hooked.listings() - before
    print(f"3,000 events in {took:.1f} s: {listings:g} listings")
    # A check of an invalid artifact lists once; the last two are the one that was asked for and a regular one.
    assert 1 <= listings <= BURST + took / SPACING.total_seconds() + 2
    found = world.get("ModelVersion", "granite-1")
    assert found is not None
    assert found["status"]["phase"] == "Artifact Invalid"


def test_events_of_other_places_and_of_verified_versions_cost_no_listing(hooked: Hooked) -> None:
    world = hooked.world
    world.upload()
    world.apply(world.model(), world.version())
    world.ready()
    until(lambda: not hooked.hints(), what="hints stay")
    before = hooked.listings()
    assert hooked.send("granite-1/config.json", bucket="elsewhere") == (202, {"events": 1, "hints": 0})
    assert hooked.hints() == []
    assert hooked.send("other/config.json", "granite-1/config.json", "granite-1%2Fa+b") == (
        202,
        {"events": 3, "hints": 2},
    )
    until(lambda: not hooked.hints(), what="hints stay")
    marker = world.ask("registry", kind="ModelRegistry")
    world.wait("registry", lambda body: body["status"].get("lastHandledReconcileAt") == marker, kind="ModelRegistry")
    # The probe of the store is one listing of the registry, at each of its reconciles.
    assert hooked.listings() - before <= 2
    assert (world.get("ModelVersion", "granite-1") or {})["status"]["phase"] == "Ready to Deploy"


def test_who_has_not_the_token_leaves_no_hint(hooked: Hooked) -> None:
    person = make_account(hooked.world.kube, hooked.world.namespace, "admin", "cluster-admin", everywhere=True)
    for token in ("", TOKEN[:-1], TOKEN + "x", person):
        for path in (HOOK, "/hooks/s3/other"):
            status, answer = hooked.send("granite-1/config.json", token=token, path=path)
            assert (status, answer["error"]["code"]) == (401, "Unauthorized")
            assert "spec.hooks.tokenSecret" in answer["error"]["message"]
    status, answer = hooked.send("granite-1/config.json", path="/hooks/s3/other")
    assert (status, "registry" in answer["error"]["message"]) == (404, True)
    assert hooked.hints() == []
    assert TOKEN not in hooked.server.log.read_text()
    # The token opens no other door.
    assert hooked.server.ask("GET", "/api/model_registry/v1/registered_models", token=TOKEN)[0] == 401
