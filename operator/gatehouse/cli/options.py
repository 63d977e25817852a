"""Options that several commands share: versions, stores, rows, durations."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer

from gatehouse.actions.errors import NothingToDo, ReviewError
from gatehouse.cli.connection import NOT_READY, fail, run_command
from gatehouse.domain.common.locations import duration
from gatehouse.printing import stderr, stdout

__all__ = [
    "AddressingOption",
    "DatabaseCaOption",
    "DryRunOption",
    "EndpointOption",
    "NameArgument",
    "NamespaceOption",
    "ReasonOption",
    "RegionOption",
    "RequesterPaysOption",
    "RowsOption",
    "StageOption",
    "StoreCaOption",
    "TimeoutOption",
    "WrittenOutputOption",
    "print_data",
    "print_table",
    "reviewing",
    "say",
    "seconds",
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


EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="S3 endpoint; AWS_ENDPOINT_URL when absent.")
]
RegionOption = Annotated[str | None, typer.Option("--region", help="Region; AWS_DEFAULT_REGION when absent.")]
AddressingOption = Annotated[
    Literal["path", "virtual"] | None,
    typer.Option("--addressing", help="Where the bucket is named: s3.addressing_style of the profile, or the path."),
]
RequesterPaysOption = Annotated[
    bool, typer.Option("--requester-pays", help="Say that you pay for the requests, where the bucket wants it.")
]
StoreCaOption = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="PEM of the store's authority; AWS_CA_BUNDLE when absent.")
]


RowsOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="GATEHOUSE_DATABASE_URL",
        show_envvar=True,
        show_default=False,
        help="Database of the registry, as SQLAlchemy writes it, for what the objects do not hold. With a password in "
        "it, rather set the variable: arguments can be seen.",
    ),
]
DatabaseCaOption = Annotated[
    Path | None,
    typer.Option("--database-ca", metavar="FILE", help="PEM that the database's certificate must chain to."),
]


_SECONDS: Final = re.compile(r"[0-9]{1,7}")
_GO: Final = re.compile(r"(?=[0-9])([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?")


def seconds(text: str | float) -> float:
    """Seconds of ``90``, ``90s``, ``5m`` or ``1h30m``. Raises typer.BadParameter."""
    if isinstance(text, float | int):
        return float(text)
    if _SECONDS.fullmatch(text):
        return float(text)
    if not _GO.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is no duration; wanted: seconds, or as in 90s, 5m or 1h30m")
    return duration(text).total_seconds()


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=seconds,
        show_default=False,
        help="How long to wait, as in 90s or 1h30m; 5m when absent.",
    ),
]
