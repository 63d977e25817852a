"""Whether Gatehouse read every byte is a fact about each file, not what the registry trusts at the moment."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from cluster.faultstore import code, stalling
from cluster.rig import Operator
from cluster.servers import FaultyStore
from cluster.status import Manifest
from cluster.world import API, MINIATURE, World, make_world
from gatehouse.controllers.verification.verifier import CHECKSUM_WORTH_BYTES
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

LARGE = "tokenizer.json"
"""The one file that is worth asking the store for its checksum."""
FILES = {**MINIATURE, LARGE: b'{"pad": "' + b"x" * CHECKSUM_WORTH_BYTES + b'"}'}
NAMESPACES = [f"depth-{secrets.token_hex(3)}" for _ in range(6)]
READ: Manifest = {"artifact": {"verification": "Content"}}


@pytest.fixture(scope="module")
def worlds() -> Iterator[contextlib.ExitStack]:
    """Keeps every world until the operator has ended: it would count what comes of a namespace that goes."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def operator(
    worlds: contextlib.ExitStack, installed: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator that sees the namespaces of this module only, so that it counts nothing else."""
    folder = tmp_path_factory.mktemp("operator")
    with contextlib.closing(Operator(installed, folder, namespaces=NAMESPACES)) as running:
        yield running.start()


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    """A namespace for each world."""
    return iter(NAMESPACES)


@pytest.fixture
def world(
    worlds: contextlib.ExitStack, installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, names: Any
) -> World:
    """A world with a version that is verified, its largest file by MinIO's own SHA-256."""
    made = worlds.enter_context(make_world(installed, minio, namespace=next(names)))
    for name, content in FILES.items():
        made.store.put_object(Bucket=made.bucket, Key=f"granite-1/{name}", Body=content, ChecksumAlgorithm="SHA256")
    made.apply(made.registry(), made.model(), made.version())
    assert source(made.ready()) == "Mixed"
    assert sources(made, operator)[LARGE] == "StoreChecksum"
    operator.wait_idle()
    return made


@contextlib.contextmanager
def policy(world: World, **spec: Any) -> Iterator[None]:
    """A policy for the world's namespace."""
    labels = {"kubernetes.io/metadata.name": world.namespace}
    world.apply(
        {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "GovernancePolicy",
            "metadata": {"name": world.namespace},
            "spec": {"match": {"namespaceSelector": {"matchLabels": labels}}, **spec},
        }
    )
    try:
        yield
    finally:
        world.kube.request("DELETE", f"{API}/governancepolicies/{world.namespace}")


def source(version: Manifest) -> str | None:
    found: str | None = version["status"]["artifact"].get("contentSource")
    return found


def sources(world: World, operator: Operator) -> dict[str, str | None]:
    return {row["path"]: row["source"] for row in world.rows(operator, "artifact_files")}


def was_read(version: Manifest) -> bool:
    return source(version) == "Bytes" and version["status"]["phase"] == "Ready to Deploy"


def gate(version: Manifest) -> Manifest:
    """The gate of the policies before the first stage."""
    found: Manifest = next(each for each in version["status"]["gates"] if each["name"] == "PolicyCompliant")
    return found


def test_a_policy_that_wants_bytes_read_has_them_read(world: World, operator: Operator) -> None:
    digest = world.ready()["status"]["artifact"]["digest"]
    before = operator.metrics()

    with policy(world, **READ):
        found = world.wait("granite-1", was_read, what="was not read")
        operator.wait_idle()

    assert found["status"]["artifact"]["digest"] == digest
    assert set(sources(world, operator).values()) == {"Bytes"}
    assert world.history(operator) == ["Ready to Deploy"]
    spent = operator.metrics().sum("gatehouse_store_read_bytes_total") - before.sum("gatehouse_store_read_bytes_total")
    assert len(FILES[LARGE]) <= spent < len(FILES[LARGE]) + sum(map(len, MINIATURE.values()))


def test_turned_off_trust_reads_what_the_store_hashed_and_a_policy_does_not_count_it_as_read(
    world: World, operator: Operator
) -> None:
    # Nobody may read: what the store says of the files stands, but is not what the policy wants.
    world.apply(world.registry(verification={"content": False, "trustStoreChecksums": False}))
    with policy(world, **READ):
        denied = world.phase("granite-1", "Policy Denied")
        assert gate(denied)["found"].startswith("the store computed the SHA-256 of some files")
        assert "verification.content" in gate(denied)["remedy"]
        world.apply(world.registry(verification={"trustStoreChecksums": False}))
        world.wait("granite-1", was_read, what="was not read")
    assert set(sources(world, operator).values()) == {"Bytes"}


def test_turned_off_trust_reads_without_any_policy(world: World, operator: Operator) -> None:
    world.apply(world.registry(verification={"trustStoreChecksums": False}))

    world.wait("granite-1", was_read, what="was not read")
    assert set(sources(world, operator).values()) == {"Bytes"}
    assert world.history(operator) == ["Ready to Deploy"]


