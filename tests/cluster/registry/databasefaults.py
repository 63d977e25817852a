"""Database servers that stop, sessions that end, and a proxy that loses messages."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.registry.pool import DatabasePool
from gatehouse_local.databases import LocalDatabase, account_for, give_to
from gatehouse_local.files import make_traversable
from gatehouse_local.identity import wait_for_exit
from gatehouse_local.mariadb import Mariadb
from gatehouse_local.net import LOOPBACK, free_port
from gatehouse_local.pki import ensure_certificate
from gatehouse_local.postgres import Postgres
from gatehouse_local.process import Server, Supervisor
from registrycontract import LIMITS, NOW, Counts, Opened, a_registry

__all__ = ["KINDS", "PASSWORD", "Machine", "Proxy", "Site", "connect", "end_sessions", "execute"]

KINDS = ["mariadb", "postgres"]
PASSWORD = "the-secret-word"


class Machine:
    """A server of this module's own, behind TLS, that can be killed and started."""

    def __init__(self, kind: str, folder: Path) -> None:
        made = Mariadb if kind == "mariadb" else Postgres
        self._server = made(folder / "server", port=free_port(), password=PASSWORD, superuser=True)
        self._supervisor = Supervisor(run=folder / "run", logs=folder / "logs")
        files = ensure_certificate(folder / "pki", authority="test")
        self.authority = files.authority.read_text()
        account = account_for("mysql" if kind == "mariadb" else "postgres")
        self._tls = make_traversable(folder / "tls")
        for file in (files.certificate, files.key):
            shutil.copy(file, self._tls / file.name)
            give_to(account, self._tls / file.name).chmod(0o600)

    @property
    def database(self) -> LocalDatabase:
        return self._server.database

    def start(self) -> None:
        self._server.prepare()
        self._supervisor.ensure(self._described())
        if isinstance(self._server, Postgres):
            self._server.ensure_database()

    def kill(self) -> None:
        """As a crash: PostgreSQL's own signal for it also takes its children along."""
        record = self._supervisor.records()[self._described().name]
        crash = signal.SIGQUIT if isinstance(self._server, Postgres) else signal.SIGKILL
        os.kill(record.identity.pid, crash)
        assert wait_for_exit(record.identity, seconds=30)

    def stop(self) -> None:
        self._supervisor.stop(self._described().name)
        shutil.rmtree(self._server.home, ignore_errors=True)

    def _described(self) -> Server:
        server = self._server.server()
        certificate, key = self._tls / "public.crt", self._tls / "private.key"
        extra = (
            (f"--ssl-cert={certificate}", f"--ssl-key={key}")
            if isinstance(self._server, Mariadb)
            else ("-c", "ssl=on", "-c", f"ssl_cert_file={certificate}", "-c", f"ssl_key_file={key}")
        )
        return replace(server, argv=(*server.argv, *extra))


def connect(server: LocalDatabase, database: str | None = None, *, autocommit: bool = False) -> Any:
    """A connection of the driver's own."""
    where = {"host": server.host, "port": server.port, "user": server.username, "password": server.password}
    if server.kind == "mariadb":
        return pymysql.connect(**where, database=database or server.database, autocommit=autocommit)
    return psycopg.connect(**where, dbname=database or server.database, autocommit=autocommit)


def execute(server: LocalDatabase, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
    """Runs statements one by one; the rows of the last one."""
    with closing(connect(server, database, autocommit=True)) as connection, closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@dataclass(kw_only=True)
class Site:
    """Where a test's registry is and how it gets there."""

    server: LocalDatabase
    database: str
    folder: Path
    port: int | None = None
    username: str | None = None
    password: str | None = None
    ca_pem: str | None = None
    encrypted: bool = False
    silence: int = LIMITS.silence

    async def open(self, databases: DatabasePool | None = None) -> Opened:
        counts = Counts()
        limits = replace(LIMITS, silence=self.silence)
        databases = databases or DatabasePool(data_dir=self.folder, now=lambda: NOW, limits=limits, metrics=counts)
        registry = a_registry(
            **{
                {"mariadb": "mysql", "postgres": "postgres"}[self.server.kind]: {
                    "host": self.server.host,
                    "port": self.port or self.server.port,
                    "database": self.database,
                    "username": self.username or self.server.username,
                    "tls": "Required" if self.ca_pem or self.encrypted else "Disabled",
                }
            }
        )
        password = self.password or self.server.password
        try:
            rows = await databases.open(registry, password=password, ca_pem=self.ca_pem)
        except ReconcileError:
            await databases.aclose()
            raise
        return Opened(registry, password, databases, rows, counts)


class Proxy:
    """Between a client and a server, for what networks do. It acts on the next COMMIT that it is armed for."""

    def __init__(self, server: LocalDatabase) -> None:
        self._server = server
        self._armed: str | None = None
        self._listener = socket.create_server((LOOPBACK, 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.muted = False
        self.acted = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, action: str) -> None:
        """``lose commit``: it does not reach the server. ``lose answer``: the server commits, nobody hears of it."""
        self._armed = action
        self.acted.clear()

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection((self._server.host, self._server.port))
                self._sockets += [client, upstream]
                answer_lost = threading.Event()
                threading.Thread(target=self._requests, args=(client, upstream, answer_lost), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, upstream, answer_lost), daemon=True).start()

    def _requests(self, client: socket.socket, upstream: socket.socket, answer_lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.muted:
                    continue
                action = self._armed if b"COMMIT" in data else None
                if action is not None:
                    self._armed = None
                if action == "lose commit":
                    break
                if action == "lose answer":
                    answer_lost.set()
                upstream.sendall(data)
        self._cut(client, upstream)

    def _answers(self, client: socket.socket, upstream: socket.socket, answer_lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                if answer_lost.is_set():
                    break
                client.sendall(data)
        self._cut(client, upstream)

    def _cut(self, *both: socket.socket) -> None:
        for each in both:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.acted.set()


def end_sessions(server: LocalDatabase, database: str) -> None:
    with closing(connect(server, autocommit=True)) as connection, closing(connection.cursor()) as cursor:
        if server.kind == "postgres":
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
            return
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (database,))
        for (session,) in cursor.fetchall():
            cursor.execute(f"KILL {session}")
