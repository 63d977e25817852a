"""The common parts of the two database servers of the local cluster."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from gatehouse_local.errors import LocalClusterError, ProgramMissing
from gatehouse_local.net import LOOPBACK
from gatehouse_local.process import Account, base_environment

__all__ = [
    "DATABASE",
    "LocalDatabase",
    "account_for",
    "find_program",
    "give_to",
    "home_for",
    "initialise",
]

DATABASE = "gatehouse"
_ROOT_HOME = Path("/var/lib/gatehouse-local")
_TAIL_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDatabase:
    """The connection values of one database."""

    kind: Literal["mariadb", "postgres"]
    port: int
    username: str
    password: str
    database: str = DATABASE
    host: str = LOOPBACK

    def __repr__(self) -> str:
        return f"LocalDatabase({self.kind} {self.username}@{self.host}:{self.port}/{self.database})"

    @property
    def url(self) -> str:
        """The address in SQLAlchemy's form, password included."""
        driver = {"mariadb": "mysql+pymysql", "postgres": "postgresql+psycopg"}[self.kind]
        return f"{driver}://{quote(self.username)}:{quote(self.password)}@{self.host}:{self.port}/{self.database}"


def find_program(name: str, *, package: str, folders: Sequence[Path], environ: Mapping[str, str] = os.environ) -> Path:
    """A database program on the PATH or in one of `folders`.

    Raises:
        ProgramMissing: the program is missing; the message names its package.
    """
    path = os.pathsep.join([environ.get("PATH", os.defpath), *map(str, folders)])
    found = shutil.which(name, path=path)
    if found is None:
        raise ProgramMissing(
            f"{name} is neither on the PATH nor in {', '.join(map(str, folders))}. "
            f"Install it, on Debian or Ubuntu with: apt-get install {package}"
        )
    return Path(found).resolve()


def account_for(name: str) -> Account | None:
    """The account of a database server: its own when this process runs as root, else the caller's (None).

    Raises:
        LocalClusterError: this process runs as root and the account does not exist.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise LocalClusterError(
            f"The database server cannot run as root, and there is no account {name}. "
            f"Create it with: useradd --system {name}"
        ) from error
    return Account(name, entry.pw_uid, entry.pw_gid)


def home_for(folder: Path, account: Account | None) -> Path:
    """`folder`, or a folder below /var/lib/gatehouse-local if `account` cannot pass through a parent of `folder`.

    Root's home, for example, is closed to every other account.
    """
    if account is None or all(_may_enter(parent, account) for parent in folder.resolve().parents):
        return folder
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return _ROOT_HOME / f"{folder.name}-{key}"


def give_to(account: Account | None, path: Path) -> Path:
    """Changes the owner of a file or folder to the server's account."""
    if account is not None:
        os.chown(path, account.uid, account.gid)
    return path


def initialise(argv: Sequence[str], *, account: Account | None, lock: int | None) -> None:
    """Runs a program that fills a data folder.

    The program inherits the lock. Even if this process is killed, the program ends before another run uses the folder.

    Raises:
        LocalClusterError: the program failed; with the end of its output.
    """
    run = subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd="/",
        env=base_environment(),
        pass_fds=() if lock is None else (lock,),
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        check=False,
    )
    if run.returncode != 0:
        said = "\n".join(run.stdout.splitlines()[-_TAIL_LINES:])
        raise LocalClusterError(f"{Path(argv[0]).name} failed with exit code {run.returncode}:\n{said}")


def _may_enter(folder: Path, account: Account) -> bool:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return True  # made by this package, with a mode that lets others through
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
