"""What is asked of a webhook, how the question is signed, and what is kept of the answer."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.common.text import is_plain
from gatehouse.domain.deployment.webhook import (
    WebhookQuestion,
    read_key,
    read_webhook_answer,
    signature_headers,
)

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


def test_the_body_names_what_is_judged_and_no_more() -> None:
    assert json.loads(QUESTION.body) == {
        "namespace": "chatbots",
        "deployment": "chat",
        "revision": "chat-78ce699283b74ccd",
        "version": "granite-3.1",
        "digest": "sha256:" + "1" * 64,
        "step": 2,
        "weight": 10,
        "servedName": "granite",
    }


def test_each_attempt_has_the_same_id_and_another_step_has_another() -> None:
    assert dataclasses.replace(QUESTION, weight=50).id == QUESTION.id
    others = [{"step": 3}, {"revision": "x"}, {"uid": "d-2"}, {"since": "2026-12-01T09:00:00Z"}]
    assert len({QUESTION.id, *(dataclasses.replace(QUESTION, **other).id for other in others)}) == 5


def test_a_receiver_can_check_the_signature_as_standard_webhooks_says() -> None:
    key = bytes(range(32))
    headers = signature_headers(QUESTION, read_key(f"whsec_{base64.b64encode(key).decode()}\n"), now=NOW)
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), QUESTION.body])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))


def test_without_a_key_there_is_no_signature() -> None:
    assert signature_headers(QUESTION, None, now=NOW).keys() == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_AAAA", "whsec_" + "A" * 100, "A" * 44, "whsec_!!!!", "whsec_" + "ä" * 44]
)
def test_a_key_of_another_form_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected whsec_ and the base64 of 24 to 64 bytes$"):
        read_key(text)


@given(st.binary(max_size=600), st.integers(100, 599))
def test_of_an_answer_at_most_256_plain_characters_are_kept(body: bytes, status: int) -> None:
    answer = read_webhook_answer(status=status, body=body)
    assert answer.status == status
    assert len(answer.words) <= 256
    assert is_plain(answer.words)
    assert "\n" not in answer.words
