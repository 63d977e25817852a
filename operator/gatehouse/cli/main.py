"""The commands, put together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from gatehouse import __version__
from gatehouse.cli.local_package import LOCAL_COMMANDS, has_local_package, local_command
from gatehouse.cli.startup import for_good
from gatehouse.domain.common.text import one_line
from gatehouse.printing import print_trace, stdout

__all__ = ["app", "main"]

_COMMANDS: Final = (
    "explain",
    "template",
    "queue",
    "approve",
    "reject",
    "request-changes",
    "withdraw",
    "submit",
    "deprecate",
    "archive",
    "restore",
    "promote",
    "diff",
    "evaluate",
    "policy",
    "audit",
    "evidence",
    "seed",
    "register",
    "fit",
    "upload",
    "demo",
    "run",
    "settings",
    "crds",
    "local",
    "deploy",
    "undeploy",
    "credentials",
    "store-users",
    "connection",
    "kind",
)
_TOGETHER: Final = {
    **dict.fromkeys(("approve", "reject", "request-changes", "withdraw"), "decisions"),
    "connection": "storage_connection",
    "store-users": "store_users",
    **dict.fromkeys(("submit", "deprecate", "archive", "restore"), "lifecycle"),
}
"""Commands that share a module; any other has one of its own name."""


_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]


@contextmanager
def _plain_refusals() -> Iterator[None]:
    """What Click says of arguments quotes them: they may be somebody else's text, put there by a script."""
    try:
        yield
    except _UsageError as error:
        if isinstance(message := getattr(error, "message", None), str):
            vars(error)["message"] = one_line(message)
        raise


class _Commands(TyperGroup):
    """Imports a command when it is called: the operator needs nothing of the local cluster, which takes 28 MB.

    The types of Click that the signatures name are private to typer.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Reads the arguments before the command."""
        with _plain_refusals():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Reads the arguments of the command, and runs it."""
        with _plain_refusals():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Click's
        """Every command that is installed, in the order of the help."""
        local = has_local_package()
        return [name for name in _COMMANDS if local or name not in LOCAL_COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command ``gatehouse NAME``: the function NAME, or the commands ``app``, of the module NAME."""
        if cmd_name not in _COMMANDS:
            return None
        with for_good():
            module = (
                local_command(cmd_name)
                if cmd_name in LOCAL_COMMANDS
                else import_module(f"gatehouse.cli.{_TOGETHER.get(cmd_name, cmd_name)}")
            )
        commands: typer.Typer | None = getattr(module, "app", None)
        if commands is None:
            commands = typer.Typer(add_completion=False)
            commands.command(cmd_name)(getattr(module, cmd_name.replace("-", "_")))
        command = typer.main.get_command(commands)
        command.name = cmd_name  # else the help shows a group without a name
        return command


app = typer.Typer(
    name="gatehouse",
    cls=_Commands,
    help="A model registry that is a control plane.\n\nExit codes: 0 done, 1 not (yet) so, 2 an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        stdout().line(f"gatehouse {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A model registry that is a control plane."""


def main() -> None:
    """Entry point of the console scripts."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - it ends the command, with its trace, which may quote anybody's text
        print_trace(error)
        sys.exit(1)
