"""Writes through the real server that break in the middle: nothing is half written, and a retry makes no double.

A write of a governed version is three: the RegisteredModel, the ModelVersion, and the row of the artifact, in this
order. A RegisteredModel alone is whole: it declares a model that the client wrote before.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cluster.registry.databasefaults import connect, execute
from cluster.rig import Operator, until
from cluster.server.doors import V3, Doors, open_doors
from cluster.server.faultyapi import Fault, FaultyApi, faulty_api
from cluster.server.processes import ServerProcess
from cluster.servers import available, restartable_mariadb
from cluster.tokens import account_kubeconfig
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK
from gatehouse_local.s3 import S3Endpoint

LONGEST = 60.0
WAITING = "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO entry_properties%'"


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    retry_after: str | None
    body: Any


def send(server: ServerProcess, token: str, method: str, path: str, body: object = None) -> Said:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=LONGEST)
    with contextlib.closing(connection):
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        return Said(answer.status, answer.getheader("Retry-After"), json.loads(answer.read()))


@dataclass
class Broken:
    """Two servers over one registry, of which the second reaches the API server through what harms its requests."""

    doors: Doors
    operator: Operator
    api: FaultyApi
    server: ServerProcess

    def send(self, method: str, path: str, body: object = None) -> Said:
        return send(self.server, self.doors.submitter, method, f"{V3}{path}", body)

    def recorded_version(self) -> str:
        """A model and a version that are recorded; the id of the version."""
        model = self.send("POST", "/registered_models", {"name": "granite"})
        version = {"name": "1", "registeredModelId": model.body["id"]}
        found: str = self.send("POST", "/model_versions", version).body["id"]
        return found

    def artifact(self, version: str) -> tuple[str, dict[str, str]]:
        """The path and the body of the write that makes the version governed."""
        uri = self.doors.world.uri("granite-1")
        return f"/model_versions/{version}/artifacts", {"artifactType": "model-artifact", "name": "w", "uri": uri}

    def written(self) -> tuple[int, int, int]:
        """How many models and versions the cluster has, and how many artifacts the rows."""
        rows = self.doors.world.rows(self.operator, "entries")
        kinds = Counter(row["kind"] for row in rows)
        objects = [len(self.doors.world.all(kind)) for kind in ("RegisteredModel", "ModelVersion")]
        return objects[0], objects[1], kinds["model_artifact"]


@pytest.fixture
def broken(
    doors: Doors, operator: Operator, installed: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broken]:
    folder, namespace = tmp_path_factory.mktemp("second"), doors.world.namespace
    with faulty_api(installed) as api:
        kubeconfig = api.kubeconfig(account_kubeconfig(installed, namespace, "server", folder=folder))
        arguments = [f"--registry={namespace}/registry", f"--data-dir={operator.data_dir}"]
        with contextlib.closing(ServerProcess(folder, kubeconfig, *arguments)) as server:
            until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
            yield Broken(doors, operator, api, server)


LOST: list[tuple[Fault, str, tuple[int, int, int]]] = [
    ("request lost", "registeredmodels", (0, 0, 0)),
    ("answer lost", "registeredmodels", (1, 0, 0)),
    ("request lost", "modelversions", (1, 0, 0)),
    ("answer lost", "modelversions", (1, 1, 0)),
    ("silent", "modelversions", (1, 0, 0)),
]


@pytest.mark.parametrize(("fault", "plural", "left"), LOST, ids=[f"{fault} {plural}" for fault, plural, _ in LOST])
def test_an_api_server_that_fails_in_mid_write_is_503_and_a_retry_makes_no_double(
    broken: Broken, fault: Fault, plural: str, left: tuple[int, int, int]
) -> None:
    path, body = broken.artifact(broken.recorded_version())
    broken.api.arm(fault, plural)
    said = broken.send("POST", path, body)
    assert broken.api.reached.is_set()
    assert (said.status, said.body["code"]) == (503, "Service Unavailable"), said
    assert int(said.retry_after or 0) > 0
    assert said.body["message"] == "the Kubernetes API does not answer"
    assert broken.written() == left
    if left[1]:
        broken.doors.world.ready("granite-1")
    again = broken.send("POST", path, body)
    assert again.status == 201, again
    assert broken.written() == (1, 1, 1)
    assert broken.send("GET", path).body["size"] == 1
    broken.doors.world.ready("granite-1")
    assert (broken.written(), broken.send("GET", path).body["size"]) == ((1, 1, 1), 1)


@pytest.mark.parametrize(("plural", "left"), [("registeredmodels", (0, 0, 0)), ("modelversions", (1, 0, 0))])
def test_a_token_that_expires_between_two_calls_of_a_request_is_401(
    broken: Broken, installed: RunningControlPlane, plural: str, left: tuple[int, int, int]
) -> None:
    """The API server itself judges a token of its own that ended an hour ago."""
    path, body = broken.artifact(broken.recorded_version())
    broken.api.expired_token = ended(broken.doors.submitter, installed)
    broken.api.arm("expired", plural)
    said = broken.send("POST", path, body)
    assert (said.status, said.body["code"]) == (401, "Unauthorized"), said
    assert "does not take the caller's token: it expired" in said.body["message"]
    assert broken.written() == left
    assert broken.api.expired_token not in broken.server.log.read_text()
    assert broken.send("POST", path, body).status == 201
    assert broken.written() == (1, 1, 1)


def ended(token: str, plane: RunningControlPlane) -> str:
    """The token as it would be after its end, signed as the API server signs."""
    [file] = plane.authority.parents[1].rglob("service-account.key")
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    header, claims, _ = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    said |= {name: said[name] - 7_200 for name in ("exp", "iat", "nbf")}
    text = f"{header}.{encoded(json.dumps(said).encode())}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def test_a_client_that_hangs_up_in_mid_write_leaves_a_whole_write(broken: Broken) -> None:
    path, body = broken.artifact(broken.recorded_version())
    broken.api.arm("held", "registeredmodels")
    with socket.create_connection((LOOPBACK, broken.server.port), 10) as client:
        client.sendall(request(broken, path, json.dumps(body).encode()))
        assert broken.api.reached.wait(10)
    assert broken.written() == (0, 0, 0)
    broken.api.let_go.set()
    until(lambda: broken.written() == (1, 1, 1), what=lambda: str(broken.written()))
    assert broken.send("GET", path).body["size"] == 1
    assert broken.server.process.poll() is None


def test_a_client_that_hangs_up_in_its_body_leaves_nothing(broken: Broken) -> None:
    path, body = broken.artifact(broken.recorded_version())
    content = json.dumps(body).encode()
    for length in (0, 1, len(content) - 1):
        with socket.create_connection((LOOPBACK, broken.server.port), 10) as client:
            client.sendall(request(broken, path, content)[: length - len(content)])
    gone = 'route="/api/model_registry/v1alpha3/model_versions/{id}/artifacts",status="499"} 3.0'
    until(
        lambda: gone in broken.server.get("/metrics", port=broken.server.health)[1],
        what=lambda: broken.server.get("/metrics", port=broken.server.health)[1],
    )
    assert broken.written() == (0, 0, 0)
    assert broken.send("POST", path, body).status == 201


def request(broken: Broken, path: str, content: bytes) -> bytes:
    lines = (
        f"POST {V3}{path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Authorization: Bearer {broken.doors.submitter}",
        f"Content-Length: {len(content)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def test_of_clients_that_create_the_same_name_at_once_one_succeeds(broken: Broken) -> None:
    """Through two servers that share a database, which alone decides."""
    servers = [broken.doors.server, broken.server] * 4
    barrier = threading.Barrier(len(servers))

    def create(server: ServerProcess, name: str) -> Said:
        barrier.wait(10)
        return send(server, broken.doors.submitter, "POST", f"{V3}/registered_models", {"name": name})

    with ThreadPoolExecutor(len(servers)) as pool:
        for name in ("one", "two", "three"):
            said = list(pool.map(create, servers, [name] * len(servers)))
            assert Counter(each.status for each in said) == {201: 1, 409: 7}, said
            assert {each.body["code"] for each in said if each.status == 409} == {"Conflict"}
    names = Counter(row["name"] for row in broken.doors.world.rows(broken.operator, "registered_models"))
    assert names == {"one": 1, "two": 1, "three": 1}


def test_a_database_that_is_killed_in_mid_write_is_503_and_a_retry_makes_no_double(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, tmp_path: Path
) -> None:
    """The row of the entry is in an open transaction while the row of its property waits for a lock."""
    with available(restartable_mariadb()) as (machine, database):
        machine.start()
        with open_doors(installed, minio, operator, tmp_path, database=database) as doors:
            entry = {
                "name": "granite",
                "customProperties": {"a": {"metadataType": "MetadataStringValue", "string_value": "b"}},
            }

            def create() -> Said:
                return send(doors.server, doors.submitter, "POST", f"{V3}/registered_models", entry)

            with contextlib.closing(connect(database)) as locking, ThreadPoolExecutor(1) as pool:
                with contextlib.closing(locking.cursor()) as cursor:
                    cursor.execute("LOCK TABLES entry_properties WRITE")
                writing = pool.submit(create)
                waiting = (
                    "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO entry_properties%'"
                )
                until(lambda: execute(database, waiting), what=lambda: str(writing))
                machine.kill()
                began = time.monotonic()
                said = writing.result(LONGEST)
                assert time.monotonic() - began < 30
            assert (said.status, said.body["code"]) == (503, "Service Unavailable"), said
            assert int(said.retry_after or 0) > 0
            assert database.host not in said.body["message"]
            assert database.password not in doors.server.log.read_text()
            machine.start()
            until(lambda: doors.server.answers("/readyz/health", (200, "OK")), what=doors.server.log.read_text)
            tables = ("registered_models", "entry_properties")
            assert [execute(database, f"SELECT COUNT(*) FROM {table}") for table in tables] == [[(0,)], [(0,)]]  # noqa: S608
            assert create().status == 201
            assert [execute(database, f"SELECT COUNT(*) FROM {table}") for table in tables] == [[(1,)], [(1,)]]  # noqa: S608
            assert create().status == 409
