"""The one printer of every command: styling is the program's own, and text is only text.

Nothing that is printed here can hold a control character, an escape sequence, rich's markup or a hidden character of
somebody else: ``domain.printable`` escapes it. Commands print by nothing else, and a test holds them to that.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import orjson
import typer
import yaml

from gatehouse.domain.common.text import escaped_json, is_plain, one_line, plain_lines

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Part", "Printer", "print_trace", "stderr", "stdout"]

Part = str | tuple[str, str]
"""Text, or text and its style."""

_DOCUMENTS: Final = "---\n"


class Printer:
    """Prints to one of the two streams. Style only shows on a terminal."""

    def __init__(self, *, errors: bool = False) -> None:
        self._errors = errors

    @cached_property
    def console(self) -> Console:
        """For what draws by itself, such as a bar: all that it shows is neutralised too."""
        from gatehouse.printing.console import NeutralConsole  # noqa: PLC0415 - rich takes long; most need none of it

        return NeutralConsole(stderr=self._errors)

    def line(self, *parts: Part, style: str = "") -> None:
        """One line. No part can begin another one."""
        if not style and all(isinstance(part, str) for part in parts):
            self._write("".join(one_line(str(part)) for part in parts) + "\n")
            return
        from rich.text import Text  # noqa: PLC0415

        plain = [one_line(part) if isinstance(part, str) else (one_line(part[0]), part[1]) for part in parts]
        self.console.print(Text.assemble(*plain, style=style))

    def text(self, text: str, *, style: str = "") -> None:
        """Several lines, as of a log."""
        for line in plain_lines(text).split("\n"):
            self.line(line, style=style)

    def labelled(self, label: str, text: str) -> None:
        """``label: text``; further lines of the text are indented, so that none looks like a label."""
        first, *more = plain_lines(text).split("\n")
        self.line(f"{label}: {first}")
        for line in more:
            self.line(f"  {line}" if line else "")

    def columns(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows with as wide columns as they need; the first has the names."""
        shown = [[one_line(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            self.line("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows whose cells are wrapped where the terminal is too narrow."""
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*header, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*[Text(one_line(cell)) for cell in row])
        self.console.print(table, soft_wrap=False)

    def data(self, value: object) -> None:
        """Data as JSON."""
        self._write(escaped_json(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()) + "\n")

    def documents(self, documents: Iterable[str]) -> None:
        """YAML documents, each as it was emitted, or with escapes where a terminal would take part of it for more."""
        self._write(_DOCUMENTS.join(_yaml(each) for each in documents))

    def _write(self, text: str) -> None:
        typer.echo(text, err=self._errors, nl=False)


def stdout() -> Printer:
    """For what a command is asked for."""
    return Printer()


def stderr() -> Printer:
    """For what is said beside it: notes, errors, progress."""
    return Printer(errors=True)


def print_trace(error: BaseException) -> None:
    """An exception that nobody expected: its messages are anybody's too."""
    stderr().text("".join(traceback.format_exception(error)).rstrip("\n"))


def _yaml(text: str) -> str:
    if is_plain(text):
        return text
    comments = "".join(f"{one_line(line)}\n" for line in takewhile(lambda line: line.startswith("#"), text.split("\n")))
    try:
        loaded = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return plain_lines(text)
    return comments + str(yaml.safe_dump_all(loaded, sort_keys=False, allow_unicode=False, width=1_000_000))
