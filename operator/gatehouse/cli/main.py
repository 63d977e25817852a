"""The command ``gatehouse``: loads a command when it is called, and lists all of them without loading any."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from gatehouse import __version__
from gatehouse.cli.commands import COMMANDS, CommandEntry
from gatehouse.cli.completion import coerce_late, complete_lightly, is_completing
from gatehouse.cli.local_package import LOCAL_COMMANDS, has_local_package, local_command
from gatehouse.cli.startup import for_good
from gatehouse.domain.common.text import one_line
from gatehouse.printing import print_trace, stdout

__all__ = ["app", "main"]

_ENTRIES: Final = {entry.name: entry for entries in COMMANDS.values() for entry in entries}

_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]


@contextmanager
def _plain_refusals() -> Iterator[None]:
    """Usage errors of Click quote the arguments, which may be another person's text that a script passed on."""
    try:
        yield
    except _UsageError as error:
        if isinstance(message := getattr(error, "message", None), str):
            vars(error)["message"] = one_line(message)
        raise


class _Commands(TyperGroup):
    """Lists commands from the table, and imports a command when it is called.

    An import of every command would take a second and 28 MB. The types of Click that the signatures name are private
    to typer.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in _ENTRIES.values():
            self.add_command(TyperCommand(entry.name, help=entry.summary, short_help=entry.summary))

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Reads the arguments before the command."""
        with _plain_refusals():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Reads the arguments of the command, and runs it."""
        with _plain_refusals():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command that is installed, in the order of the help."""
        local = has_local_package()
        return [name for name in super().list_commands(ctx) if local or name not in LOCAL_COMMANDS]

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its entry in the table."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _load(_ENTRIES[name]), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by group, each with its line of the table."""
        installed = frozenset(self.list_commands(ctx))
        for group, entries in COMMANDS.items():
            rows = [(entry.name.ljust(_LONGEST_NAME), entry.summary) for entry in entries if entry.name in installed]
            with formatter.section(group):
                formatter.write_dl(rows)


_LONGEST_NAME: Final = max(map(len, _ENTRIES))


def _load(entry: CommandEntry) -> Any:
    with for_good():
        local = entry.name in LOCAL_COMMANDS
        module = local_command(entry.name) if local else import_module(f"gatehouse.cli.{entry.module}")
    commands: typer.Typer | None = getattr(module, "app", None)
    if commands is None:
        commands = typer.Typer(add_completion=False, rich_markup_mode=None)
        commands.command(entry.name)(getattr(module, entry.name.replace("-", "_")))
    command = typer.main.get_command(commands)
    command.name = entry.name  # else the help shows a group without a name
    return command


app = typer.Typer(
    name="gatehouse",
    cls=_Commands,
    help="A model registry that is a control plane.\n\n"
    "Exit codes: 0 success, 1 condition not met, 2 error. `gatehouse COMMAND --help` says which condition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # an import of rich takes longer than all of the help
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
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
    if is_completing():
        complete_lightly()
    else:
        coerce_late()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - it ends the command, with its trace, which may quote anybody's text
        print_trace(error)
        sys.exit(1)