def test_an_upgrade_reads_and_writes_nothing_until_a_policy_wants_it(world: World, operator: Operator) -> None:
    assert operator.stop() == 0
    version = as_it_was_before(world, operator)
    operator.start()

    now = operator.metrics()
    assert now.row_writes == {}
    assert not {"patch modelversions", "create configmaps", "patch configmaps"} & now.api_writes.keys()
    assert now.store_requests <= len(NAMESPACES)  # the probe of each registry's store
    assert world.get("ModelVersion", "granite-1") == version
    assert set(sources(world, operator).values()) == {None}

    with policy(world, **READ):
        world.wait("granite-1", was_read, what="was not read")
    assert set(sources(world, operator).values()) == {"Bytes"}


@pytest.fixture
def faulty(
    worlds: contextlib.ExitStack, installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, names: Any
) -> Iterator[tuple[World, FaultyStore]]:
    """A world whose store fails as it is told, with a version whose row says that the store hashed all files."""
    with FaultyStore() as faulty:
        made = worlds.enter_context(make_world(installed, minio, namespace=next(names)))
        # A bucket of its own: one of the same name at another endpoint is nobody's.
        faulty.store.bucket = made.bucket
        faulty.store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        made.apply(store_of(made, faulty), made.model(), made.version())
        assert source(made.ready()) == "Bytes"
        assert operator.stop() == 0
        [row] = made.rows(operator)
        artifact = json.dumps({**json.loads(row["artifact"]), "content_source": "StoreChecksum"})
        made.query(operator, text("UPDATE model_versions SET artifact = :artifact"), artifact=artifact)
        made.query(operator, text("UPDATE artifact_files SET source = 'StoreChecksum'"))
        operator.start()
        made.wait("granite-1", lambda body: source(body) == "StoreChecksum")
        yield made, faulty


def store_of(world: World, faulty: FaultyStore, **verification: Any) -> Manifest:
    stores = [{"uriPrefix": f"s3://{world.bucket}/", "endpoint": faulty.store.url, "tls": "Disabled"}]
    return world.registry(objectStores=stores, verification=verification)


def test_what_was_established_stands_while_files_are_read_again(
    faulty: tuple[World, FaultyStore], operator: Operator
) -> None:
    world, server = faulty
    server.store.fail("read", stalling(4), forever=True)
    world.apply(store_of(world, server, trustStoreChecksums=False))

    reading = world.wait("granite-1", lambda body: body["status"].get("verification"), what="shows no progress")
    assert (reading["status"]["phase"], reading["status"]["verification"]["files"]) == ("Ready to Deploy", 8)
    assert world.templates() == ["granite-1-serving"]
    with policy(world, **READ):
        pending = world.phase("granite-1", "Pending Review")
        told = world.wait("granite-1", lambda body: "read so far" in gate(body)["found"], what="does not say how far")
        assert gate(told)["found"] == "the store computed every SHA-256; 0 of 8 files read so far"
        assert pending["status"].get("clearedFor", []) == []
        assert operator.stop() == 0
        server.store.faults.clear()
        server.store.forever.clear()
        operator.start()
        found = world.wait("granite-1", was_read, what="was not read")
    assert "verification" not in found["status"]
    assert set(sources(world, operator).values()) == {"Bytes"}


def test_an_outage_does_not_stand_against_a_policy_that_wants_bytes_read(
    faulty: tuple[World, FaultyStore], operator: Operator
) -> None:
    world, server = faulty
    server.store.fail("read", code(500, "InternalError"), forever=True)
    with policy(world, **READ):
        world.phase("granite-1", "Pending Review")
        told = world.wait(
            "granite-1", lambda body: "Gatehouse cannot read the files" in gate(body)["found"], what="says no reason"
        )
        assert "HTTP 500" in gate(told)["found"]
        assert world.templates() == []
        server.store.faults.clear()
        server.store.forever.clear()
        world.ask("granite-1")
        world.wait("granite-1", was_read, what="was not read")


def as_it_was_before(world: World, operator: Operator) -> Manifest:
    """Makes the database and the status those of a Gatehouse that did not know where hashes are from; the version."""
    [row] = world.rows(operator)
    artifact = json.dumps({key: value for key, value in json.loads(row["artifact"]).items() if key != "content_source"})
    world.query(operator, text("UPDATE model_versions SET artifact = :artifact"), artifact=artifact)
    world.query(operator, text("ALTER TABLE artifact_files DROP COLUMN source"))
    world.query(operator, text("UPDATE gatehouse_schema SET version_num = '0002'"))
    version = world.get("ModelVersion", "granite-1")
    assert version is not None
    status = json.loads(json.dumps(version["status"]).replace(", of some files by the store's own SHA-256", ""))
    status["artifact"]["contentSource"] = None
    return world.patch_status("ModelVersion", "granite-1", status)
