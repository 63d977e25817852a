"""The contract on real servers, each test in a database of its own."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete

from cluster.registry.on_servers import OnServer
from gatehouse.registry.keys import VersionKey, of_versions
from gatehouse.registry.tables import artifact_files
from gatehouse_local.databases import LocalDatabase
from registrycontract import Opened, a_file


class TestMariadb(OnServer):
    @pytest.fixture
    def server(self, mariadb: LocalDatabase) -> LocalDatabase:
        return mariadb

    @pytest.mark.parametrize("count", [1, 2, 20])
    async def test_files_are_replaced_without_reading_the_table(self, opened: Opened, count: int) -> None:
        names = [f"v{n}" for n in range(200)]
        await asyncio.gather(
            *(opened.rows.save_files(model="granite", version=name, files=[a_file()]) for name in names)
        )
        (database,) = opened.databases._databases.values()
        with database._connector.engine.connect() as connection:
            keys = [VersionKey("registries/local", "granite", name) for name in names[:count]]
            connection.exec_driver_sql("FLUSH STATUS")
            connection.execute(delete(artifact_files).where(of_versions(connection, artifact_files, keys)))
            (read,) = connection.exec_driver_sql("SHOW STATUS LIKE 'Handler_read_rnd_next'").all()
            assert int(read[1]) < 10


class TestPostgres(OnServer):
    @pytest.fixture
    def server(self, postgres: LocalDatabase) -> LocalDatabase:
        return postgres
