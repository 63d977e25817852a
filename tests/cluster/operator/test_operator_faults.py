"""Outages of the store and the database as people see them: what holds, what is said, and that it heals by itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from cluster.faultstore import Fault, abort, code, stalling, truncated
from cluster.rig import Operator, until
from cluster.servers import FaultyStore, Restartable, available, restartable_mariadb, restartable_minio
from cluster.status import Manifest, condition, kstatus
from cluster.world import MINIATURE, World, make_world, secret
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint


def shown(body: Manifest, type_: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; empty when it is not there."""
    found = condition(body, type_)
    return (found["status"], found["reason"], found["message"]) if found else ("", "", "")


def retrying(body: Manifest) -> bool:
    return shown(body, "Reconciling")[1] == "ProgressingWithRetry"


def ready(body: Manifest) -> bool:
    return shown(body, "Ready")[0] == "True"


def asked_until_ready(world: World, name: str = "granite-1") -> Manifest:
    """Asks for a look, as somebody has mended what nobody watches. Once: each request is a write of the object."""
    world.ask(name)
    return world.wait(
        name, lambda body: ready(body) and condition(body, "Reconciling") is None, what="is not ready though asked"
    )


def everything_said(world: World, operator: Operator) -> str:
    """Log, objects and Events in which no secret may stand; the Secrets themselves left out."""
    kinds = ("ModelRegistry", "RegisteredModel", "ModelVersion", "ConfigMap", "Event")
    return operator.text() + json.dumps([world.all(kind) for kind in kinds])


# The database


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Restartable, LocalDatabase]]:
    """A MariaDB of this module's own; each test brings it into the state that it needs."""
    with available(restartable_mariadb()) as found:
        yield found


