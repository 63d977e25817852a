"""The catalog of each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from unit.server.catalog.catalogs import Catalog, fill, open_catalog


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    async with open_catalog(tmp_path) as opened:
        yield opened


@pytest.fixture
async def filled(catalog: Catalog) -> Catalog:
    await fill(catalog)
    return catalog
