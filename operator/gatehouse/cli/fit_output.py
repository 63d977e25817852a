"""How ``gatehouse fit`` shows its rows, and the error of each term of a fit, to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gatehouse.printing import Printer

if TYPE_CHECKING:
    from gatehouse.actions.fit_answers import FitAnswer
    from gatehouse.domain.hardware.calibration import MemoryTerm
    from gatehouse.domain.hardware.scenarios import Scenario

__all__ = ["HEADER", "cells", "gib", "print_answer"]

HEADER: Final = (
    "PROFILE",
    "GPUS",
    "SEQUENCES",
    "TOKENS",
    "VERDICT",
    "LONGEST",
    "WEIGHTS",
    "OVERHEAD",
    "GRAPHS",
    "CACHE",
    "FREE",
    "USABLE",
)
"""``TOKENS`` is the length that the row is for, ``LONGEST`` what fits with a margin; the others are GiB on each GPU."""

_GIB: Final = 2**30
_EXPLAINED: Final = 4
"""The most rows whose reasons are printed in full."""


def gib(count: int | None) -> str:
    """Bytes as GiB with two digits; a dash for unknown."""
    return "-" if count is None else f"{count / _GIB:.2f}"


def cells(row: Scenario) -> tuple[str, ...]:
    """One row of the table, for the columns of ``HEADER``."""
    found = row.found
    return (
        row.machine.name,
        str(row.size),
        _number(found.sequences),
        _number(row.requested or found.kv_cache_tokens or found.max_model_len),
        found.verdict,
        _number(found.safe_max_model_len),
        gib(found.weights_bytes),
        gib(found.overhead_bytes),
        gib(found.graph_bytes[1]) if None not in (found.usable_bytes, found.overhead_bytes) else "-",
        gib(row.cache_bytes),
        gib(row.free_bytes),
        gib(found.usable_bytes),
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def print_answer(printer: Printer, answer: FitAnswer) -> None:
    """Prints the table, and the reasons in full where the table has few rows."""
    printer.line(f"{answer.model}: {answer.weights}; vLLM {answer.release}")
    printer.line("GiB on each GPU; CACHE is the cache of one sequence of TOKENS, FREE is left for other sequences")
    printer.line()
    printer.columns([HEADER, *map(cells, answer.rows)])
    open_rows = [row for row in answer.rows if row.found.verdict != "Fits"]
    if open_rows and len(answer.rows) <= _EXPLAINED:
        for row in open_rows:
            _explain(printer, row)
    elif open_rows:
        printer.line()
        printer.line("to see why a row does not fit and what to do, pass only its --profile, or use -o json")
    if answer.terms:
        printer.line()
        printer.columns([("TERM", "COMPUTED", "VLLM", "OFF", ""), *map(_term, answer.terms)])


def _explain(printer: Printer, row: Scenario) -> None:
    printer.line()
    printer.line(f"{row.machine.name}, {row.size} accelerators: {row.found.verdict}, {row.found.finding.reason}")
    for label, value in (
        ("found", row.found.finding.found),
        ("expected", row.found.finding.expected),
        ("do", row.found.finding.remedy),
    ):
        if value:
            printer.line(f"     {label:9}{value}")


def _term(term: MemoryTerm) -> Sequence[str]:
    percent = "" if term.percent is None else f" ({term.percent:+.1f} %)"
    derived = "derived from the log" if term.derived else ""
    if abs(term.measured) < _GIB // 4:
        mib = 2**20
        figures = (f"{term.computed / mib:.1f} MiB", f"{term.measured / mib:.1f} MiB", f"{term.off / mib:+.1f} MiB")
    else:
        figures = (f"{gib(term.computed)} GiB", f"{gib(term.measured)} GiB", f"{term.off / _GIB:+.2f} GiB")
    return (term.name, figures[0], figures[1], f"{figures[2]}{percent}", derived)
