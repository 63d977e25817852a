"""Several versions of one artifact, and registries of one bucket, with the real operator: deny overrides at once."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.faultstore import FaultStore, code
from cluster.rig import Operator, until
from cluster.servers import FaultyStore
from cluster.status import Manifest, condition
from cluster.world import API, MINIATURE, World, make_world
from gatehouse.domain.common.clocks import timestamp
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.s3 import S3Endpoint

SECOND = "granite-2"
FAULTY = "s3://models/granite-1/"


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    """A world whose registry looks at its artifacts each hour, so that nothing is looked at without a reason."""
    with make_world(installed, minio, interval="1h") as made:
        yield made


def vetted(world: World) -> Mapping[str, Any]:
    """The spec of what is cleared for staging."""
    return next((spec for spec in world.vetted() if spec["stage"] == "staging"), {})


def clears(world: World, uri: str) -> bool:
    return uri in vetted(world).get("artifacts", {})


def refused(world: World, uri: str) -> str:
    return str(vetted(world).get("refused", {}).get(uri, ""))


def reason(body: Manifest) -> str:
    found = condition(body, "Ready")
    return "" if found is None else str(found["reason"])


def test_a_change_that_one_version_sees_shuts_every_version_of_the_folder(world: World) -> None:
    uri = world.uri("granite-1")
    world.upload()
    world.apply(world.registry(), world.model(), world.version(), world.version(SECOND, artifact={"uri": uri}))
    world.ready()
    world.ready(SECOND)
    until(lambda: clears(world, uri), what="the artifact is not cleared")

    world.upload(files={"config.json": b'{"architectures": ["Other"]}'})
    world.ask("granite-1")

    world.phase("granite-1", "Artifact Changed")
    world.phase(SECOND, "Artifact Changed")
    until(lambda: not clears(world, uri), what="the artifact is still cleared")
    assert "is Artifact Changed" in refused(world, uri)
    world.upload()
    world.ask("granite-1")
    world.ready(SECOND)
    until(lambda: clears(world, uri), what="the artifact is not cleared again")


def test_a_version_of_another_namespace_clears_nothing_and_says_whose_the_uri_is(world: World) -> None:
    uri = world.uri("granite-1")
    world.upload()
    world.apply(world.registry(allowedNamespaces={"from": "All"}), world.model(), world.version(state="Draft"))
    owner = world.phase("granite-1", "Draft")
    # Times of objects are in whole seconds; who is first within one is decided by the uid.
    came = owner["metadata"]["creationTimestamp"]
    until(lambda: timestamp(datetime.now(UTC)) > came, what="the second in which the owner came does not end")
    stranger = f"{world.namespace}-low"
    world.apply(namespace_manifest(stranger))
    try:
        for manifest in (world.model("low"), world.version("low-1", modelRef={"name": "low"}, artifact={"uri": uri})):
            manifest["metadata"]["namespace"] = stranger
            if manifest["kind"] == "RegisteredModel":
                manifest["spec"]["registryRef"]["namespace"] = world.namespace
            world.apply(manifest)

        def waits() -> bool:
            found = world.kube.request("GET", f"{API}/namespaces/{stranger}/modelversions/low-1")
            return found["status"].get("phase") == "Waiting" and reason(found) == "UriBelongsToAnother"

        until(waits, what="the stranger's version does not wait")
        assert not clears(world, uri)

        world.apply(world.version())
        world.ready()
        until(lambda: clears(world, uri), what="the owner's version is not cleared")
        assert waits()

        world.delete("ModelVersion", "granite-1")
        until(lambda: not waits(), what="the URI did not pass on when its owner had left")
    finally:
        world.kube.request("DELETE", f"/api/v1/namespaces/{stranger}")


def test_a_bucket_at_two_endpoints_is_cleared_for_nobody_until_one_is_gone(world: World) -> None:
    uri = world.uri("granite-1")
    world.upload()
    world.apply(world.registry(), world.model(), world.version())
    world.ready()
    until(lambda: clears(world, uri), what="the artifact is not cleared")

    rogue = world.registry(objectStores=[world.object_store(endpoint="http://127.0.0.1:9")])
    rogue["metadata"]["name"] = "rogue"
    world.apply(rogue)
    until(lambda: not clears(world, uri), what="the artifact is still cleared")
    waiting = world.phase("granite-1", "Waiting")
    assert reason(waiting) == "BucketHasTwoEndpoints"
    assert "http://127.0.0.1:9" in refused(world, uri)
    for name in ("registry", "rogue"):
        found = world.wait(
            name, lambda body: reason(body) == "BucketHasTwoEndpoints", kind="ModelRegistry", what="says nothing"
        )
        ready = condition(found, "Ready")
        assert ready is not None
        assert f"{world.namespace}/rogue" in ready["message"]
        assert world.endpoint.url in ready["message"]

    world.delete("ModelRegistry", "rogue")
    world.ready()
    until(lambda: clears(world, uri), what="the artifact is not cleared again")
    world.wait("registry", lambda body: reason(body) != "BucketHasTwoEndpoints", kind="ModelRegistry", what="stays")


# What the store shows


@contextlib.contextmanager
def faulty_world(
    installed: RunningControlPlane, minio: S3Endpoint, *, interval: str, grace: str
) -> Iterator[tuple[World, FaultStore]]:
    """A world whose artifact is cleared, in a store that fails as it is told."""
    with FaultyStore() as server, make_world(installed, minio, interval=interval, grace=grace) as made:
        store = server.store
        store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        made.apply(
            made.registry(objectStores=[{"uriPrefix": "s3://models/", "endpoint": store.url, "tls": "Disabled"}]),
            made.model(),
        )
        made.apply(made.version(artifact={"uri": FAULTY}))
        made.bucket = "models"
        made.ready()
        until(lambda: clears(made, FAULTY), what="the artifact is not cleared")
        yield made, store


@pytest.fixture
def faulty(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[tuple[World, FaultStore]]:
    """A faulty world of which an outage is none for a day."""
    with faulty_world(installed, minio, interval="1h", grace="24h") as made:
        yield made


def test_whoever_changes_a_file_and_keeps_it_from_being_read_keeps_nothing_cleared(
    faulty: tuple[World, FaultStore], operator: Operator
) -> None:
    """Hours of grace are for outages: what the list shows is another object."""
    world, store = faulty
    store.objects["granite-1/tokenizer.json"] = b'{"another": "file"}'
    store.fail("read", code(403, "AccessDenied"), forever=True)
    world.ask("granite-1")

    shut = world.wait("granite-1", lambda body: reason(body) == "ListingDiffers", what="is still cleared")
    assert "AccessDenied" in str(condition(shut, "Ready"))
    assert shut["status"]["clearedFor"] == []
    until(lambda: not clears(world, FAULTY), what="the artifact is still cleared")

    operator.stop()
    operator.start()
    world.wait("granite-1", lambda body: reason(body) == "ListingDiffers", what="is cleared again by a restart")
    assert not clears(world, FAULTY)

    store.objects["granite-1/tokenizer.json"] = MINIATURE["tokenizer.json"]
    store.faults.clear()
    store.forever.clear()
    world.ask("granite-1")
    world.ready()
    until(lambda: clears(world, FAULTY), what="the artifact is not cleared again")


def test_whoever_rewrites_a_small_file_all_the_time_keeps_nothing_cleared(faulty: tuple[World, FaultStore]) -> None:
    world, store = faulty
    numbers = itertools.count()

    def rewrite(operation: str, _key: str) -> None:
        if operation == "read":
            store.objects["granite-1/tokenizer.json"] = b'{"number": %d}' % next(numbers)

    store.objects["granite-1/tokenizer.json"] = b'{"first": true}'
    store.after = rewrite
    world.ask("granite-1")
    world.wait("granite-1", lambda body: reason(body) == "ListingDiffers", what="is still cleared")
    until(lambda: not clears(world, FAULTY), what="the artifact is still cleared")


def test_an_outage_beyond_the_grace_takes_the_artifact_off(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with faulty_world(installed, minio, interval="1s", grace="3s") as (made, store):
        store.fail("list", code(500, "InternalError"), forever=True)
        made.wait("granite-1", lambda body: not body["status"].get("clearedFor"), what="outlasts the grace")
        until(lambda: not clears(made, FAULTY), what="the artifact is still cleared")

        store.faults.clear()
        store.forever.clear()
        made.ready()
        until(lambda: clears(made, FAULTY), what="the artifact is not cleared again")
