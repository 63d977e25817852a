"""`gatehouse local`: a real control plane, object store and database on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatehouse.printing import stderr, stdout
from gatehouse_local.cli.image import image
from gatehouse_local.errors import LocalClusterError
from gatehouse_local.programs import Use, programs_for

if TYPE_CHECKING:
    from gatehouse.printing.progress import ConsoleProgress
    from gatehouse_local.cluster import LocalCluster, ServerStatus

__all__ = ["app"]

DatabaseChoice = Literal["sqlite", "mariadb", "postgres"]
"""The values of ``gatehouse_local.state.DatabaseKind``, whose import takes longer than all of the help."""

app = typer.Typer(
    name="local",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run a whole cluster on this machine: Kubernetes API server, S3 store, database and the operator.\n\n"
    "No containers are needed; with --node (Linux, root) there are Pods too. "
    "Exit codes: 0 success, 1 condition not met: the cluster is not up or the work failed, 2 error: wrong usage.",
)

Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="Folder of the cluster's data. Default: the state folder of the user."),
]


@contextmanager
def _reporting() -> Iterator[ConsoleProgress]:
    """Progress on stderr; an error becomes one message there and exit code 1."""
    from gatehouse.printing.progress import ConsoleProgress

    try:
        with ConsoleProgress() as progress:
            yield progress
    except (LocalClusterError, OSError) as error:
        stderr().labelled("gatehouse local", str(error))
        raise typer.Exit(1) from error


@app.command()
def miniature(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; created if it does not exist.")],
) -> None:
    """Write a miniature of Granite 3.1 8B FP8 for trials: real files with tiny dimensions.

    Example: gatehouse local miniature ./granite && gatehouse upload ./granite s3://models/granite/
    """
    from gatehouse_local.miniature import miniature_granite

    folder.mkdir(parents=True, exist_ok=True)
    files = miniature_granite()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    stdout().line(f"{len(files)} files in {folder}")


@app.command()
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="File to upload.")],
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="Object to create or replace, such as s3://models/x/config.json.")
    ],
) -> None:
    """Put one file into the local object store without checks, as a person who alters an artifact would do.

    Example: eval "$(gatehouse local env)"; gatehouse local put altered.md s3://models/granite/README.md
    """
    from gatehouse_local.showcase import STORE_VARIABLES, put_file

    missing = [name for name in STORE_VARIABLES if name not in os.environ]
    with _reporting():
        if missing:
            raise LocalClusterError(f'{missing[0]} is not set; run: eval "$(gatehouse local env)"')
        put_file(os.environ, file, uri)
    stdout().line(f"{file} is {uri}")


@app.command()
def up(
    directory: Directory = None,
    database: Annotated[
        DatabaseChoice | None,
        typer.Option(help="Database of the registry. Default: as before, or sqlite the first time."),
    ] = None,
    no_operator: Annotated[
        bool, typer.Option("--no-operator", help="Start no operator, so that you can run your own.")
    ] = False,
    bare: Annotated[
        bool | None,
        typer.Option(
            "--bare/--no-bare",
            help="Only Kubernetes, to install Gatehouse on it. Default: as before, or no the first time.",
        ),
    ] = None,
    node: Annotated[
        bool | None,
        typer.Option(
            "--node/--no-node",
            help="Run Pods, with containerd and the kubelet; Linux, root. Default: as before, or no the first time.",
        ),
    ] = None,
    gpu: Annotated[
        bool | None,
        typer.Option(
            "--gpu/--no-gpu", help="Pretend that the node has an NVIDIA L4. Default: as before, or no the first time."
        ),
    ] = None,
) -> None:
    """Start what does not run yet, and return when all of it answers.

    The first time, programs that are not installed are downloaded or built, which takes some minutes.

    Examples:

      gatehouse local up && eval "$(gatehouse local env)" && kubectl get modelregistries -A

      gatehouse local up --database mariadb

      gatehouse local up --dir ./cluster --no-operator

      sudo gatehouse local up --node --bare && eval "$(sudo gatehouse local env)" && make deploy OVERLAY=rhoai

    Exit codes: 0 success, 1 condition not met: a server could not be started, 2 error: wrong usage.
    """
    with _reporting() as progress:
        cluster = _cluster(directory, progress)
        started = cluster.up(database=database, operator=not no_operator, bare=bare, node=node, gpu=gpu)
        progress.say(f"Started {', '.join(started)}." if started else "Everything was running already.")
        option = f" --dir {shlex.quote(str(directory))}" if directory else ""
        progress.say(f'To use the cluster: eval "$(gatehouse local env{option})"')


@app.command()
def env(
    directory: Directory = None,
    user: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Person whose token clients of the server send.")
    ] = "admin",
) -> None:
    """Print the variables with which kubectl, S3 clients, SQLAlchemy and clients of the REST server find the cluster.

    kubectl's folder is added to PATH where no kubectl is on it.

    Examples:

      eval "$(gatehouse local env)"

      eval "$(gatehouse local env --as ai-developer)" && curl -H "Authorization: Bearer $GATEHOUSE_TOKEN" \
        "$GATEHOUSE_URL/api/model_registry/v1alpha3/registered_models"

    Exit codes: 0 success, 1 condition not met: there is no cluster, 2 error: wrong usage.
    """
    with _reporting() as progress:
        cluster = _cluster(directory, progress)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in cluster.env(user=user).items()]
        kubectl = None if shutil.which("kubectl") else cluster.kubectl()
        if kubectl is not None:
            lines.append(f'export PATH="$PATH":{shlex.quote(str(kubectl.parent))}')
        for line in lines:
            stdout().line(line)


@app.command()
def status(
    directory: Directory = None,
    output: Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="Format of the output.")] = "table",
) -> None:
    """Show each server, whether it runs and whether it answers.

    Examples:

      gatehouse local status -o json

    Exit codes: 0 success, 1 condition not met: a server does not answer or there is no cluster, 2 error: wrong usage.
    """
    with _reporting() as progress:
        cluster = _cluster(directory, progress)
        servers = cluster.status()
    if output == "json":
        stdout().data([_as_json(server) for server in servers])
    else:
        stdout().columns(_rows(servers))
    if not all(server.answering for server in servers):
        raise typer.Exit(1)


@app.command()
def down(
    directory: Directory = None,
    purge: Annotated[bool, typer.Option("--purge", help="Also remove the data, keys and logs of the cluster.")] = False,
) -> None:
    """Stop exactly what `up` started. Its data stays, and the next `up` continues with it.

    Of a node no process, mount, interface or cgroup is left.

    Examples:

      gatehouse local down

      gatehouse local down --purge

    Exit codes: 0 success, 1 condition not met: a server could not be stopped, 2 error: wrong usage.
    """
    with _reporting() as progress:
        cluster = _cluster(directory, progress)
        stopped = cluster.down(purge=purge)
        progress.say(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def programs(
    use: Annotated[
        Use,
        typer.Argument(
            help="control-plane: programs without a node; node: also those of `gatehouse local up --node`; "
            "e2e: also those of `make e2e`."
        ),
    ] = "node",
) -> None:
    """Find, download or build the programs of the cluster ahead of time, and print their paths.

    Examples:

      gatehouse local programs

      gatehouse local programs control-plane

    Exit codes: 0 success, 1 condition not met: a program could not be obtained, 2 error: wrong usage.
    """
    from gatehouse_local.binaries import Binaries

    with _reporting() as progress:
        for name, path in Binaries(progress=progress).obtain(programs_for(sys.platform, use=use)).items():
            stdout().line(f"{name}  {path}")


app.command()(image)


def _cluster(directory: Path | None, progress: ConsoleProgress) -> LocalCluster:
    from gatehouse_local.cluster import LocalCluster

    return LocalCluster(directory, progress=progress)


def _state(server: ServerStatus) -> str:
    if server.pid is None:
        return "stopped"
    return "up" if server.answering else "not answering"


def _as_json(server: ServerStatus) -> dict[str, object]:
    return {
        "name": server.name,
        "state": _state(server),
        "pid": server.pid,
        "address": server.address,
        "log": str(server.log),
    }


def _rows(servers: Sequence[ServerStatus]) -> Sequence[Sequence[str]]:
    rows = ((each.name, _state(each), str(each.pid or "-"), each.address, str(each.log)) for each in servers)
    return (("NAME", "STATE", "PID", "ADDRESS", "LOG"), *rows)
