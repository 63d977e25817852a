"""The printer of every command. Only the program chooses styles; text of other people stays plain text.

The printer escapes control characters, escape sequences, markup of rich and hidden characters
(:mod:`gatehouse.domain.common.text`). A test makes sure that commands print in no other way.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import typer

from gatehouse.domain.common.text import escaped_json, is_plain, one_line, plain_lines

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Part", "Printer", "print_trace", "stderr", "stdout"]

Part = str | tuple[str, str]
"""Text, or text and its style."""

_DOCUMENTS: Final = "---\n"


class Printer:
    """Prints to stdout or stderr. Styles show only on a terminal."""

    def __init__(self, *, errors: bool = False) -> None:
        self._errors = errors

    @cached_property
    def console(self) -> Console:
        """The console for bars and live views; it prints neutral text too."""
        from gatehouse.printing.console import NeutralConsole  # noqa: PLC0415 - rich takes long; most need none of it

        return NeutralConsole(stderr=self._errors)

    def line(self, *parts: Part, style: str = "") -> None:
        """Prints one line. No part can start another line."""
        if not style and all(isinstance(part, str) for part in parts):
            self._write("".join(one_line(str(part)) for part in parts) + "\n")
            return
        from rich.text import Text  # noqa: PLC0415

        plain = [one_line(part) if isinstance(part, str) else (one_line(part[0]), part[1]) for part in parts]
        self.console.print(Text.assemble(*plain, style=style))

    def text(self, text: str, *, style: str = "") -> None:
        """Prints several lines, such as a log."""
        for line in plain_lines(text).split("\n"):
            self.line(line, style=style)

    def labelled(self, label: str, text: str) -> None:
        """Prints ``label: text``. Further lines of the text are indented, so that no line looks like a label."""
        first, *more = plain_lines(text).split("\n")
        self.line(f"{label}: {first}")
        for line in more:
            self.line(f"  {line}" if line else "")

    def columns(self, rows: Sequence[Sequence[str]]) -> None:
        """Prints rows in aligned columns; the first row has the names."""
        shown = [[one_line(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            self.line("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Prints rows whose cells wrap on a narrow terminal."""
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*header, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*[Text(one_line(cell)) for cell in row])
        self.console.print(table, soft_wrap=False)

    def data(self, value: object) -> None:
        """Prints data as JSON."""
        import orjson  # noqa: PLC0415 - the help of the commands prints no data

        self._write(escaped_json(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()) + "\n")

    def documents(self, documents: Iterable[str]) -> None:
        """Prints YAML documents unchanged, or escaped if a terminal would interpret a part of one."""
        self._write(_DOCUMENTS.join(_yaml(each) for each in documents))

    def _write(self, text: str) -> None:
        typer.echo(text, err=self._errors, nl=False)


def stdout() -> Printer:
    """The printer of results."""
    return Printer()


def stderr() -> Printer:
    """The printer of notes, errors and progress."""
    return Printer(errors=True)


def print_trace(error: BaseException) -> None:
    """Prints an unexpected exception. Its messages may contain text of other people."""
    stderr().text("".join(traceback.format_exception(error)).rstrip("\n"))


def _yaml(text: str) -> str:
    if is_plain(text):
        return text
    import yaml  # noqa: PLC0415 - it takes long, and most documents are plain

    comments = "".join(f"{one_line(line)}\n" for line in takewhile(lambda line: line.startswith("#"), text.split("\n")))
    try:
        loaded = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return plain_lines(text)
    return comments + str(yaml.safe_dump_all(loaded, sort_keys=False, allow_unicode=False, width=1_000_000))
