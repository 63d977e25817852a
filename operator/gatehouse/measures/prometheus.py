"""Asks Prometheus the queries of an analysis, by the HTTP API that Thanos and others have too."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from gatehouse.domain.common.addresses import WebAddress, read_address
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.answers import QueryAnswer, no_answer, read_query_answer
from gatehouse.measures.posting import NoReply, Poster, read_text

__all__ = ["PrometheusQueries"]

_ROUND_SECONDS: Final = 30
"""How long all queries of one measurement may take."""
_TOGETHER: Final = 4
"""How many queries of one measurement are asked at once, so that none takes all requests to a server."""
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


class PrometheusQueries:
    """Asks the operator's own Prometheus, and others that the settings allow. Only the own one gets the token.

    ``answered`` is called with the kind of each answer.
    """

    def __init__(
        self,
        poster: Poster,
        *,
        own: str | None,
        further: Sequence[str],
        token_file: Path | None,
        ca_file: Path | None,
        timeout: float,
        answered: Callable[[str], None],
    ) -> None:
        """Raises ValueError for an address that is none."""
        self._poster = poster
        self._own = None if own is None else read_address(own)
        self._further = tuple(map(read_address, further))
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout = timeout
        self._answered = answered

    def refused(self, address: str | None) -> Finding | None:
        """Why queries cannot be sent to an address; None for the own one."""
        found = self._allowed(address)
        return found if isinstance(found, Finding) else None

    async def answers(
        self, queries: Sequence[str], *, address: str | None, namespace: str
    ) -> Mapping[str, QueryAnswer]:
        """The answer to each query. Never raises."""
        allowed = self._allowed(address)
        if isinstance(allowed, Finding):
            return dict.fromkeys(queries, no_answer(allowed.found))
        try:
            tls, headers = await self._tls(), await self._headers(allowed)
        except NoReply as error:
            found = dict.fromkeys(queries, no_answer(str(error)))
        else:
            url = f"{str(allowed).rstrip('/')}/api/v1/query?{urlencode({'namespace': namespace})}"
            found = await self._asked(url, queries, headers=headers, tls=tls)
        for answer in found.values():
            self._answered(answer.kind)
        return found

    async def _asked(
        self, url: str, queries: Sequence[str], *, headers: Mapping[str, str], tls: ssl.SSLContext
    ) -> dict[str, QueryAnswer]:
        found = dict.fromkeys(queries, no_answer(f"no answer within {_ROUND_SECONDS} s"))

        free = asyncio.Semaphore(_TOGETHER)

        async def ask(query: str) -> None:
            async with free:
                found[query] = await answer(query)

        async def answer(query: str) -> QueryAnswer:
            form = urlencode({"query": query, "timeout": f"{self._timeout:g}s", "limit": "2"}).encode()
            try:
                reply = await self._poster.post(url, form, headers=headers, seconds=self._timeout, tls=tls)
            except NoReply as error:
                return no_answer(str(error))
            return read_query_answer(status=reply.status, content_type=reply.content_type, body=reply.body)

        try:
            async with asyncio.timeout(_ROUND_SECONDS), asyncio.TaskGroup() as group:
                for query in found:
                    group.create_task(ask(query))
        except TimeoutError:
            pass
        return found

    def _allowed(self, text: str | None) -> WebAddress | Finding:
        if text is None:
            return self._own if self._own is not None else _no_prometheus()
        try:
            address = read_address(text)
        except ValueError as error:
            return _not_allowed(text, str(error))
        if address == self._own or address.within(self._further):
            return address
        return _not_allowed(text, "an address that the operator's settings list")

    async def _headers(self, address: WebAddress) -> Mapping[str, str]:
        if self._token_file is None or address != self._own:
            return _FORM
        token = await read_text(self._token_file)
        if not token or not token.isprintable():
            raise NoReply(f"{self._token_file} has no token of printable ASCII")
        return {**_FORM, "Authorization": f"Bearer {token}"}

    async def _tls(self) -> ssl.SSLContext:
        pem = "" if self._ca_file is None else await read_text(self._ca_file)
        try:
            return await asyncio.to_thread(_trust, pem)
        except (ssl.SSLError, ValueError):
            raise NoReply(f"{self._ca_file} has no certificates in PEM") from None


@lru_cache(maxsize=4)
def _trust(pem: str) -> ssl.SSLContext:
    """The authorities of the system, and those of the file."""
    context = ssl.create_default_context()
    if pem:
        context.load_verify_locations(cadata=pem)
    return context


def _no_prometheus() -> Finding:
    return Finding(
        reason="PrometheusNotConfigured",
        found="neither spec.analysis.prometheus nor the operator's settings have the address of a Prometheus server",
        expected="an address, because a step is named analysis",
        remedy="start the operator with --prometheus-address, or remove the step",
    )


def _not_allowed(text: str, expected: str) -> Finding:
    return Finding(
        reason="AddressNotAllowed",
        found=f"spec.analysis.prometheus.address is {text[:200]!r}",
        expected=expected,
        remedy="name the operator's own address, or start the operator with --further-prometheus-address",
    )
