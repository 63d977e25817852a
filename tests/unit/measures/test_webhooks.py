"""The questions to webhooks on a socket: which are asked, what they get, and what is kept of the answer."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakeprometheus import FakePrometheus, HttpAnswer, fake_prometheus
from gatehouse.domain.deployment.answers import LARGEST_ANSWER
from gatehouse.domain.deployment.webhook import WebhookQuestion
from gatehouse.measures.posting import Poster
from gatehouse.measures.webhooks import WebhookQuestions

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
QUESTION = WebhookQuestion(
    namespace="chatbots",
    deployment="chat",
    uid="d-1",
    revision="chat-78ce699283b74ccd",
    version="granite-3.1",
    digest="sha256:" + "1" * 64,
    step=2,
    since="2026-12-01T08:59:00Z",
    weight=10,
    served_name="granite",
)
FIVE = timedelta(seconds=5)


@pytest.fixture
def hook() -> Iterator[FakePrometheus]:
    with fake_prometheus() as fake:
        fake.says = lambda _: HttpAnswer(status=200, body=b"go on")
        yield fake


@asynccontextmanager
async def asking(*allowed: str, codes: list[int] | None = None, **settings: Any) -> AsyncIterator[WebhookQuestions]:
    async with Poster() as poster:
        yield WebhookQuestions(
            poster,
            **{
                "allowed": allowed,
                "key_file": None,
                "now": lambda: NOW,
                "answered": ([] if codes is None else codes).append,
                **settings,
            },
        )


async def test_the_question_is_one_post_of_json(hook: FakePrometheus) -> None:
    codes: list[int] = []
    async with asking(hook.url, codes=codes) as hooks:
        answer = await hooks.answer(f"{hook.url}/gate/chat", QUESTION, within=FIVE)
    assert (answer.status, answer.words, codes) == (200, "go on", [200])
    [asked] = hook.asked
    assert (asked.path, asked.headers["content-type"]) == ("/gate/chat", "application/json")
    assert json.loads(asked.body)["revision"] == QUESTION.revision
    assert asked.headers["webhook-id"] == QUESTION.id
    assert "webhook-signature" not in asked.headers
    assert "authorization" not in asked.headers


async def test_a_key_signs_and_is_read_again_for_each_question(hook: FakePrometheus, tmp_path: Path) -> None:
    file = tmp_path / "key"
    async with asking(hook.url, key_file=file) as hooks:
        for byte in b"ab":
            file.write_text(f"whsec_{base64.b64encode(bytes([byte]) * 32).decode()}\n")
            await hooks.answer(hook.url, QUESTION, within=FIVE)
        file.write_text("whsec_secret")
        answer = await hooks.answer(hook.url, QUESTION, within=FIVE)
        file.unlink()
        gone = await hooks.answer(hook.url, QUESTION, within=FIVE)
    first, second = (asked.headers["webhook-signature"] for asked in hook.asked)
    assert first != second
    assert first.startswith("v1,")
    assert (answer.status, "has no key: expected whsec_" in answer.words, "secret" in answer.words) == (
        None,
        True,
        False,
    )
    assert (gone.status, "cannot be read: FileNotFoundError" in gone.words) == (None, True)


@pytest.mark.parametrize("status", [202, 302, 404, 503])
async def test_each_status_is_an_answer_and_no_redirect_is_followed(hook: FakePrometheus, status: int) -> None:
    hook.says = lambda _: HttpAnswer(status=status, body=b"no\x1b[2J", headers=(("Location", "/elsewhere"),))
    async with asking(hook.url) as hooks:
        answer = await hooks.answer(hook.url, QUESTION, within=FIVE)
    assert (answer.status, answer.words) == (status, "no\\x1b[2J")
    assert (len(hook.asked), hook.other) == (1, [])


async def test_no_answer_and_an_answer_without_an_end_say_why(hook: FakePrometheus) -> None:
    codes: list[int] = []
    async with asking(hook.url, codes=codes) as hooks:
        hook.says = lambda _: HttpAnswer(body=b"x" * (LARGEST_ANSWER + 1))
        long = await hooks.answer(hook.url, QUESTION, within=FIVE)
        hook.silent = True
        silent = await hooks.answer(hook.url, QUESTION, within=timedelta(0))
    assert (long.status, long.words) == (None, "an answer of more than 1 MiB")
    assert (silent.status, silent.words) == (None, "no answer within 1 s")
    assert codes == [0, 0]


async def test_only_the_addresses_of_the_settings_are_asked(hook: FakePrometheus) -> None:
    port = hook.url.rpartition(":")[2]
    async with asking(f"{hook.url}/gate") as hooks:
        assert hooks.refused(f"{hook.url}/gate/a") is None
        for url in (
            hook.url,
            f"{hook.url}/gatekeeper",
            f"{hook.url}/gate/../admin",
            f"{hook.url}/gate/%2e%2e/admin",
            f"{hook.url}/gate?to=x",
            f"http://localhost:{port}/gate",
            f"http://127.0.0.1.:{port}/gate",
            f"http://gate@127.0.0.1:{port}/gate",
            f"http://127.0.0.1:{port}\\@elsewhere/gate",
            f"HTTP://127.0.0.1:{port}/gate",
            "http://127.0.0.1/gate",
            "http://169.254.169.254/gate",
        ):
            finding = hooks.refused(url)
            assert finding is not None
            assert (finding.reason, "--webhook-address" in finding.remedy) == ("AddressNotAllowed", True)
            assert (await hooks.answer(url, QUESTION, within=FIVE)).status is None
    assert (hook.asked, hook.other) == ([], [])


async def test_the_weight_is_part_of_the_question(hook: FakePrometheus) -> None:
    async with asking(hook.url) as hooks:
        await hooks.answer(hook.url, dataclasses.replace(QUESTION, weight=50), within=FIVE)
    assert json.loads(hook.asked[0].body)["weight"] == 50
