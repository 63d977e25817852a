"""An application on a socket, and schemathesis' cases over its descriptions, with every check on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

from gatehouse.server.app import App
from gatehouse.server.listener import Listener
from gatehouse.server.protocol import ConnectionLimits

__all__ = ["FEW", "Door", "means_valid", "open_door", "query_of_lists"]

FEW = settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Door:
    """Where the application listens, and a session that keeps the connection."""

    url: str
    session: requests.Session

    def check(self, case: Case, *, token: str) -> None:
        """Sends a case, and checks the answer by the description."""
        headers = {} if _spoils_headers(case) else {"Authorization": f"Bearer {token}"}
        case.call_and_validate(base_url=self.url, session=self.session, headers=headers)


def means_valid(case: Case) -> bool:
    """Whether the data of a case is meant to be valid."""
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def query_of_lists(case: Case, *, filters: Sequence[str]) -> dict[str, Any]:
    """The query of a case with what OpenAPI cannot say: tokens come from lists, and a filter has a grammar."""
    query: dict[str, Any] = dict(case.query or {})
    if "nextPageToken" in query:
        query["nextPageToken"] = ""
    if "filterQuery" in query:
        query["filterQuery"] = filters[len(query["filterQuery"]) % len(filters)]
    return query


@contextmanager
def open_door(served: Callable[[], AbstractAsyncContextManager[App]]) -> Iterator[Door]:
    """An application behind a listener in a thread of its own."""
    ready: Future[tuple[str, int]] = Future()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(served, ready, stop)))
    thread.start()
    try:
        host, port = ready.result(30)
        with requests.Session() as session:
            yield Door(f"http://{host}:{port}", session)
    finally:
        stop.set()
        thread.join(30)


async def _serve(
    served: Callable[[], AbstractAsyncContextManager[App]], ready: Future[tuple[str, int]], stop: threading.Event
) -> None:
    async with AsyncExitStack() as stack:
        try:
            app = await stack.enter_async_context(served())
            listener = Listener(app, host="127.0.0.1", port=0, limits=ConnectionLimits(), grace=1)
            serving = asyncio.create_task(listener.serve())
            await listener.listening.wait()
        except BaseException as error:
            ready.set_exception(error)
            raise
        ready.set_result(listener.address)
        await asyncio.to_thread(stop.wait)
        listener.stop()
        await serving


def _spoils_headers(case: Case) -> bool:
    """Whether the header with the token is what is invalid; a token that the test adds would make the case valid."""
    part = None if case.meta is None else case.meta.components.get(ParameterLocation.HEADER)
    return part is not None and part.mode is GenerationMode.NEGATIVE
