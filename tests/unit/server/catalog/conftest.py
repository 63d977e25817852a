"""The catalog of each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from gatehouse.server.catalog.family import catalog_family
from gatehouse.server.served_registry import ServedRegistry
from registrycontract import open_file
from unit.server.catalog.catalogs import Catalog, Registry, rights
from unit.server.parts import ReviewServer, application, identification


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    opened = await open_file(tmp_path)
    reviews = ReviewServer(tokens={"t": {"username": "ann"}}, allowed=rights("", "team-a"))
    registry = cast("ServedRegistry", Registry(opened))
    app = application(
        identification(reviews, namespaces=frozenset({"team-a", "team-b"})),
        families=[catalog_family(registry, version="v1alpha1"), catalog_family(registry, version="v1")],
    )
    yield Catalog(opened, reviews, app)
    await opened.databases.aclose()
