"""The drills of docs/backup.md with its own commands: restored, of yesterday, and made again from the objects alone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import text

from cluster.faultstore import code, stalling
from cluster.rig import Operator, until
from cluster.servers import FaultyStore
from cluster.status import Manifest, condition
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

KINDS = ["sqlite", "mariadb", "postgres"]
TABLES = ("registered_models", "model_versions", "artifact_files", "history")
TRIES = 6
"""The backoff between them comes to some six seconds."""
DOCUMENT = Path(__file__).parents[3] / "docs/backup.md"


def documented(kind: str, step: str) -> str:
    """The commands of a step, as they stand in the document."""
    [found] = re.findall(rf"<!-- {kind} {step} -->\n```\n(.*?)\n```\n", DOCUMENT.read_text(), re.DOTALL)
    return str(found)


class Site:
    """A world whose database can be backed up, dropped and restored."""

    def __init__(self, kind: str, world: World, operator: Operator, folder: Path) -> None:
        self.kind, self.world, self.operator, self._folder = kind, world, operator, folder

    @property
    def file(self) -> Path:
        return self.operator.data_dir / f"{self.world.namespace}.registry.db"

    def backup(self) -> None:
        self._run("backup")

    def restore(self) -> None:
        self._run("restore")

    def drop(self) -> None:
        """The database is gone."""
        if self.world.database is None:
            for suffix in ("", "-wal", "-shm"):
                self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
            return
        name = self.world.database.database
        administer(self.world.database, f"DROP DATABASE {name}{' WITH (FORCE)' if self.kind == 'postgres' else ''}")

    def create(self) -> None:
        """The database is there again, with nothing in it."""
        if self.world.database is not None:
            administer(self.world.database, f"CREATE DATABASE {self.world.database.database}")

    def content(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table."""
        return {
            table: self.world.query(self.operator, text(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4"))  # noqa: S608
            for table in TABLES
        }

    def objects(self) -> list[Manifest]:
        """Everything that the operator writes to the cluster, Events left out."""
        return [body for kind in ("RegisteredModel", "ModelVersion", "ConfigMap") for body in self.world.all(kind)]

    def _run(self, step: str) -> None:
        given = {"DB_FILE": str(self.file)}
        if (database := self.world.database) is not None:
            given = {"DB_HOST": database.host, "DB_PORT": str(database.port), "DB_USER": database.username}
            given |= {"DB_NAME": database.database, "MYSQL_PWD": database.password, "PGPASSWORD": database.password}
        command = ["bash", "-euo", "pipefail", "-c", documented(self.kind, step)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), **given}
        subprocess.run(command, cwd=self._folder, env=environment, check=True, timeout=60, stdin=subprocess.DEVNULL)


def administer(database: LocalDatabase, statement: str) -> None:
    """Runs a statement beside the database, not in it."""
    where = {"host": database.host, "port": database.port, "user": database.username, "password": database.password}
    if database.kind == "mariadb":
        with contextlib.closing(pymysql.connect(**where, autocommit=True)) as plain, plain.cursor() as cursor:
            cursor.execute(statement)
    else:
        with psycopg.connect(**where, dbname="gatehouse", autocommit=True) as connection:
            connection.execute(statement)


def own_database(server: LocalDatabase) -> LocalDatabase:
    return dataclasses.replace(server, database=f"restore_{secrets.token_hex(4)}")


@pytest.fixture(params=KINDS)
def site(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Site]:
    kind = request.param
    database = None if kind == "sqlite" else own_database(request.getfixturevalue(kind))
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(installed, minio, database=database))
        arguments = ("--probe-interval=1s", "--secret-interval=1s")
        operator = Operator(installed, tmp_path, namespaces=(world.namespace,), arguments=arguments)
        made = Site(kind, world, operator, tmp_path)
        made.create()
        stack.callback(made.drop)
        stack.enter_context(contextlib.closing(operator))
        world.apply(world.registry(), world.model())
        operator.start()
        yield made


