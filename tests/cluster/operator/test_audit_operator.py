"""The audit trail of the real operator: signed, copied to a real store, told as an Event, and verified from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cluster.rig import Operator, until
from cluster.world import World, make_world
from gatehouse.api.model_registry import ObjectStore
from gatehouse.storage.s3.client import S3Stores
from gatehouse_local.ephemeral import RunningControlPlane, RunningVersitygw
from gatehouse_local.errors import ApiRefused
from gatehouse_local.pki import KeyPair, ensure_audit_key
from gatehouse_local.s3 import S3Endpoint, open_store

RETAIN_UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@dataclass(frozen=True)
class Site:
    """A world whose registry copies its checkpoints into a bucket with Object Lock, and its operator."""

    world: World
    operator: Operator
    key: KeyPair

    @property
    def archive(self) -> str:
        return f"{self.world.namespace}-audit"

    def copies(self) -> list[str]:
        listed = self.world.store.list_objects_v2(Bucket=self.archive, Prefix="trail/")
        return [each["Key"] for each in listed.get("Contents", ())]

    def audit(self, *arguments: str) -> tuple[int, Any]:
        """Exit code and JSON of ``gatehouse audit``, as an auditor runs it."""
        credentials = self.world.endpoint.credentials
        environ = {
            **os.environ,
            "GATEHOUSE_DATABASE_URL": self.world.database_url(self.operator),
            "GATEHOUSE_AUDIT_PUBLIC_KEY": str(self.key.public),
            "AWS_ENDPOINT_URL": self.world.endpoint.url,
            "AWS_REGION": self.world.endpoint.region,
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        }
        command = [sys.executable, "-m", "gatehouse", "audit", *arguments, "--registry", self.registry, "-o", "json"]
        ended = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
        assert ended.stdout, ended.stderr
        return ended.returncode, json.loads(ended.stdout)

    @property
    def registry(self) -> str:
        return f"{self.world.namespace}/registry"

    def execute(self, statement: str) -> None:
        """A statement against the registry's database, with the registry as its parameter."""
        self.world.query(self.operator, text(statement), registry=self.registry)

    def verify(self) -> tuple[int, Any]:
        return self.audit("verify", "--checkpoints", f"s3://{self.archive}/trail/")


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def site(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """A site whose registry is on each kind of database; others share the servers."""
    database = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    key = ensure_audit_key(tmp_path / "keys")
    arguments = (f"--audit-key={key.private}", "--audit-checkpoint-interval=1s")
    with (
        make_world(installed, minio, database=database) as world,
        contextlib.closing(Operator(installed, tmp_path, arguments=arguments)) as operator,
    ):
        site = Site(world, operator.start(), key)
        world.store.create_bucket(Bucket=site.archive, ObjectLockEnabledForBucket=True)
        world.upload()
        archive = world.object_store(uriPrefix=f"s3://{site.archive}/")
        world.apply(
            world.registry(objectStores=[world.object_store(), archive], audit={"uri": f"s3://{site.archive}/trail/"}),
            world.model(),
            world.version(),
        )
        world.ready()
        yield site


def settled(site: Site) -> Any:
    """The verdict once a checkpoint, and its copy, vouch for everything."""

    def vouched() -> Any:
        code, verdict = site.verify()
        assert code == 0, verdict
        return verdict if verdict["last"] and verdict["vouched"] == verdict["last"] else None

    return until(vouched, what="no checkpoint came")


def test_what_the_operator_does_is_signed_copied_and_told(site: Site) -> None:
    verdict = settled(site)
    assert verdict["records"] >= 3
    assert [note for note in verdict["notes"] if "give" in note] == []
    copies = until(site.copies, what="no copy came")
    kept = site.world.store.get_object_retention(Bucket=site.archive, Key=copies[0])["Retention"]
    assert kept["Mode"] == "GOVERNANCE"
    assert kept["RetainUntilDate"] > datetime.now(UTC) + timedelta(days=3000)
    assert "Normal AuditCheckpoint" in site.world.events("registry", at_least=1, kind="ModelRegistry")
    code, records = site.audit("log", "--kind", "ModelVersion")
    assert code == 0
    (ready,) = [record for record in records if record["after"].get("phase") == "Ready to Deploy"]
    assert ready["digest"].startswith("sha256:")
    assert site.key.private.read_text().splitlines()[1] not in site.operator.text()


def test_a_trail_touched_in_the_database_is_found_and_no_longer_signed(site: Site) -> None:
    settled(site)
    before = set(site.copies())
    site.execute(
        "UPDATE audit_records SET content = REPLACE(content, 'gatehouse', 'nobody') "
        "WHERE registry = :registry AND seq = 2"
    )
    code, verdict = site.verify()
    assert (code, verdict["firstBad"]["kind"], verdict["firstBad"]["position"]) == (1, "Changed", 2)
    site.execute("DELETE FROM audit_checkpoints WHERE registry = :registry")
    site.world.patch("ModelVersion", "granite-1", {"spec": {"state": "Deprecated"}})
    site.world.phase("granite-1", "Deprecated")
    until(
        lambda: "Warning AuditChainBroken" in site.world.events("registry", at_least=1, kind="ModelRegistry"),
        what="no Event tells of it",
    )
    assert set(site.copies()) == before
    code, verdict = site.verify()
    assert code == 1
    assert "CheckpointRemoved" in {finding["kind"] for finding in verdict["findings"]}


def test_a_killed_operator_leaves_a_whole_trail(site: Site) -> None:
    settled(site)
    for number in range(2, 12):
        site.world.upload(f"granite-{number}")
        site.world.apply(site.world.version(f"granite-{number}"))
    site.operator.kill()
    site.operator.start()
    for number in range(2, 12):
        site.world.ready(f"granite-{number}")
    settled(site)
    _, records = site.audit("log", "--kind", "ModelVersion", "--limit", "1000")
    ready = [record["name"] for record in records if record["after"].get("phase") == "Ready to Deploy"]
    assert sorted(ready) == sorted(f"granite-{number}" for number in range(1, 12)), "each is told once"


def test_copies_go_below_a_store_of_the_registry(world: World) -> None:
    with pytest.raises(ApiRefused, match=r"audit\.uri must be below the uriPrefix of one of objectStores"):
        world.apply(world.registry(audit={"uri": "s3://elsewhere/"}))


# Object Lock


@pytest.fixture
async def stores() -> AsyncIterator[S3Stores]:
    class Silent:
        def request(self, operation: str, outcome: str, seconds: float) -> None: ...

        def received(self, amount: int) -> None: ...

    stores = S3Stores(Silent())
    yield stores
    await stores.aclose()


@pytest.mark.parametrize("lock", [True, False])
async def test_copies_are_locked_where_the_bucket_has_object_lock(
    minio: S3Endpoint, stores: S3Stores, lock: bool
) -> None:
    bucket = f"lock-{str(lock).lower()}"
    with contextlib.closing(open_store(minio)) as client:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=lock)
        assert await put(minio, stores, bucket) is lock
        assert client.get_object(Bucket=bucket, Key="a/b.json")["Body"].read() == b"{}"
        if lock:
            kept = client.get_object_retention(Bucket=bucket, Key="a/b.json")["Retention"]
            assert kept["RetainUntilDate"] == RETAIN_UNTIL


async def test_another_store_without_object_lock_takes_the_copy(versitygw: RunningVersitygw, stores: S3Stores) -> None:
    with contextlib.closing(open_store(versitygw.endpoint)) as client:
        client.create_bucket(Bucket="no-lock")
        assert await put(versitygw.endpoint, stores, "no-lock") is False
        assert client.get_object(Bucket="no-lock", Key="a/b.json")["Body"].read() == b"{}"


async def put(endpoint: S3Endpoint, stores: S3Stores, bucket: str) -> bool:
    credentials = (endpoint.credentials.access_key, endpoint.credentials.secret_key)
    store = ObjectStore(uri_prefix=f"s3://{bucket}/", endpoint=endpoint.url, region=endpoint.region)
    archive = stores.archive(store, bucket=bucket, credentials=credentials, ca_pem=None)
    return await archive.put("a/b.json", b"{}", retain_until=RETAIN_UNTIL)
