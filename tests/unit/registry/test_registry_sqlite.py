"""The contract on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatehouse.registry.databases import Databases
from registrycontract import LIMITS, NOW, Counts, Opened, RegistryContract, a_registry


async def open_file(folder: Path) -> Opened:
    counts = Counts()
    databases = Databases(data_dir=folder, now=lambda: NOW, limits=LIMITS, metrics=counts)
    registry = a_registry()
    rows = await databases.open(registry, password=None, ca_pem=None)
    return Opened(registry, None, databases, rows, counts)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = await open_file(tmp_path)
    yield opened
    await opened.databases.aclose()


@pytest.fixture
async def again(opened: Opened, tmp_path: Path) -> AsyncIterator[Opened]:
    again = await open_file(tmp_path)
    yield again
    await again.databases.aclose()


class TestSqlite(RegistryContract):
    pass
