"""Databases of real servers for the tests of the registry."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pymysql
import pytest
from psycopg import sql

from gatehouse.registry.pool import DatabasePool
from gatehouse_local.databases import LocalDatabase
from registrycontract import LIMITS, NOW, Counts, Opened, RegistryContract, a_registry
from tablescontract import TablesContract


@contextmanager
def empty_database(server: LocalDatabase) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    execute(server, "CREATE DATABASE {}", name)
    yield name
    execute(server, "DROP DATABASE {}" + (" WITH (FORCE)" if server.kind == "postgres" else ""), name)


def execute(server: LocalDatabase, statement: str, *names: str) -> None:
    """Runs a statement as the user who may do everything."""
    if server.kind == "mariadb":
        with (
            pymysql.connect(
                host=server.host, port=server.port, user=server.username, password=server.password, autocommit=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format(*names))
        return
    with psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.username,
        password=server.password,
        dbname=server.database,
        autocommit=True,
    ) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


@asynccontextmanager
async def opened_on(server: LocalDatabase, database: str, folder: Path) -> AsyncIterator[Opened]:
    counts = Counts()
    databases = DatabasePool(data_dir=folder, now=lambda: NOW, limits=LIMITS, metrics=counts)
    kind = {"mariadb": "mysql", "postgres": "postgres"}[server.kind]
    spec = {"host": server.host, "port": server.port, "database": database, "username": server.username}
    spec["tls"] = "Disabled"
    registry = a_registry(**{kind: spec})
    rows = await databases.open(registry, password=server.password, ca_pem=None)
    yield Opened(registry, server.password, databases, rows, counts)
    await databases.aclose()


class ServerDatabases:
    """A database of its own on ``server`` for each test of a contract."""

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


class OnServer(ServerDatabases, RegistryContract, TablesContract):
    """The contract of rows on a server."""
