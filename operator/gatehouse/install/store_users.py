"""The users of an installed MinIO: read from a file, and created as soon as MinIO answers.

Their keys come from folders, as Secrets are mounted in a Pod, so this module needs no API of the cluster. Values are
never logged and never part of an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from gatehouse.install.errors import CredentialsInvalid, NotComplete
from gatehouse.install.strict_file import Strict, load_strict, read_bounded
from gatehouse.runtime.clock import Clock, sleep
from gatehouse.storage.s3.users import (
    Access,
    StoreAdministrator,
    StoreUser,
    UsersNotReady,
    UsersRefused,
    ensure_users,
)

__all__ = ["StoreUsersFile", "WantedUser", "ensure_when_ready", "load_store_users", "read_users"]

_POLL: Final = 1.0
_SHORTEST: Final = 8
_LONGEST: Final = 40
"""The longest secret key of a user that MinIO accepts. The administrator's key may be longer."""
_LONGEST_ROOT: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}", re.ASCII)

Ensure = Callable[[StoreAdministrator, tuple[StoreUser, ...]], None]


class WantedUser(Strict):
    """A user that must exist."""

    credentials: Path
    """Folder with the files AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    access: Access
    """read: list and get; write: put and delete as well."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """The one bucket of the access."""


class StoreUsersFile(Strict):
    """The whole file."""

    endpoint: Annotated[str, StringConstraints(max_length=512, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]
    """The URL of MinIO."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"
    """The region in the signature of requests."""
    authority: Path | None = None
    """The file of the authority of MinIO's certificate; the system's authorities when absent."""
    administrator: Path
    """Folder with the files root-user and root-password."""
    users: Annotated[list[WantedUser], Field(min_length=1, max_length=64)]
    """Every user that must exist. Other users stay unchanged."""


def load_store_users(path: Path) -> StoreUsersFile:
    """The file, checked.

    Raises:
        CredentialsInvalid: the file is unreadable or invalid.
    """
    return load_strict(path, StoreUsersFile)


def read_users(file: StoreUsersFile) -> tuple[StoreAdministrator, tuple[StoreUser, ...]]:
    """The administrator, who makes the users, and the users, with their keys.

    Raises:
        CredentialsInvalid: a key is unreadable or invalid, or two users, or a user and the administrator, are the same.
    """
    administrator = StoreAdministrator(
        url=file.endpoint,
        name=_name(file.administrator / "root-user"),
        secret_key=_secret(file.administrator / "root-password", longest=_LONGEST_ROOT),
        region=file.region,
        authority=file.authority,
    )
    users: dict[str, StoreUser] = {}
    for wanted in file.users:
        name = _name(wanted.credentials / "AWS_ACCESS_KEY_ID")
        if name == administrator.name or name in users:
            raise CredentialsInvalid(
                f"{wanted.credentials} names {name}, who is somebody else in this file already; "
                "expected: a user of its own, so that nobody has the rights of two"
            )
        secret = _secret(wanted.credentials / "AWS_SECRET_ACCESS_KEY")
        users[name] = StoreUser(name=name, secret_key=secret, access=wanted.access, bucket=wanted.bucket)
    return administrator, tuple(users.values())


async def ensure_when_ready(
    administrator: StoreAdministrator,
    users: tuple[StoreUser, ...],
    *,
    seconds: float,
    clock: Clock,
    say: Callable[[str], None],
    ensure: Ensure = ensure_users,
) -> None:
    """Ensures the users as soon as the store answers. ``say`` receives each new reason to wait.

    Raises:
        NotComplete: the store did not answer within ``seconds``, or refused.
    """
    until, said = clock.now() + seconds, ""
    while True:
        try:
            return await asyncio.to_thread(ensure, administrator, users)
        except UsersRefused as error:
            raise NotComplete(str(error)) from None
        except UsersNotReady as error:
            reason = str(error)
        if clock.now() >= until:
            raise NotComplete(f"not done after {seconds:g} s; {reason}")
        if reason != said:
            said = reason
            say(f"waiting: {reason}")
        await sleep(clock, _POLL)


def _name(path: Path) -> str:
    name = _read(path)
    if not _NAME.fullmatch(name):
        raise CredentialsInvalid(f"{path} has no name of a user; expected: 3 to 64 letters, digits, dots, dashes or _")
    return name


def _secret(path: Path, *, longest: int = _LONGEST) -> str:
    secret = _read(path)
    if not _SHORTEST <= len(secret) <= longest:
        raise CredentialsInvalid(
            f"{path} has {len(secret)} characters; expected: {_SHORTEST} to {longest}, as MinIO takes them"
        )
    return secret


def _read(path: Path) -> str:
    try:
        return read_bounded(path).decode("ascii").strip()
    except UnicodeDecodeError:
        raise CredentialsInvalid(f"{path} has something else than ASCII in it") from None