def register(world: World, *numbers: int) -> None:
    for number in numbers:
        name = f"granite-{number}"
        world.upload(name, {**MINIATURE, "README.md": f"# Number {number}\n".encode()})
        world.apply(world.version(name))
        world.ready(name)


def delete(site: Site, name: str) -> None:
    """Returns when the row is archived, and the controllers of the cluster have taken the template away."""
    site.world.delete("ModelVersion", name)
    until(lambda: rows_by_version(site)[name]["state"] == "ARCHIVED", what="the row is not archived")
    until(lambda: f"{name}-serving" not in site.world.templates(), what="the template is not collected")


def ids(world: World) -> dict[str, str]:
    return {body["metadata"]["name"]: body["status"]["registryId"] for body in world.all("ModelVersion")}


def rows_by_version(site: Site) -> dict[str, dict[str, Any]]:
    return {row["version"]: row for row in site.world.rows(site.operator)}


def reasons(site: Site, version: str) -> list[str]:
    statement = text(
        "SELECT h.reason FROM history h JOIN model_versions v ON h.version_id = v.id WHERE v.version = :v ORDER BY h.id"
    )
    return [row["reason"] for row in site.world.query(site.operator, statement, v=version)]


def test_the_database_dropped_and_restored_has_lost_nothing(site: Site) -> None:
    world, operator = site.world, site.operator
    register(world, 1, 2, 3)
    delete(site, "granite-3")
    world.apply(world.version("granite-2", state="Deprecated"))
    world.phase("granite-2", "Deprecated")
    world.wait_told()
    operator.wait_idle()
    assert operator.stop() == 0
    content, objects = site.content(), site.objects()
    assert [len(content[table]) for table in TABLES] == [1, 3, 3 * (len(MINIATURE)), 5]
    site.backup()
    site.drop()
    site.create()
    site.restore()
    operator.start()
    assert operator.metrics().api_writes == {}
    assert operator.metrics().row_writes == {}
    assert operator.metrics().sum("gatehouse_row_writes_total") == 0
    assert site.content() == content
    assert site.objects() == objects
    assert "rows of registered objects are missing" not in operator.text()


def from_yesterday(site: Site) -> dict[str, str]:
    """A backup, and what came after it: new versions, one that is deprecated now, one that was deleted; the ids."""
    world = site.world
    register(world, 1, 2, 3)
    site.backup()
    register(world, 4, 5)
    world.apply(world.version("granite-2", state="Deprecated"))
    world.phase("granite-2", "Deprecated")
    delete(site, "granite-3")
    world.wait_told()
    site.operator.wait_idle()
    return ids(world)


def caught_up(site: Site) -> bool:
    """Whether the rows tell again what the objects do."""
    rows = rows_by_version(site)
    phases = {name: row["phase"] for name, row in rows.items()}
    return phases == {
        "granite-1": "Ready to Deploy",
        "granite-2": "Deprecated",
        "granite-3": "Archived",
        "granite-4": "Ready to Deploy",
        "granite-5": "Ready to Deploy",
    }


def check_caught_up(site: Site, before: dict[str, str], objects: list[Manifest], digests: dict[str, str]) -> None:
    rows = rows_by_version(site)
    assert {name: str(rows[name]["id"]) for name in before} == before == ids(site.world)
    assert {name: row["digest"] for name, row in rows.items()} == digests
    assert [reasons(site, name) for name in ("granite-4", "granite-5")] == [["Rebuilt"], ["Rebuilt"]]
    assert reasons(site, "granite-1") == ["ReadyToDeploy"]
    assert len(site.world.files(site.operator, "granite-5")) == len(MINIATURE)
    assert "rows of registered objects are missing" in site.operator.text()
    assert site.objects() == objects
    # The restored database would number the next row as one of the lost ones.
    register(site.world, 6)
    highest = max(map(int, before.values()))
    assert int(ids(site.world)["granite-6"]) > highest
    site.world.apply(site.world.model("another"))
    another = site.world.final("another", kind="RegisteredModel")
    granite = site.world.get("RegisteredModel", "granite")
    assert granite is not None
    assert int(another["status"]["registryId"]) > int(granite["status"]["registryId"])


