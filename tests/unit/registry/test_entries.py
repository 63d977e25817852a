"""The contract of entries on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entriescontract import EntriesContract
from entrypagescontract import EntryPagesContract
from governedentriescontract import GovernedEntriesContract
from registrycontract import Opened, open_file
from servingcontract import ServingContract


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


class TestSqlite(EntriesContract, EntryPagesContract, GovernedEntriesContract, ServingContract):
    pass
