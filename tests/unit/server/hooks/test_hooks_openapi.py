"""The OpenAPI document of the hooks: valid, open to everyone, and true to what is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gatehouse.server.errors import BadRequest
from gatehouse.server.hooks.openapi import hooks_document
from gatehouse.server.hooks.store_events import read_store_events
from unit.server.hooks.doors import PATH, TOKEN, Door, body, make_door
from unit.server.hooks.events import record
from unit.server.parts import ask

DOCUMENT: Any = hooks_document()
POST = DOCUMENT["paths"]["/hooks/s3/{registry}"]["post"]
BODY = Draft202012Validator(
    {**POST["requestBody"]["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
)
STORED = {"bucket": {"name": "models"}, "object": {"key": "a/b"}}


@pytest.fixture
def door() -> Door:
    return make_door()


def test_the_document_is_valid_and_uses_every_schema() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    used = {part.split('"')[0] for part in json.dumps(DOCUMENT).split("#/components/schemas/")[1:]}
    assert used == set(DOCUMENT["components"]["schemas"])


async def test_the_document_is_for_everyone(door: Door) -> None:
    answer = await ask(door.app, "/openapi/hooks.json")
    assert (answer.status, answer.json()) == (200, DOCUMENT)


@pytest.mark.parametrize(
    ("content", "token", "path", "status"),
    [
        (body("a/b"), TOKEN, PATH, 202),
        (b"{}", TOKEN, PATH, 202),
        (b"[]", TOKEN, PATH, 400),
        (b"{}", "x", PATH, 401),
        (b"{}", TOKEN, "/hooks/s3/other", 404),
        (b" " * 2_000_000, TOKEN, PATH, 413),
    ],
)
async def test_every_answer_is_described(door: Door, content: bytes, token: str, path: str, status: int) -> None:
    answer = await door.post(content, token=token, path=path)
    assert answer.status == status
    described = POST["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**described, "components": DOCUMENT["components"]}).validate(answer.json())


@pytest.mark.parametrize(
    "event",
    [
        {},
        [],
        {"Records": []},
        {"Records": {}},
        {"Records": [7]},
        {"Records": [record("a/b")], "EventName": "s3:ObjectCreated:Put"},
        {"Records": [{"s3": {"bucket": {"name": "models"}}}]},
        {"Records": [{"s3": {"bucket": {"name": 7}, "object": {"key": "a"}}}]},
        {"Records": [record("a/b")] * 1_000},
        {"Records": [record("a/b")] * 1_001},
        {"detail": STORED, "source": "aws.s3"},
        {"detail": {}},
        {"detail": []},
        {"detail": {}, "Records": []},
        {"detail": STORED, "Records": 7},
    ],
    ids=range(15),
)
def test_what_is_described_is_read_and_nothing_else(event: object) -> None:
    try:
        read_store_events(json.dumps(event).encode())
    except BadRequest:
        assert not BODY.is_valid(event)
    else:
        assert BODY.is_valid(event)
