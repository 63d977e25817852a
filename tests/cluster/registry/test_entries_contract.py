"""The contract of entries on real servers, each test in a database of its own."""

from __future__ import annotations

import pytest

from cluster.registry.test_registry_contract import ServerDatabases
from entriescontract import EntriesContract
from gatehouse_local.databases import LocalDatabase


class TestMariadb(ServerDatabases, EntriesContract):
    @pytest.fixture
    def server(self, mariadb: LocalDatabase) -> LocalDatabase:
        return mariadb


class TestPostgres(ServerDatabases, EntriesContract):
    @pytest.fixture
    def server(self, postgres: LocalDatabase) -> LocalDatabase:
        return postgres
