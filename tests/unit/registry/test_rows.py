"""The contract on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registrycontract import Opened, RegistryContract, open_file
from tablescontract import TablesContract


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


class TestSqlite(RegistryContract, TablesContract):
    pass
