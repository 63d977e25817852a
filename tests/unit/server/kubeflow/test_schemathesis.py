"""schemathesis over the OpenAPI documents of both versions, with every check on, against the application.

What OpenAPI cannot say is said here: a search needs a word, a filter has a grammar, tokens come from lists, and a
nested path and its body name the same parent. Only data that is meant to be valid is changed so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import schemathesis
from schemathesis import Case

from gatehouse.server.app import App
from gatehouse.server.kubeflow.members import API_VERSIONS
from gatehouse.server.kubeflow.openapi import openapi_document
from unit.server.described import FEW, Door, means_valid, open_door, query_of_lists
from unit.server.kubeflow.served import TOKEN, served

FILTERS = ("", "name = 'a'", "state IN ('LIVE', 'ARCHIVED') AND id > 3", "a.double_value > 0.5 OR (b LIKE '%c%')")
PARENTS = {
    "/registered_models/": "registeredModelId",
    "/serving_environments/": "servingEnvironmentId",
    "/experiments/": "experimentId",
}
"""The member of a nested body that names the entry of the path."""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    @asynccontextmanager
    async def application() -> AsyncIterator[App]:
        async with served(tmp_path_factory.mktemp("rows")) as made:
            yield made.app

    with open_door(application) as opened:
        yield opened


def expressible(case: Case) -> None:
    """Replaces what is valid by the description, and yet means nothing to any server."""
    if not means_valid(case):
        return
    query = query_of_lists(case, filters=FILTERS)
    if case.operation.definition.raw["operationId"].startswith("find") and not query.get("externalId"):
        query["externalId"] = "x"
    case.query = query
    if isinstance(case.body, dict) and case.method == "POST":
        for path, member in PARENTS.items():
            if path in case.path and member in case.body:
                case.body = {**case.body, member: next(iter((case.path_parameters or {}).values()))}


DOCUMENTS = {version: schemathesis.openapi.from_dict(openapi_document(version)) for version in API_VERSIONS}


@DOCUMENTS["v1alpha3"].parametrize()
@FEW
def test_v1alpha3(case: Case, door: Door) -> None:
    expressible(case)
    door.check(case, token=TOKEN)


@DOCUMENTS["v1"].parametrize()
@FEW
def test_v1(case: Case, door: Door) -> None:
    expressible(case)
    door.check(case, token=TOKEN)
