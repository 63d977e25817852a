"""MariaDB with a separate data folder and a loopback port."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path

import pymysql

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

__all__ = ["ACCOUNT", "Mariadb"]

_FOLDERS = (Path("/usr/sbin"), Path("/usr/libexec"), Path("/usr/local/sbin"))
ACCOUNT = "mysql"
_PACKAGE = "mariadb-server"


class Mariadb:
    """One MariaDB server with one user and its database.

    Args:
        home: the folder of the data, unless the server's account cannot reach it (see `databases.home_for`).
        port: the loopback port.
        password: of the user `gatehouse`; letters, digits, `-` and `_`.
        superuser: gives that user every right, for tests that kill connections or make the server read-only.

    Raises:
        ProgramMissing: MariaDB is not installed.
    """

    def __init__(self, home: Path, *, port: int, password: str, superuser: bool = False) -> None:
        self._program = find_program("mariadbd", package=_PACKAGE, folders=_FOLDERS)
        self._installer = find_program("mariadb-install-db", package=_PACKAGE, folders=_FOLDERS)
        self._account = account_for(ACCOUNT)
        self.home = home_for(home, self._account)
        self._superuser = superuser
        self.database = LocalDatabase(kind="mariadb", port=port, username=DATABASE, password=password)

    def prepare(self, *, lock: int | None = None) -> None:
        """Creates the data folder if missing, and the statements that the server runs at its start."""
        make_traversable(self.home)
        if not self._data.exists():
            unfinished = self.home / "data.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            give_to(self._account, make_private(unfinished))
            owner = self._account.name if self._account else getpass.getuser()
            initialise(
                (
                    str(self._installer),
                    "--no-defaults",
                    f"--datadir={unfinished}",
                    "--auth-root-authentication-method=socket",
                    f"--auth-root-socket-user={owner}",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ),
                account=self._account,
                lock=lock,
            )
            unfinished.rename(self._data)
        give_to(self._account, write_private(self._statements_file, self._statements()))

    def server(self) -> Server:
        """The server; call `prepare` first."""
        return Server(
            name="mariadb",
            argv=(
                str(self._program),
                "--no-defaults",
                f"--datadir={self._data}",
                f"--bind-address={LOOPBACK}",
                f"--port={self.database.port}",
                # Relative to the data folder: an absolute path soon exceeds a socket path's limit of 107 bytes.
                "--socket=mysql.sock",
                f"--pid-file={self._data / 'server.pid'}",
                f"--init-file={self._statements_file}",
                "--character-set-server=utf8mb4",
                "--skip-name-resolve",
            ),
            settings=(self._statements(),),
            account=self._account,
            ready=self._answers,
        )

    def ensure_database(self) -> None:
        """Does nothing: the statements at the server's start created the database."""

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _statements_file(self) -> Path:
        return self.home / "start.sql"

    def _statements(self) -> str:
        user = f"'{self.database.username}'@'{LOOPBACK}'"
        scope = "*.* " if self._superuser else f"`{DATABASE}`.* "
        grant = " WITH GRANT OPTION" if self._superuser else ""
        return (
            f"CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET utf8mb4;\n"
            f"CREATE OR REPLACE USER {user} IDENTIFIED BY '{self.database.password}';\n"
            f"GRANT ALL PRIVILEGES ON {scope}TO {user}{grant};\n"
        )

    def _answers(self) -> bool:
        database = self.database
        try:
            connection = pymysql.connect(
                host=database.host,
                port=database.port,
                user=database.username,
                password=database.password,
                database=database.database,
                connect_timeout=2,
            )
        except (OSError, pymysql.Error):
            return False
        connection.close()
        return True
