"""The contract of entries on real servers, each test in a database of its own."""

from __future__ import annotations

import pytest

from cluster.registry.on_servers import ServerDatabases
from entriescontract import EntriesContract
from entrypagescontract import EntryPagesContract
from gatehouse_local.databases import LocalDatabase
from governedentriescontract import GovernedEntriesContract
from servingcontract import ServingContract


class OnServer(ServerDatabases, EntriesContract, EntryPagesContract, GovernedEntriesContract, ServingContract):
    """The contracts of entries on a server."""


class TestMariadb(OnServer):
    @pytest.fixture
    def server(self, mariadb: LocalDatabase) -> LocalDatabase:
        return mariadb


class TestPostgres(OnServer):
    @pytest.fixture
    def server(self, postgres: LocalDatabase) -> LocalDatabase:
        return postgres
