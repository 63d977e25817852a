"""``gatehouse diff``: the differences between two versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import NOT_MET, exits, fail
from gatehouse.cli.options import (
    DatabaseCaOption,
    NamespaceOption,
    RowsOption,
    WrittenOutputOption,
    print_data,
    say,
)
from gatehouse.printing import Printer, stdout

if TYPE_CHECKING:
    from gatehouse.actions.config_diff import FileChange
    from gatehouse.domain.version.diff import Difference, Scalar, Side

__all__ = ["diff"]

_NOT_READ: Final = (
    "config.json, tokenizer, chat template and the hashes of files are in the registry's rows: compare them with "
    "--database"
)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="First ModelVersion, as NAME or NAMESPACE/NAME.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Second ModelVersion.")],
    namespace: NamespaceOption = None,
    database: RowsOption = None,
    database_ca: DatabaseCaOption = None,
    contents: Annotated[
        bool,
        typer.Option(
            "--contents", help="Read configurations and chat templates that differ from the store, and show their diff."
        ),
    ] = False,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show the differences between two versions.

    The command compares metadata, lineage, metrics, evaluations, serving settings, artifact and fit. With --database it
    also compares config.json, the tokenizer with its chat template, and the hash of every file. With --contents it also
    shows the changed lines of config.json, generation_config.json, tokenizer_config.json and chat templates of at most
    1 MiB each. It reads these files with your own credentials, which it finds as boto3 does, and shows only bytes that
    Gatehouse verified.

    Exit codes: 0 success: the versions are the same, 1 condition not met: the versions differ, 2 error.

    Examples:

      gatehouse diff granite-3.1 granite-3.2 -n private-ai

      eval "$(gatehouse local env)" && gatehouse diff team-a/granite-1 team-b/granite-1 -o json

      gatehouse diff granite-3.1 granite-3.2 -n private-ai --contents
    """
    from gatehouse.actions.comparison import read_sides, with_rows
    from gatehouse.actions.config_diff import changed_contents
    from gatehouse.domain.version.diff import compare_versions

    async def work() -> tuple[Side, Side]:
        home = namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            return await read_sides(client, a, b, namespace=home)

    if contents and database is None:
        fail("--contents requires --database: only verified bytes are shown, and the rows have their hashes")
    sides = run_command(work)
    if database is not None:
        with exits():
            sides = with_rows(sides, database=database, ca=database_ca)
    sections = compare_versions(*sides)
    changes = run_command(lambda: changed_contents(*sides)) if contents else ()
    if output == "json":
        print_data(_wire(sides, sections, changes if contents else None))
    else:
        printer = stdout()
        _print(printer, sides, sections)
        _print_contents(printer, changes)
    say([_NOT_READ] if database is None else [])
    if any(sections.values()):
        raise typer.Exit(NOT_MET)


def _wire(
    sides: tuple[Side, Side], sections: Mapping[str, Sequence[Difference]], changes: Sequence[FileChange] | None
) -> Mapping[str, object]:
    from gatehouse.actions.comparison import full_name

    differing = {name: [change.wire() for change in section] for name, section in sections.items() if section}
    first, second = map(full_name, sides)
    data = {"a": first, "b": second, "compared": list(sections), "differences": differing}
    return data if changes is None else {**data, "contents": [change.wire() for change in changes]}


def _print(printer: Printer, sides: tuple[Side, Side], sections: Mapping[str, Sequence[Difference]]) -> None:
    from gatehouse.actions.comparison import full_name

    printer.line(("- ", "red"), full_name(sides[0]))
    printer.line(("+ ", "green"), full_name(sides[1]))
    for name, section in sections.items():
        if not section:
            continue
        printer.line()
        printer.line(name, style="bold")
        for difference in section:
            printer.line(f"  {_text(difference.field)}")
            printer.line(("    - ", "red"), _text(difference.a))
            printer.line(("    + ", "green"), _text(difference.b))
    same = [name for name, section in sections.items() if not section]
    if same:
        printer.line()
        printer.line(f"the same: {', '.join(same)}")


def _print_contents(printer: Printer, changes: Sequence[FileChange]) -> None:
    for change in changes:
        printer.line()
        printer.line(f"contents of {_text(change.path)}", style="bold")
        if change.problem is not None:
            printer.line(f"  not shown: {change.problem}")
        for line in change.lines:
            printer.text(line, style={"-": "red", "+": "green"}.get(line[:1], ""))


def _text(value: Scalar) -> str:
    """Text for a terminal: the uploader chose the names of the files."""
    from gatehouse.domain.common.format_error import shown

    if value is None:
        return "(none)"
    text = str(value)
    return text if text.isprintable() else shown(text)
