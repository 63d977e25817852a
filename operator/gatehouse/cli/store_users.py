"""``gatehouse store-users``: the users of the MinIO that an installation brings, each with the rights it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse.cli.connection import NOT_READY, fail, run_command
from gatehouse.cli.options import TimeoutOption
from gatehouse.cli.signals import Stopped, until_told_to_stop
from gatehouse.install.errors import DeployError, NotComplete
from gatehouse.install.store_users import ensure_when_ready, load_store_users, read_users
from gatehouse.printing import stderr, stdout
from gatehouse.runtime.clock import LoopClock
from gatehouse.storage.s3.users import StoreAdministrator, StoreUser

__all__ = ["store_users"]


def store_users(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Which users, as YAML; see kustomize/base/minio.")],
    timeout: TimeoutOption = 300.0,
) -> None:
    """Have a MinIO's users there, each with a key of its own and one right: to read a bucket, or to write it.

    Only this command and MinIO itself need the credentials of MinIO's administrator. It waits until MinIO answers. Keys
    come from folders, as a Pod has its Secrets, and none is printed. Users that the file does not name are left alone.
    Run it as often as you like.

    Exit codes: 0 all are there, 1 not (in time), and why, 2 an error in the file or in a key.

    Examples:

      gatehouse store-users /etc/gatehouse/store/users.yaml
    """
    try:
        administrator, users = read_users(load_store_users(file))
        run_command(lambda: until_told_to_stop(_ensured(administrator, users, timeout)))
    except Stopped as stopped:
        fail(f"{stopped}; run it again", code=NOT_READY)
    except NotComplete as error:
        fail(str(error), code=NOT_READY)
    except DeployError as error:
        fail(str(error))
    for user in users:
        stdout().line(f"{user.name} may {user.access} bucket {user.bucket}")


async def _ensured(administrator: StoreAdministrator, users: tuple[StoreUser, ...], seconds: float) -> None:
    await ensure_when_ready(administrator, users, seconds=seconds, clock=LoopClock(), say=stderr().line)
