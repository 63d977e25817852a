"""schemathesis over the OpenAPI documents of the catalog, with every check on, against a catalog with models.

What OpenAPI cannot say is said here: a filter has a grammar, tokens come from lists, and only some names are those of
models. Only data that is meant to be valid is changed so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from schemathesis import Case

from gatehouse.domain.entries.measurements import Estimate, Measurement
from gatehouse.domain.version.shown import ShownDecision
from gatehouse.server.app import App
from gatehouse.server.catalog.openapi import CATALOG_VERSIONS, catalog_document
from unit.server.catalog.catalogs import TOKEN, fill, open_catalog
from unit.server.described import FEW, Door, means_valid, open_door, query_of_lists

FILTERS = ("", "name = 'granite/v1'", "tasks IN ('text-generation') AND id > 0", "artifacts.x.double_value > 0.5")
NAMES = ("granite/v1", "granite/v2", "granite/v3", "granite/v9")
"""The last one is no model."""
MEASURED = ShownDecision(
    cleared_for=("production",),
    fit="Fits",
    estimate=Estimate(accelerators=2, max_model_len=16_384, sequences=4),
    measured=(
        Measurement(
            name="arc",
            kind="Task",
            suite="lm-evaluation-harness",
            task="arc_challenge",
            dataset="arc",
            at="2026-11-29T12:00:00Z",
            metrics=(("acc", 0.5), ("acc_norm", 0.75)),
        ),
    ),
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    @asynccontextmanager
    async def application() -> AsyncIterator[App]:
        async with open_catalog(tmp_path_factory.mktemp("rows")) as catalog:
            await fill(catalog)
            await catalog.ready(3, shown=MEASURED.text())
            yield catalog.app

    with open_door(application) as opened:
        yield opened


def expressible(case: Case) -> None:
    """Replaces what is valid by the description, and yet means nothing to this catalog."""
    if not means_valid(case):
        return
    case.query = query_of_lists(case, filters=FILTERS)
    named: dict[str, Any] = dict(case.path_parameters or {})
    if "model_name" in named:
        name = NAMES[len(named["model_name"]) % len(NAMES)]
        case.path_parameters = {**named, "source_id": "gatehouse", "model_name": name}


DOCUMENTS = {version: schemathesis.openapi.from_dict(catalog_document(version)) for version in CATALOG_VERSIONS}


@DOCUMENTS["v1alpha1"].parametrize()
@FEW
def test_v1alpha1(case: Case, door: Door) -> None:
    expressible(case)
    door.check(case, token=TOKEN)


@DOCUMENTS["v1"].parametrize()
@FEW
def test_v1(case: Case, door: Door) -> None:
    expressible(case)
    door.check(case, token=TOKEN)