def test_what_yesterdays_backup_lacks_is_registered_again_under_the_same_ids(site: Site) -> None:
    before = from_yesterday(site)
    assert site.operator.stop() == 0
    objects, digests = site.objects(), {name: row["digest"] for name, row in rows_by_version(site).items()}
    site.restore()
    assert rows_by_version(site).keys() == {"granite-1", "granite-2", "granite-3"}
    site.operator.start()
    until(lambda: caught_up(site), what=lambda: str(rows_by_version(site)))
    site.operator.wait_idle()
    check_caught_up(site, before, objects, digests)


def test_a_backup_restored_under_a_running_operator_is_noticed(site: Site) -> None:
    before = from_yesterday(site)
    objects, digests = site.objects(), {name: row["digest"] for name, row in rows_by_version(site).items()}
    site.restore()
    until(lambda: caught_up(site), what=lambda: str(rows_by_version(site)))
    site.operator.wait_idle()
    check_caught_up(site, before, objects, digests)
    assert site.operator.running


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_an_empty_database_is_filled_from_the_objects_alone(site: Site, running: bool) -> None:
    world, operator = site.world, site.operator
    register(world, 1, 2, 3)
    changed = world.get("ModelVersion", "granite-2")
    assert changed is not None
    recorded = changed["status"]["artifact"]["digest"]
    files = {**MINIATURE, "README.md": b"# Other bytes\n"}
    world.upload("granite-2", files)
    world.ask("granite-2")
    shut = world.phase("granite-2", "Artifact Changed")
    assert shut["status"]["recordedDigest"] == recorded != shut["status"]["artifact"]["digest"]
    world.apply(world.version("granite-3", state="Archived"))
    world.phase("granite-3", "Archived")
    world.wait_told()
    operator.wait_idle()
    before, model = ids(world), world.get("RegisteredModel", "granite")
    assert model is not None
    digests = {name: row["digest"] for name, row in rows_by_version(site).items()}
    if not running:
        assert operator.stop() == 0
    site.drop()
    site.create()
    if not running:
        operator.start()

    def filled() -> bool:
        with contextlib.suppress(Exception):  # there are no tables at first
            rows = rows_by_version(site)
            return {name: (str(row["id"]), row["digest"]) for name, row in rows.items()} == {
                name: (before[name], digests[name]) for name in before
            }
        return False

    until(filled, what=operator.tail, seconds=60)
    operator.wait_idle()
    assert {name: reasons(site, name)[0] for name in before} == dict.fromkeys(before, "Rebuilt")
    [row] = world.rows(operator, "registered_models")
    assert (str(row["id"]), row["uid"]) == (model["status"]["registryId"], model["metadata"]["uid"])
    assert {name: body["state"] for name, body in rows_by_version(site).items()} == {
        "granite-1": "LIVE",
        "granite-2": "LIVE",
        "granite-3": "ARCHIVED",
    }
    world.ready("granite-1")
    held = world.phase("granite-2", "Artifact Changed")
    assert held["status"]["recordedDigest"] == recorded
    # The recorded bytes are still the only ones that the version may have.
    world.upload("granite-2", {**MINIATURE, "README.md": b"# Number 2\n"})
    world.ask("granite-2")
    healed = world.ready("granite-2")
    assert healed["status"]["artifact"]["digest"] == recorded
    assert "recordedDigest" not in healed["status"]


