"""The audit trail on real servers, each test in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from auditcontract import AuditContract
from cluster.registry.test_registry_contract import empty_database, opened_on
from gatehouse_local.databases import LocalDatabase
from registrycontract import Opened


class OnServer(AuditContract):
    @pytest.fixture
    def database(self, server: LocalDatabase) -> Iterator[str]:
        with empty_database(server) as name:
            yield name

    @pytest.fixture
    async def opened(self, server: LocalDatabase, database: str, tmp_path: Path) -> AsyncIterator[Opened]:
        async with opened_on(server, database, tmp_path) as opened:
            yield opened

    @pytest.fixture
    async def again(
        self, opened: Opened, server: LocalDatabase, database: str, tmp_path: Path
    ) -> AsyncIterator[Opened]:
        async with opened_on(server, database, tmp_path) as again:
            yield again


class TestMariadb(OnServer):
    @pytest.fixture
    def server(self, mariadb: LocalDatabase) -> LocalDatabase:
        return mariadb


class TestPostgres(OnServer):
    @pytest.fixture
    def server(self, postgres: LocalDatabase) -> LocalDatabase:
        return postgres
