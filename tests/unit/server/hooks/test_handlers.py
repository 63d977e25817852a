"""Who may leave hints, what a call may hold, and how often the token is read."""

from __future__ import annotations

import json

import pytest

from unit.server.hooks.doors import PATH, TOKEN, Door, body, make_door
from unit.server.hooks.events import record
from unit.server.parts import ask


@pytest.fixture
def door() -> Door:
    return make_door()


async def test_an_event_leaves_a_hint_and_asks_no_one_about_the_caller(door: Door) -> None:
    answer = await door.post(body("a/config.json", "a/b/x"))
    assert (answer.status, answer.json()) == (202, {"events": 2, "hints": 2})
    assert door.registry.hints == ["s3://models/a/", "s3://models/a/b/"]
    assert not door.reviews.asked


@pytest.mark.parametrize("token", [None, "", "x", TOKEN[:-1], TOKEN + " x", TOKEN.upper(), "of-ann", "é" * 20])
@pytest.mark.parametrize("path", [PATH, "/hooks/s3/other"])
async def test_another_token_leaves_none_and_learns_nothing(door: Door, token: str | None, path: str) -> None:
    answer = await door.post(body("a/b"), token=token, path=path)
    assert (answer.status, answer.json()["error"]["code"]) == (401, "Unauthorized")
    assert TOKEN.encode() not in answer.content
    assert b"registry" not in answer.content.replace(b"ModelRegistry", b"")
    assert not door.registry.hints


async def test_another_scheme_is_refused(door: Door) -> None:
    for value in (TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}"):
        answer = await ask(door.app, PATH, method="POST", headers={"authorization": value}, content=body("a/b"))
        assert answer.status == 401
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")]
    assert (await ask(door.app, PATH, method="POST", headers=twice, content=body("a/b"))).status == 400


@pytest.mark.parametrize("unusable", [None, "", "too-short"])
async def test_a_registry_without_a_token_takes_no_events(door: Door, unusable: str | None) -> None:
    door.registry.token = unusable
    for token in (unusable or "", TOKEN):
        assert (await door.post(body("a/b"), token=token)).status == 401
    assert not door.registry.hints


async def test_the_token_of_another_registry_opens_no_path(door: Door) -> None:
    answer = await door.post(body("a/b"), path="/hooks/s3/other")
    assert (answer.status, door.registry.hints) == (404, [])


async def test_a_new_token_counts_after_seconds_and_wrong_tokens_read_none(door: Door) -> None:
    for _ in range(100):
        await door.post(body("a/b"), token="wrong")
    assert door.registry.read == 1
    door.registry.token = "another-token-of-the-store"
    door.clock.seconds += 11
    assert (await door.post(body("a/b"))).status == 401
    assert (await door.post(body("a/b"), token=door.registry.token)).status == 202
    assert door.registry.read == 2


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"x" * 10 * 1_048_576, 413),
        (b"", 400),
        (json.dumps({"Records": [record("a/b")] * 1_001}).encode(), 400),
        (b'{"Records":' + b"[" * 10_000, 400),
        (b'{"Records":[{"s3":{"bucket":{"name":"models"},"object":{"key":"\\u0000"}}}]}', 202),
        (body("%00", "%ff%fe", "a" * 2_000), 202),
        (b"{}", 202),
    ],
)
async def test_bad_bodies_leave_no_hint(door: Door, content: bytes, status: int) -> None:
    answer = await door.post(content)
    assert answer.status == status
    assert not door.registry.hints


async def test_only_post(door: Door) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await door.post(b"", method=method)).status == 405
