"""``gatehouse store-users``: the users of the MinIO of an installation, each with the rights that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatehouse.cli.connection import run_command
from gatehouse.cli.exits import exits
from gatehouse.cli.options import TimeoutOption
from gatehouse.cli.signals import until_told_to_stop
from gatehouse.errors import ConditionNotMet
from gatehouse.printing import stderr, stdout

if TYPE_CHECKING:
    from gatehouse.storage.s3.bucket_events import BucketEvents
    from gatehouse.storage.s3.users import StoreAdministrator, StoreUser

__all__ = ["store_users"]


def store_users(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML file that lists the users; see kustomize/base/minio.")
    ],
    timeout: TimeoutOption = 300.0,
) -> None:
    """Create the users of a MinIO, and name the buckets whose events it sends.

    Each user gets its own key and one right: to read one bucket or to write one bucket. Only this command and MinIO
    itself need the credentials of the administrator of MinIO. The command waits until MinIO answers. It reads keys from
    folders, such as the mounted Secrets of a Pod, and prints none. It changes no user that the file does not name. You
    can run the command at any time.

    Exit codes: 0 success, 1 condition not met: MinIO did not create every user in time, 2 error, such as a wrong key.

    Examples:

      gatehouse store-users /etc/gatehouse/store/users.yaml
    """
    from gatehouse.install.store_users import load_store_users, read_users, wanted_events

    stopped = ConditionNotMet("stopped by SIGTERM; run the command again")
    with exits():
        wanted = load_store_users(file)
        administrator, users = read_users(wanted)
    events = wanted_events(wanted)
    run_command(lambda: until_told_to_stop(_ensured(administrator, users, events, timeout), stopped=stopped))
    for user in users:
        stdout().line(f"{user.name} may {user.access} bucket {user.bucket}")
    for each in events:
        stdout().line(f"bucket {each.bucket} sends events to webhook {each.webhook}")


async def _ensured(
    administrator: StoreAdministrator, users: tuple[StoreUser, ...], events: tuple[BucketEvents, ...], seconds: float
) -> None:
    from gatehouse.install.store_users import ensure_when_ready
    from gatehouse.runtime.clock import LoopClock

    await ensure_when_ready(administrator, users, events=events, seconds=seconds, clock=LoopClock(), say=stderr().line)
