"""A real MariaDB that takes tokens in clear over TLS, by PAM, as cloud databases take tokens of their IAM.

PAM is told of the tokens by a service in /etc/pam.d, which needs root and is taken away again.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import text

from cluster.registry.databasefaults import Machine, execute
from cluster.servers import available
from gatehouse.domain.common.errors import ReconcileError, Waiting
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.tables import model_versions
from gatehouse_local.databases import account_for, give_to
from gatehouse_local.errors import ProgramMissing
from gatehouse_local.files import make_traversable
from gatehouse_local.process import Server
from registrycontract import LIMITS, NOW, Counts, Opened, a_registry, a_version

PLUGIN = Path("/usr/lib/mysql/plugin/auth_pam_v1.so")
PAM_EXEC = (Path("/lib/x86_64-linux-gnu/security/pam_exec.so"), Path("/usr/lib64/security/pam_exec.so"))
PAM_SERVICES = Path("/etc/pam.d")
USER = "gatehouse_iam"
FILLING = 300
"""Bytes beyond the 255 of old password fields; PAM itself takes no more than 511."""


class TokenMachine(Machine):
    """MariaDB with TLS whose user ``USER`` has no password: a file holds the token that is valid now."""

    def __init__(self, folder: Path) -> None:
        super().__init__("mariadb", folder)
        self.service = f"gatehouse-{secrets.token_hex(4)}"
        account = account_for("mysql")
        self._token = give_to(account, folder / "token")
        self._check = folder / "check"
        self._check.write_text(f'#!/bin/sh\n[ "$(cat)" = "$(cat {self._token})" ]\n')
        self._check.chmod(0o755)

    def start(self) -> None:
        rules = f"auth required pam_exec.so expose_authtok quiet {self._check}\naccount required pam_permit.so\n"
        (PAM_SERVICES / self.service).write_text(rules)
        super().start()
        execute(
            self.database,
            f"CREATE USER {USER}@'%' IDENTIFIED VIA pam USING '{self.service}' REQUIRE SSL",
            f"GRANT ALL ON {self.database.database}.* TO {USER}@'%'",
        )

    def stop(self) -> None:
        super().stop()
        (PAM_SERVICES / self.service).unlink(missing_ok=True)

    def takes(self, token: str) -> None:
        """From now on this is the valid token."""
        self._token.write_text(token)

    def _described(self) -> Server:
        server = super()._described()
        return replace(server, argv=(*server.argv, "--plugin-load-add=auth_pam_v1", "--pam-use-cleartext-plugin=ON"))


@contextlib.contextmanager
def token_machine() -> Iterator[TokenMachine]:
    if not PLUGIN.exists() or not any(each.exists() for each in PAM_EXEC):
        raise ProgramMissing("MariaDB's auth_pam_v1.so, or pam_exec.so, is not installed")
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as name:
        folder = make_traversable(Path(name))
        (folder / "token").write_text("")
        machine = TokenMachine(folder)
        try:
            machine.start()
            yield machine
        finally:
            machine.stop()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def machine() -> Iterator[TokenMachine]:
    with available(token_machine()) as running:
        yield running


def token() -> str:
    return f"{secrets.token_urlsafe(24)}{'t' * FILLING}"


@dataclass
class Site:
    """A registry on that server, by ``auth``."""

    machine: TokenMachine
    databases: DatabasePool
    auth: str = "Token"

    async def open(self, password: str) -> Opened:
        database = self.machine.database
        registry = a_registry(
            mysql={
                "host": database.host,
                "port": database.port,
                "database": database.database,
                "username": USER,
                "auth": self.auth,
                "passwordSecret": {"name": "db", "key": "token"},
            }
        )
        rows = await self.databases.open(registry, password=password, ca_pem=self.machine.authority)
        return Opened(registry, password, self.databases, rows, Counts())


@pytest.fixture
def databases(tmp_path: Path) -> DatabasePool:
    return DatabasePool(data_dir=tmp_path, now=lambda: NOW, limits=LIMITS)


def session(opened: Opened) -> int:
    [(number,)] = opened.run(text("SELECT CONNECTION_ID()"))
    return int(number)


async def test_a_renewed_token_is_used_without_a_restart_and_breaks_no_connection(
    machine: TokenMachine, databases: DatabasePool
) -> None:
    first, second = token(), token()
    machine.takes(first)
    site = Site(machine, databases)
    opened = await site.open(first)
    await opened.rows.save_version(a_version(1), files=None, change=None)
    connected = session(opened)

    # The first token has ended; the connection that was made with it goes on.
    machine.takes(second)
    renewed = await site.open(second)
    assert renewed.rows._database is opened.rows._database
    await opened.rows.save_version(a_version(2), files=None, change=None)
    assert session(renewed) == connected

    # A connection that is made anew is made with the second one, and nobody waits for a restart.
    execute(machine.database, f"KILL {connected}")
    await opened.rows.save_version(a_version(3), files=None, change=None)
    assert session(renewed) != connected
    assert renewed.count(model_versions) == 3
    await databases.aclose()


async def test_a_token_that_is_not_valid_is_refused_until_it_is_renewed(
    machine: TokenMachine, databases: DatabasePool
) -> None:
    valid = token()
    machine.takes(valid)
    site = Site(machine, databases)
    with pytest.raises(Waiting) as refused:
        await site.open(token())
    assert refused.value.reason == "DatabaseAccessDenied"
    opened = await site.open(valid)
    assert session(opened)
    await databases.aclose()


async def test_no_password_goes_in_clear_to_a_registry_that_does_not_say_token(
    machine: TokenMachine, databases: DatabasePool
) -> None:
    valid = token()
    machine.takes(valid)
    with pytest.raises(ReconcileError) as refused:
        await Site(machine, databases, auth="Password").open(valid)
    assert refused.value.reason == "DatabaseInsecure"
    assert "auth: Token" in refused.value.remedy
    await databases.aclose()
