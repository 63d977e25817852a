"""schemathesis over the OpenAPI documents of both versions, with every check on, against the application.

What OpenAPI cannot say is said here: a search needs a word, a filter has a grammar, tokens come from lists, and a
nested path and its body name the same parent. Only data that is meant to be valid is changed so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

from gatehouse.server.kubeflow.members import API_VERSIONS
from gatehouse.server.kubeflow.openapi import openapi_document
from gatehouse.server.listener import Listener
from gatehouse.server.protocol import ConnectionLimits
from unit.server.kubeflow.served import TOKEN, served

FILTERS = ("", "name = 'a'", "state IN ('LIVE', 'ARCHIVED') AND id > 3", "a.double_value > 0.5 OR (b LIKE '%c%')")
PARENTS = {
    "/registered_models/": "registeredModelId",
    "/serving_environments/": "servingEnvironmentId",
    "/experiments/": "experimentId",
}
"""The member of a nested body that names the entry of the path."""


@dataclass
class Door:
    """Where the application listens, and a session that keeps the connection."""

    url: str
    session: requests.Session


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    ready: Future[tuple[str, int]] = Future()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(tmp_path_factory.mktemp("rows"), ready, stop)))
    thread.start()
    try:
        host, port = ready.result(30)
        with requests.Session() as session:
            yield Door(f"http://{host}:{port}", session)
    finally:
        stop.set()
        thread.join(30)


async def _serve(folder: Path, ready: Future[tuple[str, int]], stop: threading.Event) -> None:
    async with AsyncExitStack() as stack:
        try:
            app = (await stack.enter_async_context(served(folder))).app
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


def expressible(case: Case) -> None:
    """Replaces what is valid by the description, and yet means nothing to any server."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    query: dict[str, Any] = dict(case.query or {})
    if "nextPageToken" in query:
        query["nextPageToken"] = ""
    if "filterQuery" in query:
        query["filterQuery"] = FILTERS[len(query["filterQuery"]) % len(FILTERS)]
    if case.operation.definition.raw["operationId"].startswith("find") and not query.get("externalId"):
        query["externalId"] = "x"
    case.query = query
    if isinstance(case.body, dict) and case.method == "POST":
        for path, member in PARENTS.items():
            if path in case.path and member in case.body:
                case.body = {**case.body, member: next(iter((case.path_parameters or {}).values()))}


def spoils_headers(case: Case) -> bool:
    """Whether the header with the token is what is invalid; a token that the test adds would make the case valid."""
    part = None if case.meta is None else case.meta.components.get(ParameterLocation.HEADER)
    return part is not None and part.mode is GenerationMode.NEGATIVE


DOCUMENTS = {version: schemathesis.openapi.from_dict(openapi_document(version)) for version in API_VERSIONS}
FEW = settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@DOCUMENTS["v1alpha3"].parametrize()
@FEW
def test_v1alpha3(case: Case, door: Door) -> None:
    check(case, door)


@DOCUMENTS["v1"].parametrize()
@FEW
def test_v1(case: Case, door: Door) -> None:
    check(case, door)


def check(case: Case, door: Door) -> None:
    expressible(case)
    headers = {} if spoils_headers(case) else {"Authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(base_url=door.url, session=door.session, headers=headers)
