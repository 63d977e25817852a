"""schemathesis over the OpenAPI document of the hooks, with every check on, against the whole application.

What OpenAPI cannot say is said here: the server shows one registry. Only data that is meant to be valid is changed so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import schemathesis
from schemathesis import Case

from gatehouse.server.app import App
from gatehouse.server.hooks.openapi import hooks_document
from unit.server.described import FEW, Door, means_valid, open_door
from unit.server.hooks.doors import TOKEN, make_door
from unit.server.hooks.events import REGISTRY

DOCUMENT = schemathesis.openapi.from_dict(hooks_document())


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    @asynccontextmanager
    async def application() -> AsyncIterator[App]:
        yield make_door().app

    with open_door(application) as opened:
        yield opened


@DOCUMENT.parametrize()
@FEW
def test_hooks(case: Case, door: Door) -> None:
    if means_valid(case):
        case.path_parameters = {**(case.path_parameters or {}), "registry": REGISTRY.metadata.name}
    door.check(case, token=TOKEN)
