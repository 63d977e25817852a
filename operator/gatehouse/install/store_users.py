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
from gatehouse.storage.providers.s3 import ACCESS_KEY, SECRET_KEY
from gatehouse.storage.s3.bucket_events import BucketEvents, ensure_bucket_events
from gatehouse.storage.s3.users import (
    Access,
    StoreAdministrator,
    StoreUser,
    UsersNotReady,
    UsersRefused,
    ensure_users,
)

__all__ = [
    "StoreUsersFile",
    "WantedEvents",
    "WantedUser",
    "ensure_when_ready",
    "load_store_users",
    "read_users",
    "wanted_events",
]

_POLL: Final = 1.0
_SHORTEST: Final = 8
_LONGEST: Final = 40
"""The longest secret key of a user that MinIO accepts. The administrator's key may be longer."""
_LONGEST_ROOT: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}", re.ASCII)

Ensure = Callable[[StoreAdministrator, tuple[StoreUser, ...]], None]
EnsureEvents = Callable[[StoreAdministrator, tuple[BucketEvents, ...]], None]


class WantedUser(Strict):
    """A user that must exist."""

    credentials: Path
    """Folder with the two files of the key, named as the keys of a Secret with credentials."""
    access: Access
    """read: list and get; write: put and delete as well."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """The one bucket of the access."""


class WantedEvents(Strict):
    """A bucket whose events go to a webhook that MinIO was started with."""

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """The bucket."""
    webhook: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{1,64}$")]
    """The name in MINIO_NOTIFY_WEBHOOK_ENABLE_<name>."""


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
    events: Annotated[list[WantedEvents], Field(max_length=64)] = Field(default_factory=list)
    """The buckets whose events MinIO sends. Other targets of a bucket stay unchanged."""


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
    for user in file.users:
        name = _name(user.credentials / ACCESS_KEY)
        if name == administrator.name or name in users:
            raise CredentialsInvalid(
                f"{user.credentials} names {name}, which another entry of this file names already; "
                "expected: a different user in each entry, so that no user has the rights of two"
            )
        secret = _secret(user.credentials / SECRET_KEY)
        users[name] = StoreUser(name=name, secret_key=secret, access=user.access, bucket=user.bucket)
    return administrator, tuple(users.values())


async def ensure_when_ready(
    administrator: StoreAdministrator,
    users: tuple[StoreUser, ...],
    *,
    seconds: float,
    clock: Clock,
    say: Callable[[str], None],
    events: tuple[BucketEvents, ...] = (),
    ensure: Ensure = ensure_users,
    ensure_events: EnsureEvents = ensure_bucket_events,
) -> None:
    """Ensures the users and the events as soon as the store answers. ``say`` receives each new reason to wait.

    Raises:
        NotComplete: the store did not answer within ``seconds``, or refused.
    """
    until, said = clock.now() + seconds, ""
    while True:
        try:
            await asyncio.to_thread(ensure, administrator, users)
            return await asyncio.to_thread(ensure_events, administrator, events)
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


def wanted_events(file: StoreUsersFile) -> tuple[BucketEvents, ...]:
    """The buckets whose events MinIO sends."""
    return tuple(BucketEvents(wanted.bucket, wanted.webhook) for wanted in file.events)


def _name(path: Path) -> str:
    name = _read(path)
    if not _NAME.fullmatch(name):
        raise CredentialsInvalid(f"{path} has no name of a user; expected: 3 to 64 letters, digits, dots, dashes or _")
    return name


def _secret(path: Path, *, longest: int = _LONGEST) -> str:
    secret = _read(path)
    if not _SHORTEST <= len(secret) <= longest:
        raise CredentialsInvalid(
            f"{path} has {len(secret)} characters; expected: {_SHORTEST} to {longest}, as MinIO requires"
        )
    return secret


def _read(path: Path) -> str:
    try:
        return read_bounded(path).decode("ascii").strip()
    except UnicodeDecodeError:
        raise CredentialsInvalid(f"{path} contains characters other than ASCII") from None
