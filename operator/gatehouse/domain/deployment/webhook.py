"""The question of a webhook step, its signature, and its answer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from gatehouse.domain.common.text import one_line

__all__ = ["LONGEST_WORDS", "WebhookAnswer", "WebhookQuestion", "read_key", "read_webhook_answer", "signature_headers"]

LONGEST_WORDS: Final = 256
_PREFIX: Final = "whsec_"
_LEAST_KEY, _LARGEST_KEY = 24, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookQuestion:
    """Whether a revision may pass a step. ``uid`` is that of the deployment, ``since`` when the step began."""

    namespace: str
    deployment: str
    uid: str
    revision: str
    version: str
    digest: str
    step: int
    since: str
    weight: int
    served_name: str

    @property
    def id(self) -> str:
        """Names the question: each attempt to ask it has the same id, so that a receiver can recognise it."""
        parts = [self.uid, self.revision, self.step, self.since]
        return f"step_{hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]}"

    @property
    def body(self) -> bytes:
        """The JSON that is posted."""
        return orjson.dumps(
            {
                "namespace": self.namespace,
                "deployment": self.deployment,
                "revision": self.revision,
                "version": self.version,
                "digest": self.digest,
                "step": self.step,
                "weight": self.weight,
                "servedName": self.served_name,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAnswer:
    """The status of a webhook's answer, None without an answer, and its ``words``: at most 256 plain characters."""

    status: int | None
    words: str = ""


def read_webhook_answer(*, status: int, body: bytes) -> WebhookAnswer:
    """The status, and the beginning of the text."""
    text = body[:LONGEST_WORDS].decode("utf-8", "replace").strip()
    return WebhookAnswer(status=status, words=one_line(text)[:LONGEST_WORDS])


def read_key(text: str) -> bytes:
    """A key of Standard Webhooks, as ``whsec_`` and base64. Raises ValueError, which has nothing of the key."""
    text = text.strip()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST_KEY <= len(key) <= _LARGEST_KEY:
        raise ValueError(f"expected {_PREFIX} and the base64 of {_LEAST_KEY} to {_LARGEST_KEY} bytes")
    return key


def signature_headers(question: WebhookQuestion, key: bytes | None, *, now: datetime) -> Mapping[str, str]:
    """The headers of Standard Webhooks for one attempt; without a key there is no signature."""
    at = str(int(now.timestamp()))
    headers = {"webhook-id": question.id, "webhook-timestamp": at}
    if key is None:
        return headers
    signed = hmac.digest(key, f"{question.id}.{at}.".encode() + question.body, "sha256")
    return {**headers, "webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}
