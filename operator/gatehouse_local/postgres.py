"""PostgreSQL with a separate data folder and a loopback port."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from gatehouse_local.databases import (
    DATABASE,
    LocalDatabase,
    account_for,
    find_program,
    give_to,
    home_for,
    initialise,
)
from gatehouse_local.files import make_private, make_traversable, write_private
from gatehouse_local.net import LOOPBACK
from gatehouse_local.process import Server

__all__ = ["ACCOUNT", "Postgres"]

ACCOUNT = "postgres"
_PACKAGE = "postgresql"
_OWNER = "postgres"


class Postgres:
    """One PostgreSQL server with one user and its database.

    Args:
        home: the folder of the data, unless the server's account cannot reach it (see `databases.home_for`).
        port: the loopback port.
        password: of the user `gatehouse` and of the server's owner.
        superuser: gives that user every right, for tests that end sessions or make the server read-only.

    Raises:
        ProgramMissing: PostgreSQL is not installed.
    """

    def __init__(self, home: Path, *, port: int, password: str, superuser: bool = False) -> None:
        folders = _debian_folders()
        self._program = find_program("postgres", package=_PACKAGE, folders=folders)
        self._installer = find_program("initdb", package=_PACKAGE, folders=folders)
        self._account = account_for(ACCOUNT)
        self.home = home_for(home, self._account)
        self._superuser = superuser
        self.database = LocalDatabase(kind="postgres", port=port, username=DATABASE, password=password)

    def prepare(self, *, lock: int | None = None) -> None:
        """Creates the data folder if missing."""
        make_traversable(self.home)
        if self._data.exists():
            return
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        give_to(self._account, make_private(unfinished))
        password = give_to(self._account, write_private(self.home / "password", self.database.password))
        try:
            initialise(
                (
                    str(self._installer),
                    f"--pgdata={unfinished}",
                    f"--username={_OWNER}",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ),
                account=self._account,
                lock=lock,
            )
        finally:
            password.unlink()
        unfinished.rename(self._data)

    def server(self) -> Server:
        """The server; call `prepare` first. Once it answers, call `ensure_database`."""
        return Server(
            name="postgres",
            argv=(
                str(self._program),
                "-D",
                str(self._data),
                "-c",
                f"listen_addresses={LOOPBACK}",
                "-c",
                f"port={self.database.port}",
                "-c",
                "unix_socket_directories=",
            ),
            account=self._account,
            # On SIGTERM PostgreSQL waits until every client has disconnected.
            stop_signal=signal.SIGINT,
            ready=self._answers,
        )

    def ensure_database(self) -> None:
        """Creates the user and its database if missing."""
        user, database = sql.Identifier(self.database.username), sql.Identifier(self.database.database)
        with self._connect() as connection:
            if not _exists(connection, "SELECT FROM pg_roles WHERE rolname = %s", self.database.username):
                rights = sql.SQL("SUPERUSER LOGIN" if self._superuser else "LOGIN")
                password = sql.Literal(self.database.password)
                connection.execute(sql.SQL("CREATE ROLE {} {} PASSWORD {}").format(user, rights, password))
            if not _exists(connection, "SELECT FROM pg_database WHERE datname = %s", self.database.database):
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, user))

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=self.database.host,
            port=self.database.port,
            user=_OWNER,
            password=self.database.password,
            dbname="postgres",
            connect_timeout=2,
            autocommit=True,
        )

    def _answers(self) -> bool:
        try:
            with self._connect() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _exists(connection: psycopg.Connection[tuple[object, ...]], query: LiteralString, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None


def _debian_folders() -> list[Path]:
    """The folders in which Debian keeps the versions of PostgreSQL, newest first."""
    found = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    return sorted(found, key=lambda folder: int(folder.parent.name), reverse=True)
