"""Asks the webhooks of steps."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from gatehouse.domain.common.addresses import WebAddress, read_address
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.webhook import (
    WebhookAnswer,
    WebhookQuestion,
    read_key,
    read_webhook_answer,
    signature_headers,
)
from gatehouse.measures.posting import NoReply, Poster, read_text

__all__ = ["WebhookQuestions"]

_LONGEST: Final = timedelta(seconds=30)
_SHORTEST: Final = timedelta(seconds=1)


class WebhookQuestions:
    """Asks webhooks below the addresses that the settings allow.

    ``answered`` is called with the status of each answer, 0 for none.
    """

    def __init__(
        self,
        poster: Poster,
        *,
        allowed: Sequence[str],
        key_file: Path | None,
        now: Callable[[], datetime],
        answered: Callable[[int], None],
    ) -> None:
        """Raises ValueError for an address that is none."""
        self._poster = poster
        self._allowed = tuple(map(read_address, allowed))
        self._key_file = key_file
        self._now = now
        self._answered = answered
        self._tls: ssl.SSLContext | None = None

    def refused(self, url: str) -> Finding | None:
        """Why a webhook cannot be asked."""
        found = self._address(url)
        return found if isinstance(found, Finding) else None

    async def answer(self, url: str, question: WebhookQuestion, *, within: timedelta) -> WebhookAnswer:
        """Asks once. Never raises. A time of more than 30 s is cut."""
        address = self._address(url)
        if isinstance(address, Finding):
            return WebhookAnswer(status=None, words=address.reason)
        try:
            answer = await self._ask(address, question, seconds=min(max(within, _SHORTEST), _LONGEST).total_seconds())
        except NoReply as error:
            answer = WebhookAnswer(status=None, words=str(error))
        self._answered(answer.status or 0)
        return answer

    async def _ask(self, address: WebAddress, question: WebhookQuestion, *, seconds: float) -> WebhookAnswer:
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        headers = signature_headers(question, await self._key(), now=self._now())
        reply = await self._poster.post(
            str(address),
            question.body,
            headers={"Content-Type": "application/json", **headers},
            seconds=seconds,
            tls=self._tls,
        )
        return read_webhook_answer(status=reply.status, body=reply.body)

    async def _key(self) -> bytes | None:
        if self._key_file is None:
            return None
        try:
            return read_key(await read_text(self._key_file))
        except ValueError as error:
            raise NoReply(f"{self._key_file} has no key: {error}") from None

    def _address(self, url: str) -> WebAddress | Finding:
        try:
            address = read_address(url)
        except ValueError as error:
            return _not_allowed(url, str(error))
        if address.within(self._allowed):
            return address
        return _not_allowed(url, "an address that the operator's settings list")


def _not_allowed(url: str, expected: str) -> Finding:
    return Finding(
        reason="AddressNotAllowed",
        found=f"a step of spec.strategy has the webhook {url[:200]!r}",
        expected=expected,
        remedy="correct the address, or start the operator with --webhook-address",
    )
