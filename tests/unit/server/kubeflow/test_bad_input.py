"""What clients may send wrongly, through the whole application: a clear refusal, and nothing half written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatehouse.domain.common.errors import Transient
from gatehouse.registry.database import Database
from unit.server.kubeflow.served import V1, V3, Served, made_run, served

TEXT = {"metadataType": "MetadataStringValue", "string_value": "x"}
LARGEST = 1_048_576


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, max_body=LARGEST) as door:
        yield door


async def count(door: Served, path: str) -> int:
    size: int = (await door.call("GET", path)).json()["size"]
    return size


BODIES: list[tuple[str, bytes, int, str]] = [
    ("unknown member", b'{"name": "a", "colour": "red"}', 400, 'json: unknown field "colour"'),
    ("missing member", b"{}", 422, "required field 'name' is zero value."),
    ("empty name", b'{"name": ""}', 422, "required field 'name' is zero value."),
    ("null name", b'{"name": null}', 422, "required field 'name' is zero value."),
    ("number as name", b'{"name": 7}', 400, "name is"),
    ("number as texts", b'{"name": "a", "tasks": 7}', 400, "tasks is"),
    ("unknown state", b'{"name": "a", "state": "GONE"}', 400, "state is"),
    ("name of 251 characters", json.dumps({"name": "n" * 251}).encode(), 400, "251 characters"),
    ("name of 256 characters", json.dumps({"name": "ä" * 256}).encode(), 400, "256 characters"),
    ("NUL in a name", b'{"name": "a\\u0000b"}', 400, "without NUL"),
    ("lone surrogate", b'{"name": "a\\ud800b"}', 400, "the body is not valid"),
    ("not UTF-8", b'{"name": "\xff"}', 400, "the body is not valid"),
    ("no JSON", b"name=a", 400, "the body is not valid"),
    ("nothing", b"", 400, "the body is not valid"),
    ("a list", b'[{"name": "a"}]', 400, "expected a JSON object"),
    ("a member twice", b'{"name": "a", "name": "b"}', 400, "the body is not valid"),
    ("NaN", b'{"name": "a", "customProperties": NaN}', 400, "the body is not valid"),
    ("deep JSON", b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "the body is not valid"),
    (
        "10,000 properties",
        json.dumps({"name": "a", "customProperties": {f"p{n}": TEXT for n in range(10_000)}}).encode(),
        400,
        "10000 properties",
    ),
    (
        "a number of 400 digits",
        b'{"name": "a", "customProperties": {"n": {"metadataType": "MetadataDoubleValue", "double_value": '
        + b"9" * 400
        + b"}}}",
        400,
        "",
    ),
]


@pytest.mark.parametrize("prefix", [V3, V1])
@pytest.mark.parametrize(("content", "status", "said"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
async def test_a_body_that_is_not_valid_is_refused(
    door: Served, prefix: str, content: bytes, status: int, said: str
) -> None:
    answer = await door.call("POST", f"{prefix}/registered_models", content=content)
    assert (answer.status, answer.json()["code"]) == (status, "Bad Request")
    assert said in answer.json()["message"]
    assert len(answer.content) < 1_000
    assert await count(door, f"{prefix}/registered_models") == 0


async def test_a_body_of_10_mib_is_refused_before_the_server_has_all_of_it(door: Served) -> None:
    content = b'{"name": "' + b"n" * 10_485_760 + b'"}'
    for headers in ({}, {"content-length": str(len(content))}):
        answer = await door.call("POST", "/registered_models", content=content, headers=headers)
        assert answer.status == 413
        assert str(LARGEST) in answer.json()["message"]


QUERIES: list[tuple[str, str]] = [
    ("1,000 terms", " AND ".join(["name='a'"] * 1_000)),
    ("deep brackets", "(" * 500 + "name='a'" + ")" * 500),
    ("a quote that never ends", "name='a"),
    ("a name in quotes that never ends", "`name='a'"),
    ("a comment alone", "-- nothing"),
    ("a list that never ends", "name IN ('a'"),
    ("a bracket that never ends", "(name='a'"),
    ("no operator", "name"),
    ("NOT", "NOT name='a'"),
    ("SQL", "name='a'; DROP TABLE registered_models"),
]


@pytest.mark.parametrize("prefix", [V3, V1])
@pytest.mark.parametrize("text", [row[1] for row in QUERIES], ids=[row[0] for row in QUERIES])
async def test_a_filter_that_is_not_valid_is_refused(door: Served, prefix: str, text: str) -> None:
    answer = await door.call("GET", f"{prefix}/registered_models?filterQuery={_escaped(text)}")
    assert (answer.status, answer.json()["code"]) == (400, "Bad Request")
    assert answer.json()["message"].startswith("filterQuery")
    assert len(answer.content) < 1_000


@pytest.mark.parametrize("path", ["/registered_models/{}", "/artifacts/{}", "/model_versions/{}/artifacts"])
async def test_an_id_beyond_those_of_the_registry_is_not_found(door: Served, path: str) -> None:
    for id_ in ("999999999", "2147483648", "99999999999999999999", "0", "-1"):
        answer = await door.call("GET", path.format(id_))
        assert answer.status == 404, id_
        assert "not found" in answer.json()["message"]
    for id_ in ("x", "1.5", "9" * 30, "%00", "1%20OR%201"):
        assert (await door.call("GET", path.format(id_))).status == 400, id_


async def test_the_token_of_another_list_is_refused(door: Served) -> None:
    model = await door.made("/registered_models", {"name": "a"})
    for name in ("1", "2", "3"):
        await door.made("/model_versions", {"name": name, "registeredModelId": model["id"]})
    token = (await door.call("GET", "/model_versions?pageSize=1")).json()["nextPageToken"]
    others = (
        f"/registered_models/{model['id']}/versions?pageSize=1&nextPageToken={token}",
        f"/registered_models?pageSize=1&nextPageToken={token}",
        f"/model_versions?orderBy=CREATE_TIME&nextPageToken={token}",
        f"/model_versions?filterQuery=name%3D%272%27&nextPageToken={token}",
        f"/model_versions?nextPageToken={token[:-4]}",
        "/model_versions?nextPageToken=" + "a" * 1_025,
        "/model_versions?nextPageToken=Og",
    )
    for path in others:
        answer = await door.call("GET", path)
        assert (answer.status, "nextPageToken" in answer.json()["message"]) == (400, True), path
    assert (await door.call("GET", f"/model_versions?pageSize=1&nextPageToken={token}")).json()["items"][0][
        "name"
    ] == "2"


async def test_of_two_clients_that_create_one_name_at_once_one_is_told(door: Served) -> None:
    for round_ in range(5):
        body = {"name": f"model {round_}"}
        answers = await asyncio.gather(*(door.call("POST", "/registered_models", body) for _ in range(2)))
        assert sorted(answer.status for answer in answers) == [201, 409]
        (refused,) = [answer.json() for answer in answers if answer.status == 409]
        assert (refused["code"], "already exists" in refused["message"]) == ("Conflict", True)
    assert await count(door, "/registered_models") == 5


async def test_a_database_that_is_down_is_503_and_nothing_is_half_written(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await made_run(door)

    async def down(*_: object) -> None:
        raise Transient(reason="DatabaseUnreachable", message="mysql://secret-host is down", remedy="")

    metric = {"artifactType": "metric", "name": "loss", "value": 0.5, "step": 1}
    with monkeypatch.context() as patched:
        patched.setattr(Database, "submit", down)
        for method, path, body in (
            ("GET", "/registered_models", None),
            ("POST", "/registered_models", {"name": "late"}),
            ("POST", f"/experiment_runs/{run['id']}/artifacts", metric),
        ):
            answer = await door.call(method, path, body)
            assert (answer.status, answer.json()["code"]) == (503, "Service Unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert "secret-host" not in answer.json()["message"]
    assert await count(door, "/registered_models") == 0
    assert await count(door, f"/experiment_runs/{run['id']}/metric_history") == 0
    await door.made("/registered_models", {"name": "late"})


async def test_a_nested_path_and_its_body_name_the_same_parent(door: Served) -> None:
    first, second = [await door.made("/registered_models", {"name": name}) for name in ("a", "b")]
    path = f"/registered_models/{first['id']}/versions"
    answer = await door.call("POST", path, {"name": "1", "registeredModelId": second["id"]})
    assert answer.status == 400
    assert "expected the same id in both" in answer.json()["message"]
    assert await count(door, "/model_versions") == 0
    version = await door.made(path, {"name": "1", "registeredModelId": first["id"]})
    assert version["registeredModelId"] == first["id"]


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())
