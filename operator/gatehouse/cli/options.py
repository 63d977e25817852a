"""Options that several commands share, and the printing of their results. Imports no kind and no client."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from gatehouse.printing import stderr, stdout

__all__ = [
    "AddressingOption",
    "AuditDatabaseOption",
    "DatabaseCaOption",
    "DryRunOption",
    "EndpointOption",
    "EvaluationKindChoice",
    "HomeOption",
    "NameArgument",
    "NamespaceOption",
    "ReasonOption",
    "RegionOption",
    "RequesterPaysOption",
    "RiskTierChoice",
    "RowsOption",
    "StageOption",
    "StoreCaOption",
    "StrategyChoice",
    "TimeoutOption",
    "WrittenOutputOption",
    "print_data",
    "print_table",
    "say",
    "seconds",
    "without_managers",
]

_LONGEST_REASON: Final = 4096

EvaluationKindChoice = Literal["Task", "Bias", "Safety", "Robustness"]
RiskTierChoice = Literal["Low", "Medium", "High"]
StrategyChoice = Literal["Recreate", "BlueGreen", "Canary"]
"""The values of the kinds. An import of the kinds takes longer than help and completion may; a test compares both."""


def _reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("the reason is empty; expected: a sentence that an auditor understands")
    if len(text) > _LONGEST_REASON:
        raise typer.BadParameter(f"the reason has {len(text)} characters; expected: at most {_LONGEST_REASON}")
    return text


NameArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Name of the ModelVersion.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "-n", "--namespace", help="Namespace of the ModelVersion. Default: the namespace of the current context."
    ),
]
HomeOption = Annotated[
    str | None,
    typer.Option("-n", help="Namespace of the ModelVersion. Default: the namespace of the current context."),
]
"""Of commands whose --namespace is the one to serve from."""
StageOption = Annotated[str, typer.Option("--stage", help="Stage of the decision, such as staging.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", parser=_reason, metavar="TEXT", help="Reason, which the audit trail keeps.")
]
DryRunOption = Annotated[
    Literal["none", "server"],
    typer.Option("--dry-run", help="server: validate with the API server and admission without persisting."),
]
WrittenOutputOption = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="Output format.")]

EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="S3 endpoint. Default: AWS_ENDPOINT_URL.")
]
RegionOption = Annotated[str | None, typer.Option("--region", help="Region. Default: AWS_DEFAULT_REGION.")]
AddressingOption = Annotated[
    Literal["path", "virtual"] | None,
    typer.Option(
        "--addressing",
        help="Whether the bucket is in the path or in the host name. Default: s3.addressing_style of the profile, or "
        "path.",
    ),
]
RequesterPaysOption = Annotated[
    bool, typer.Option("--requester-pays", help="Confirm that you pay for requests to a requester-pays bucket.")
]
StoreCaOption = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="CA certificates of the store (PEM). Default: AWS_CA_BUNDLE."),
]

RowsOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="GATEHOUSE_DATABASE_URL",
        show_envvar=True,
        show_default=False,
        help="Database of the registry as an SQLAlchemy URL, for data that the objects do not hold. Pass a URL with a "
        "password in the variable: other users can see arguments.",
    ),
]
AuditDatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="GATEHOUSE_DATABASE_URL",
        show_envvar=True,
        show_default=False,
        help="Database of the registry as an SQLAlchemy URL. Pass a URL with a password in the variable: other users "
        "can see arguments.",
    ),
]
DatabaseCaOption = Annotated[
    Path | None,
    typer.Option("--database-ca", metavar="FILE", help="CA certificates of the database (PEM)."),
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
        raise typer.BadParameter(
            f"{text!r} is not a duration; expected: seconds, or a duration such as 90s, 5m or 1h30m"
        )
    from gatehouse.domain.common.locations import duration

    return duration(text).total_seconds()


TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=seconds,
        show_default=False,
        help="Longest time to wait, such as 90s or 1h30m. Default: 5m.",
    ),
]


def say(notes: Iterable[str]) -> None:
    """Notes, on stderr."""
    for note in notes:
        stderr().labelled("note", note)


def print_data(value: object) -> None:
    """Data on stdout, as JSON."""
    stdout().data(value)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows in columns of equal width; the first row has the names."""
    stdout().columns(rows)


def without_managers(body: Mapping[str, Any]) -> dict[str, Any]:
    """An object without its field managers."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}
