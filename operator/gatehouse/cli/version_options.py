"""Options that the commands about one version share, and how they print."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import typer

from gatehouse.cli.connection import NOT_READY, fail, run_command
from gatehouse.printing import stderr, stdout
from gatehouse.review.errors import NothingToDo, ReviewError

__all__ = [
    "DryRunOption",
    "NameArgument",
    "NamespaceOption",
    "ReasonOption",
    "StageOption",
    "WrittenOutputOption",
    "print_data",
    "print_table",
    "reviewing",
    "say",
    "without_managers",
]

T = TypeVar("T")

_LONGEST_REASON = 4096


def _reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("it is empty; wanted: a sentence that an auditor understands")
    if len(text) > _LONGEST_REASON:
        raise typer.BadParameter(f"it has {len(text)} characters; wanted: at most {_LONGEST_REASON}")
    return text


NameArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Name of the ModelVersion.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option("-n", "--namespace", help="Namespace of the ModelVersion; the context's namespace when absent."),
]
StageOption = Annotated[str, typer.Option("--stage", help="Stage that is decided on, as in staging.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", parser=_reason, metavar="TEXT", help="Why; it is kept for auditors.")
]
DryRunOption = Annotated[
    Literal["none", "server"],
    typer.Option("--dry-run", help="server: have the API server and admission check it, and keep nothing."),
]
WrittenOutputOption = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")]


def reviewing(work: Callable[[], Awaitable[T]]) -> T:
    """Runs a command's coroutine; what it refuses ends it with code 2 and the reason, nothing to do with code 1."""
    try:
        return run_command(work)
    except NothingToDo as error:
        fail(str(error), code=NOT_READY)
    except ReviewError as error:
        fail(str(error))


def say(notes: Iterable[str]) -> None:
    """Notes, on stderr."""
    for note in notes:
        stderr().labelled("note", note)


def print_data(value: object) -> None:
    """Data on stdout, as JSON."""
    stdout().data(value)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows with as wide columns as they need; the first has the names."""
    stdout().columns(rows)


def without_managers(body: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the field managers, which nobody reads."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}