@pytest.fixture
def on_mariadb(
    server: tuple[Restartable, LocalDatabase], installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> Iterator[World]:
    with make_world(installed, minio, database=server[1]) as world:
        world.upload()
        yield world


def test_a_database_that_comes_late_is_taken_up(
    server: tuple[Restartable, LocalDatabase], on_mariadb: World, operator: Operator
) -> None:
    database, address = server
    database.stop()
    world = on_mariadb
    world.apply(world.registry(), world.model(), world.version())
    for kind, name in (("ModelRegistry", "registry"), ("RegisteredModel", "granite"), ("ModelVersion", "granite-1")):
        waiting = world.wait(name, retrying, kind=kind, what="is not retried")
        status, reason, message = shown(waiting, "Ready")
        assert (status, reason) == ("False", "DatabaseUnavailable")
        assert f"{address.host}:{address.port}" in message
        assert shown(waiting, "Reconciling")[2].startswith("DatabaseUnavailable: ")
    version = world.get("ModelVersion", "granite-1")
    assert version is not None
    assert version["status"]["phase"] == "Verifying"
    database.start()
    world.ready()
    world.final("registry", kind="ModelRegistry")
    world.final("granite", kind="RegisteredModel")
    assert len(world.rows(operator)) == 1
    assert world.history(operator) == ["Ready to Deploy"]


def test_a_database_that_is_lost_leaves_ready_standing_and_heals(
    server: tuple[Restartable, LocalDatabase], on_mariadb: World, operator: Operator
) -> None:
    database, _ = server
    database.start()
    world = on_mariadb
    world.apply(world.registry(), world.model(), world.version())
    before = world.ready()
    database.kill()
    world.ask("granite-1")
    down = world.wait("granite-1", retrying, what="does not say that the database is down")
    assert ready(down)
    assert down["status"]["phase"] == "Ready to Deploy"
    assert down["status"]["artifact"] == before["status"]["artifact"]
    assert down["status"]["template"] == before["status"]["template"]
    assert "DatabaseUnavailable" in shown(down, "Reconciling")[2]
    assert world.templates() == ["granite-1-serving"]
    database.start()
    healed = world.wait("granite-1", lambda body: not retrying(body), what="does not heal")
    assert kstatus(healed) == []
    assert condition(healed, "Ready") == condition(before, "Ready")
    assert world.history(operator) == ["Ready to Deploy"]
    assert world.events("granite-1", at_least=3) == [
        "Normal ReadyToDeploy",
        "Warning ProgressingWithRetry",
        "Normal ReadyToDeploy",
    ]


def test_a_version_applied_during_an_outage_is_ready_after_it(
    server: tuple[Restartable, LocalDatabase], on_mariadb: World, operator: Operator
) -> None:
    database, _ = server
    database.start()
    world = on_mariadb
    world.apply(world.registry(), world.model())
    world.final("registry", kind="ModelRegistry")
    database.kill()
    world.apply(world.version())
    world.wait("granite-1", retrying, what="is not retried")
    world.delete("ModelVersion", "granite-1")
    world.apply(world.version("granite-2", artifact={"uri": world.uri("granite-1")}))
    world.wait("granite-2", retrying, what="is not retried")
    database.start()
    world.ready("granite-2")
    assert [row["version"] for row in world.rows(operator)] == ["granite-2"]


def test_one_database_that_is_down_holds_up_no_other_registry(
    server: tuple[Restartable, LocalDatabase],
    on_mariadb: World,
    operator: Operator,
    installed: RunningControlPlane,
    minio: S3Endpoint,
) -> None:
    database, _ = server
    database.stop()
    on_mariadb.apply(on_mariadb.registry(), on_mariadb.model(), on_mariadb.version())
    on_mariadb.wait("granite-1", retrying, what="is not retried")
    with make_world(installed, minio) as other:
        other.upload()
        other.apply(other.registry(), other.model(), other.version())
        other.ready()
        other.delete("ModelVersion", "granite-1")
        until(lambda: [row["state"] for row in other.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
    database.start()


def test_a_password_that_was_rotated_is_taken_up(
    server: tuple[Restartable, LocalDatabase], on_mariadb: World, operator: Operator
) -> None:
    database, address = server
    database.start()
    world = on_mariadb
    world.secrets(password=f"wrong-{secrets.token_hex(8)}")
    world.apply(world.registry(), world.model(), world.version())
    denied = world.wait("registry", lambda body: condition(body, "Ready"), kind="ModelRegistry")
    assert shown(denied, "Ready")[:2] == ("False", "DatabaseAccessDenied")
    assert "passwordSecret" in shown(denied, "Ready")[2]
    world.secrets()
    world.ask("registry", kind="ModelRegistry")
    asked_until_ready(world)
    # Rotated once more, under connections that are in use; a start of the server sets the first password again.
    rotated = secrets.token_urlsafe(16)
    world.query(operator, text(f"ALTER USER '{address.username}'@'{address.host}' IDENTIFIED BY '{rotated}'"))
    world.database = dataclasses.replace(address, password=rotated)
    [connection] = world.query(
        operator, text("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND db = 'gatehouse'")
    )
    world.query(operator, text(f"KILL {connection['id']}"))
    world.ask("granite-1")
    held = world.wait("granite-1", lambda body: condition(body, "Reconciling"), what="does not say so")
    assert ready(held)
    assert shown(held, "Reconciling")[1] == "DatabaseAccessDenied"
    world.secrets()
    world.ask("registry", kind="ModelRegistry")
    asked_until_ready(world)
    said = everything_said(world, operator)
    assert rotated not in said
    assert address.password not in said
    world.query(operator, text(f"ALTER USER '{address.username}'@'{address.host}' IDENTIFIED BY '{address.password}'"))


def test_tables_of_a_newer_gatehouse_are_left_alone(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with make_world(installed, minio) as world:
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        world.ready()
        world.query(operator, text("UPDATE gatehouse_schema SET version_num = '9999'"))
        assert operator.stop() == 0
        operator.start()
        for kind, name in (("ModelRegistry", "registry"), ("ModelVersion", "granite-1")):
            stalled = world.wait(name, lambda body: condition(body, "Stalled"), kind=kind, what="is not stalled")
            assert shown(stalled, "Stalled")[1] == "SchemaTooNew"
            assert "9999" in shown(stalled, "Stalled")[2]
            assert not ready(stalled)
            assert kstatus(stalled) == []
        world.query(operator, text("UPDATE gatehouse_schema SET version_num = '0001'"))
        world.ask("registry", kind="ModelRegistry")
        world.final("registry", kind="ModelRegistry")
        world.ready()


# The store


@pytest.fixture(scope="module")
def own_minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Restartable, S3Endpoint]]:
    with restartable_minio(tmp_path_factory.mktemp("minio")) as found:
        yield found


def test_a_store_that_is_lost_leaves_ready_standing_and_heals(
    own_minio: tuple[Restartable, S3Endpoint], installed: RunningControlPlane, operator: Operator
) -> None:
    store, endpoint = own_minio
    with make_world(installed, endpoint, interval="1s") as world:
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        before = world.ready()
        store.stop()
        down = world.wait("granite-1", retrying, what="does not say that the store is down")
        assert ready(down)
        assert down["status"]["phase"] == "Ready to Deploy"
        assert endpoint.url in shown(down, "Reconciling")[2]
        world.ask("registry", kind="ModelRegistry")
        registry = world.wait("registry", lambda body: not ready(body), kind="ModelRegistry")
        assert shown(registry, "Ready")[1] == "ObjectStoreUnreachable"
        assert world.templates() == ["granite-1-serving"]
        store.start()
        healed = world.wait("granite-1", lambda body: not retrying(body), what="does not heal")
        assert kstatus(healed) == []
        assert condition(healed, "Ready") == condition(before, "Ready")
        world.ask("registry", kind="ModelRegistry")
        world.final("registry", kind="ModelRegistry")


def test_a_version_is_registered_while_the_store_is_down(
    own_minio: tuple[Restartable, S3Endpoint], installed: RunningControlPlane, operator: Operator
) -> None:
    store, endpoint = own_minio
    store.start()
    with make_world(installed, endpoint) as world:
        world.upload()
        store.stop()
        world.apply(world.registry(), world.model(), world.version())
        down = world.wait("granite-1", retrying, what="does not say that the store is down")
        [row] = world.rows(operator)
        assert (row["state"], row["phase"]) == ("LIVE", "Verifying")
        status = down["status"]
        assert (status["registryId"], status["phase"]) == (str(row["id"]), "Verifying")
        assert status["registry"] == f"{world.namespace}/registry"
        assert status["observedGeneration"] == down["metadata"]["generation"]
        assert shown(down, "Registered")[:2] == ("True", "Registered")
        assert shown(down, "ArtifactVerified")[:2] == ("Unknown", "NotVerified")
        assert shown(down, "Ready")[:2] == ("False", "StoreUnavailable")
        assert endpoint.url in shown(down, "Ready")[2]
        # Whatever the operator says while it tries again, it says the same.
        tried = operator.metrics().sum("gatehouse_reconciles_total", kind="modelversions")
        until(
            lambda: operator.metrics().sum("gatehouse_reconciles_total", kind="modelversions") > tried + 1,
            what="is not tried again",
        )
        assert world.get("ModelVersion", "granite-1") == down
        store.start()
        assert asked_until_ready(world)["status"]["registryId"] == str(row["id"])
        assert world.history(operator) == ["Verifying", "Ready to Deploy"]


def test_what_is_deleted_before_the_store_is_back_is_archived(
    own_minio: tuple[Restartable, S3Endpoint], installed: RunningControlPlane, operator: Operator
) -> None:
    store, endpoint = own_minio
    store.start()
    with make_world(installed, endpoint) as world:
        store.stop()
        world.apply(world.registry(), world.model(), world.version())
        world.wait("granite-1", retrying, what="does not say that the store is down")
        world.delete("ModelVersion", "granite-1")
        until(lambda: [row["state"] for row in world.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
        store.start()


def test_ready_does_not_outlast_the_grace(
    own_minio: tuple[Restartable, S3Endpoint], installed: RunningControlPlane, operator: Operator
) -> None:
    store, endpoint = own_minio
    with make_world(installed, endpoint, interval="1s", grace="2s") as world:
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        world.ready()
        store.stop()
        shut = world.wait("granite-1", lambda body: not ready(body), what="is ready beyond the grace")
        assert shown(shut, "Ready")[1] == "StoreUnavailable"
        assert retrying(shut)
        store.start()
        world.ready()


FAULTS: dict[str, tuple[str, Fault, str, str]] = {
    "403 on a list": ("list", code(403, "AccessDenied"), "AccessDenied", "to list the prefix"),
    "403 on a read": ("read", code(403, "AccessDenied"), "AccessDenied", "to list the prefix"),
    "unknown key": ("list", code(403, "InvalidAccessKeyId"), "CredentialsRejected", "AWS_ACCESS_KEY_ID"),
    "500 on a list": ("list", code(500, "InternalError"), "StoreUnavailable", "HTTP 500"),
    "500 on a read": ("read", code(500, "InternalError"), "StoreUnavailable", "HTTP 500"),
    "503 on a read": ("read", code(503, "SlowDown"), "StoreThrottled", "HTTP 503"),
    "no answer": ("read", abort, "StoreUnavailable", "the connection ended"),
    "too few bytes": ("read", truncated(4), "StoreUnavailable", ""),
    "404 on a list": ("list", code(404, ""), "StoreRefused", "HTTP 404"),
    "wrong region": ("list", code(301, "PermanentRedirect"), "RegionMismatch", "region"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_store_that_fails_is_named_with_what_to_do(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, name: str
) -> None:
    operation, fault, reason, words = FAULTS[name]
    with FaultyStore() as faulty, make_world(installed, minio) as world:
        faulty.store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        faulty.store.fail(operation, fault, forever=True)
        stores = [
            {
                "uriPrefix": "s3://models/",
                "endpoint": faulty.store.url,
                "tls": "Disabled",
                "credentialsSecret": {"name": "store"},
            }
        ]
        world.apply(world.registry(objectStores=stores), world.model())
        world.apply(world.version(artifact={"uri": "s3://models/granite-1/"}))
        failed = world.wait("granite-1", lambda body: shown(body, "Ready")[1] == reason, what=f"is not {reason}")
        status, _, message = shown(failed, "Ready")
        assert status == "False"
        assert faulty.store.url in message
        assert words in message
        said = everything_said(world, operator)
        assert minio.credentials.secret_key not in said
        assert minio.credentials.access_key not in said
        assert "AKIDSECRET" not in said
        faulty.store.faults.clear()
        faulty.store.forever.clear()
        asked_until_ready(world)
        assert world.history(operator) == ["Verifying", "Ready to Deploy"]


def test_a_store_that_stalls_shows_progress_and_blocks_nobody(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with FaultyStore() as faulty, make_world(installed, minio) as world:
        faulty.store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        faulty.store.fail("read", stalling(4), forever=True)
        stores = [{"uriPrefix": "s3://models/", "endpoint": faulty.store.url, "tls": "Disabled"}, world.object_store()]
        world.apply(world.registry(objectStores=stores), world.model())
        world.apply(world.version(artifact={"uri": "s3://models/granite-1/"}))
        verifying = world.phase("granite-1", "Verifying")
        assert shown(verifying, "ArtifactVerified")[:2] == ("Unknown", "Verifying")
        world.upload("granite-2")
        world.apply(world.version("granite-2"))
        world.ready("granite-2")
        # Nor does it hold up the end of the operator, and the next one takes the check up.
        assert operator.stop() == 0
        faulty.store.faults.clear()
        faulty.store.forever.clear()
        operator.start()
        world.ready("granite-1")


def test_a_store_that_falls_silent_leaves_ready_standing_and_heals(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with FaultyStore() as faulty, make_world(installed, minio) as world:
        faulty.store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        stores = [{"uriPrefix": "s3://models/", "endpoint": faulty.store.url, "tls": "Disabled"}]
        world.apply(world.registry(objectStores=stores), world.model())
        world.apply(world.version(artifact={"uri": "s3://models/granite-1/"}))
        before = world.ready("granite-1")
        faulty.store.fail("list", stalling(4), forever=True)
        world.ask("granite-1")
        silent = world.wait("granite-1", retrying, what="does not say that the store is silent")
        assert silent["status"]["phase"] == "Ready to Deploy"
        assert ready(silent)
        assert "has not answered" in shown(silent, "Reconciling")[2]
        assert world.templates() == ["granite-1-serving"]
        faulty.store.faults.clear()
        faulty.store.forever.clear()
        healed = world.wait("granite-1", lambda body: not retrying(body), what="does not heal")
        assert condition(healed, "Ready") == condition(before, "Ready")
        assert world.history(operator) == ["Ready to Deploy"]


def test_a_missing_bucket_is_said_by_the_registry(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with make_world(installed, minio, interval="1s") as world:
        bucket = f"{world.bucket}-later"
        stores = [world.object_store(uriPrefix=f"s3://{bucket}/")]
        world.apply(world.registry(objectStores=stores), world.model())
        world.apply(world.version(artifact={"uri": f"s3://{bucket}/granite-1/"}))
        registry = world.wait("registry", lambda body: condition(body, "Ready"), kind="ModelRegistry")
        assert shown(registry, "Ready")[:2] == ("False", "ObjectStoreUnreachable")
        assert bucket in shown(registry, "Ready")[2]
        world.phase("granite-1", "Artifact Missing")
        world.store.create_bucket(Bucket=bucket)
        world.bucket = bucket
        world.upload()
        world.ready()


def test_credentials_that_are_missing_wrong_and_rotated(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with make_world(installed, minio, interval="1s") as world:
        world.upload()
        world.delete("Secret", "store")
        world.apply(world.registry(), world.model(), world.version())
        # Each kind has a watch of its own, so the version may be seen a moment before its model.
        absent = world.wait("granite-1", lambda body: shown(body, "Ready")[1] == "SecretNotFound")
        assert f"{world.namespace}/store" in shown(absent, "Ready")[2]
        unlabelled = secret("store", world.namespace, {"AWS_ACCESS_KEY_ID": "x"})
        world.apply({**unlabelled, "metadata": {**unlabelled["metadata"], "labels": {}}})
        world.ask("granite-1")
        unnamed = world.wait("granite-1", lambda body: shown(body, "Ready")[1] == "SecretNotLabelled")
        remedy = f"kubectl label secret store -n {world.namespace} gatehouse.dev/use=registry"
        assert remedy in shown(unnamed, "Ready")[2]
        world.apply(unlabelled)
        world.ask("granite-1")
        partial = world.wait("granite-1", lambda body: shown(body, "Ready")[1] == "SecretKeyMissing")
        assert "AWS_SECRET_ACCESS_KEY" in shown(partial, "Ready")[2]
        wrong = f"wrong-{secrets.token_hex(12)}"
        world.secrets(AWS_SECRET_ACCESS_KEY=wrong)
        world.ask("granite-1")
        refused = world.wait("granite-1", lambda body: shown(body, "Ready")[1] == "CredentialsRejected")
        assert minio.url in shown(refused, "Ready")[2]
        world.secrets()
        asked_until_ready(world)
        said = everything_said(world, operator)
        assert wrong not in said
        assert minio.credentials.secret_key not in said


def test_only_the_right_authority_is_trusted(
    installed: RunningControlPlane, minio: S3Endpoint, minio_tls: S3Endpoint, operator: Operator
) -> None:
    assert minio_tls.authority is not None
    right, wrong = minio_tls.authority.read_text(), installed.authority.read_text()
    with make_world(installed, minio_tls) as world:
        world.upload()
        world.apply(secret("ca", world.namespace, {"ca.crt": wrong}))
        stores = [world.object_store(caSecret={"name": "ca", "key": "ca.crt"})]
        world.apply(world.registry(objectStores=stores), world.model(), world.version())
        refused = world.wait("granite-1", lambda body: shown(body, "Ready")[1] == "CertificateRejected")
        assert "caSecret" in shown(refused, "Ready")[2]
        world.apply(secret("ca", world.namespace, {"ca.crt": right}))
        asked_until_ready(world)


def test_an_object_that_is_replaced_while_it_is_read_is_read_again(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with FaultyStore() as faulty, make_world(installed, minio) as world:
        objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        faulty.store.objects = objects
        replaced: list[str] = []

        def replace_once(operation: str, key: str) -> None:
            if operation == "read" and not replaced:
                replaced.append(key)
                objects["granite-1/README.md"] = b"# Replaced while it was read\n"

        faulty.store.after = replace_once
        world.apply(
            world.registry(
                objectStores=[{"uriPrefix": "s3://models/", "endpoint": faulty.store.url, "tls": "Disabled"}]
            )
        )
        world.apply(world.model(), world.version(artifact={"uri": "s3://models/granite-1/"}))
        world.ready()
        hashes = world.files(operator)
        assert hashes["README.md"] == hashlib.sha256(b"# Replaced while it was read\n").hexdigest()
