"""``gatehouse diff``: two versions beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from gatehouse.actions.config_diff import FileChange, changed_contents
from gatehouse.actions.errors import Refused
from gatehouse.actions.objects import listed_if_allowed, read
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, cluster, default_namespace, fail
from gatehouse.cli.options import (
    DatabaseCaOption,
    NamespaceOption,
    RowsOption,
    WrittenOutputOption,
    print_data,
    reviewing,
    say,
)
from gatehouse.cli.registry_rows import rows_of
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.version.diff import Difference, Scalar, Side, compare_versions
from gatehouse.printing import Printer, stdout
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.readers import VersionRows

__all__ = ["diff"]

_NOT_READ: Final = (
    "config.json, tokenizer, chat template and the hashes of files are in the registry's rows: compare them with "
    "--database"
)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A ModelVersion, as NAME or NAMESPACE/NAME.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    namespace: NamespaceOption = None,
    database: RowsOption = None,
    database_ca: DatabaseCaOption = None,
    contents: Annotated[
        bool,
        typer.Option(
            "--contents", help="Read configurations and chat templates that differ from the store, and show how."
        ),
    ] = False,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show what differs between two versions: metadata, lineage, metrics, evaluations, serving, artifact and fit.

    With --database also config.json, the tokenizer with its chat template, and every file, by their hashes.
    With --contents too, what differs in config.json, generation_config.json, tokenizer_config.json and chat templates,
    of at most 1 MiB each: they are read with your own credentials, found as boto3 finds them, and shown only if they
    are what was verified.

    Exit codes: 0 they are the same, 1 they differ, 2 an error.

    Examples:

      gatehouse diff granite-3.1 granite-3.2 -n private-ai

      eval "$(gatehouse local env)" && gatehouse diff team-a/granite-1 team-b/granite-1 -o json

      gatehouse diff granite-3.1 granite-3.2 -n private-ai --contents
    """

    async def work() -> tuple[Side, Side]:
        where = namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            first, second = await asyncio.gather(_side(client, a, where), _side(client, b, where))
            return first, second

    if contents and database is None:
        fail("--contents wants --database: what is shown must be what was verified, and the rows hold its hashes")
    sides = reviewing(work)
    if database is not None:
        sides = _with_rows(sides, database, database_ca)
    found = compare_versions(*sides)
    changes = reviewing(lambda: changed_contents(*sides)) if contents else ()
    notes = [_NOT_READ] if database is None else []
    if output == "json":
        differing = {name: [each.wire() for each in differences] for name, differences in found.items() if differences}
        data = {"a": _where(sides[0]), "b": _where(sides[1]), "compared": list(found), "differences": differing}
        print_data({**data, "contents": [each.wire() for each in changes]} if contents else data)
    else:
        printer = stdout()
        _print(printer, sides, found)
        _print_contents(printer, changes)
    say(notes)
    if any(found.values()):
        raise typer.Exit(NOT_READY)


async def _side(client: ApiClient, name: str, home: str) -> Side:
    namespace, slash, rest = name.partition("/")
    where, name = (namespace, rest) if slash else (home, name)
    if not name:
        raise Refused("a ModelVersion is named by NAME or NAMESPACE/NAME")
    version, evaluations = await asyncio.gather(
        read(client, ModelVersion, where, name), listed_if_allowed(client, ModelEvaluation, where)
    )
    return Side(version=version, evaluations=evaluations or ())


def _with_rows(sides: tuple[Side, Side], database: str, ca: Path | None) -> tuple[Side, Side]:
    first, second = rows_of([_key(side) for side in sides], database=database, ca=ca)
    return _with_row(sides[0], first), _with_row(sides[1], second)


def _key(side: Side) -> VersionKey:
    spec, registry = side.version.spec, side.version.status.registry
    if registry is None:
        fail(f"{_where(side)} is in no registry yet; compare without --database")
    return VersionKey(registry, spec.model_ref.name, spec.version)


def _with_row(side: Side, rows: VersionRows) -> Side:
    if rows.record is None:
        fail(f"the database has no row of {_where(side)}; is it the one of {side.version.status.registry}?")
    artifact = rows.record.artifact
    return replace(side, summary=artifact.summary if artifact else None, files=rows.files)


def _where(side: Side) -> str:
    return f"{side.version.metadata.namespace}/{side.version.metadata.name}"


def _print(printer: Printer, sides: tuple[Side, Side], found: Mapping[str, Sequence[Difference]]) -> None:
    printer.line(("- ", "red"), _where(sides[0]))
    printer.line(("+ ", "green"), _where(sides[1]))
    for section, differences in found.items():
        if not differences:
            continue
        printer.line()
        printer.line(section, style="bold")
        for each in differences:
            printer.line(f"  {_text(each.field)}")
            printer.line(("    - ", "red"), _text(each.a))
            printer.line(("    + ", "green"), _text(each.b))
    same = [section for section, differences in found.items() if not differences]
    if same:
        printer.line()
        printer.line(f"the same: {', '.join(same)}")


def _print_contents(printer: Printer, changes: Sequence[FileChange]) -> None:
    for each in changes:
        printer.line()
        printer.line(f"contents of {_text(each.path)}", style="bold")
        if each.problem is not None:
            printer.line(f"  not shown: {each.problem}")
        for line in each.lines:
            printer.text(line, style={"-": "red", "+": "green"}.get(line[:1], ""))


def _text(value: Scalar) -> str:
    """For a terminal: names of files are whatever somebody uploaded."""
    if value is None:
        return "(none)"
    text = str(value)
    return text if text.isprintable() else shown(text)