def test_two_objects_that_know_one_id_get_two(site: Site) -> None:
    world, operator = site.world, site.operator
    register(world, 1, 2)
    assert operator.stop() == 0
    one = ids(world)["granite-1"]
    world.patch_status("ModelVersion", "granite-2", {"registryId": one})
    site.drop()
    site.create()
    operator.start()
    until(lambda: len(set(ids(world).values())) == 2, what=lambda: f"{ids(world)}: {operator.tail()}")
    assert one in ids(world).values()
    assert {name: str(row["id"]) for name, row in rows_by_version(site).items()} == ids(world)
    for name in ("granite-1", "granite-2"):
        world.ready(name)


def test_a_version_whose_row_is_made_again_stays_ready_while_it_is_hashed(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path
) -> None:
    with FaultyStore() as faulty, contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(installed, minio))
        operator = Operator(installed, tmp_path, namespaces=(world.namespace,), arguments=("--probe-interval=1s",))
        stack.enter_context(contextlib.closing(operator))
        faulty.store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        stores = [{"uriPrefix": "s3://models/", "endpoint": faulty.store.url, "tls": "Disabled"}]
        world.apply(world.registry(objectStores=stores), world.model())
        world.apply(world.version(artifact={"uri": "s3://models/granite-1/"}))
        operator.start()
        before = world.ready()
        faulty.store.fail("read", stalling(4), forever=True)
        for table in ("history", "artifact_files", "model_versions"):
            world.query(operator, text(f"DELETE FROM {table}"))  # noqa: S608 - a table of ours
        lost = world.wait("granite-1", lambda body: condition(body, "Reconciling"), what="does not say so")
        said = condition(lost, "Reconciling")
        assert said is not None
        assert said["reason"] == "ProgressingWithRetry"
        assert said["message"].startswith("RowLost: the database has lost the row")
        assert lost["status"]["phase"] == "Ready to Deploy"
        assert condition(lost, "Ready") == condition(before, "Ready")
        assert world.templates() == ["granite-1-serving"]
        assert world.rows(operator) == []
        faulty.store.faults.clear()
        faulty.store.forever.clear()
        again = world.wait("granite-1", lambda body: not condition(body, "Reconciling"), what="does not heal")
        assert again["status"] == before["status"]
        assert [str(row["id"]) for row in world.rows(operator)] == [before["status"]["registryId"]]
        assert world.history(operator) == ["Ready to Deploy"]


def test_a_request_that_stays_open_in_an_outage_does_not_open_the_database_again_and_again(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path
) -> None:
    with FaultyStore() as faulty, contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(installed, minio))
        operator = Operator(installed, tmp_path, namespaces=(world.namespace,))
        stack.enter_context(contextlib.closing(operator))
        faulty.store.objects = {f"granite-1/{path}": content for path, content in MINIATURE.items()}
        stores = [{"uriPrefix": "s3://models/", "endpoint": faulty.store.url, "tls": "Disabled"}]
        world.apply(world.registry(objectStores=stores), world.model())
        world.apply(world.version(artifact={"uri": "s3://models/granite-1/"}))
        operator.start()
        world.ready()
        assert operator.stop() == 0
        for table in ("history", "artifact_files", "model_versions"):
            world.query(operator, text(f"DELETE FROM {table}"))  # noqa: S608 - a table of ours
        faulty.store.fail("list", code(500, "InternalError"), forever=True)
        world.ask("granite-1")
        operator.start(wait=False)

        def tried() -> bool:
            with contextlib.suppress(OSError):
                return operator.metrics().sum("gatehouse_reconciles_total", kind="modelversions") >= TRIES
            return False

        until(tried, what=lambda: f"is not tried again: {operator.tail()}")
        # At the start, and once because somebody asked.
        assert operator.text().count("rows of registered objects are missing") <= 2
        faulty.store.faults.clear()
        faulty.store.forever.clear()
        world.ask("granite-1")
        healed = world.wait(
            "granite-1", lambda body: body["status"].get("lastHandledReconcileAt"), what="is not handled"
        )
        assert healed["status"]["phase"] == "Ready to Deploy"
        assert world.history(operator) == ["Ready to Deploy"]
