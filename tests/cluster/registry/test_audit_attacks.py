"""The audit trail on real servers, each test in a database of its own."""

from __future__ import annotations

import pytest

from auditcontract import AuditContract
from cluster.registry.on_servers import ServerDatabases
from gatehouse_local.databases import LocalDatabase


class OnServer(ServerDatabases, AuditContract):
    """The contract of the audit trail on a server."""


class TestMariadb(OnServer):
    @pytest.fixture
    def server(self, mariadb: LocalDatabase) -> LocalDatabase:
        return mariadb


class TestPostgres(OnServer):
    @pytest.fixture
    def server(self, postgres: LocalDatabase) -> LocalDatabase:
        return postgres
