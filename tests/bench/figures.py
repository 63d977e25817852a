"""What a bench comes to: figures, which are only shown, and counts, which must hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

_NUMBERS = frozenset({"GPUs", "vLLM", "Gatehouse", "percent"})

__all__ = [
    "Budget",
    "Count",
    "Figure",
    "Result",
    "at_least",
    "at_most",
    "details_table",
    "percentile",
    "table",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound that a figure should keep."""

    sense: Literal["at most", "at least"]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether the figure keeps it."""
        return value <= self.bound if self.sense == "at most" else value >= self.bound


def at_most(bound: float) -> Budget:
    """An upper bound."""
    return Budget("at most", bound)


def at_least(bound: float) -> Budget:
    """A lower bound."""
    return Budget("at least", bound)


@dataclass(frozen=True, slots=True)
class Figure:
    """A time, a rate, a ratio or a size. Machines differ, so a figure over its budget fails nothing."""

    name: str
    value: float
    unit: str = ""
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """A number that the machine does not change: ``found`` must be from ``least`` to ``most``."""

    name: str
    found: float
    least: float
    most: float

    @classmethod
    def exactly(cls, name: str, found: float, wanted: float) -> Count:
        """A count that can only be one number."""
        return cls(name, found, wanted, wanted)

    @property
    def holds(self) -> bool:
        """Whether it is what it must be."""
        return self.least <= self.found <= self.most

    @property
    def wanted(self) -> str:
        """The bounds for people."""
        if self.least == self.most:
            return number(self.least)
        return f"{number(self.least)} to {number(self.most)}" if self.least else f"at most {number(self.most)}"


@dataclass(frozen=True, slots=True)
class Result:
    """One bench. ``notes`` tell what one must know to read the figures, ``details`` are rows of their own table."""

    bench: str
    figures: Sequence[Figure] = ()
    counts: Sequence[Count] = ()
    notes: Sequence[str] = field(default=())
    details: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def wrong(self) -> list[Count]:
        """The counts that do not hold."""
        return [count for count in self.counts if not count.holds]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def number(value: float) -> str:
    """With as many digits as one can use."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(results: Iterable[Result]) -> Table:
    """Every figure and count, with its budget and how it compares."""
    shown = Table(title="Figures", header_style="bold")
    for column in ("bench", "what"):
        shown.add_column(column)
    shown.add_column("found", justify="right")
    shown.add_column("expected", justify="right")
    shown.add_column("")
    for result in results:
        name = result.bench
        for figure in result.figures:
            budget = figure.budget
            verdict = Text("") if budget is None else _verdict(budget.holds(figure.value), wrong="over budget")
            wanted = "" if budget is None else f"{budget.sense} {number(budget.bound)}"
            shown.add_row(name, figure.name, f"{number(figure.value)} {figure.unit}".strip(), wanted, verdict)
            name = ""
        for count in result.counts:
            shown.add_row(name, count.name, number(count.found), count.wanted, _verdict(count.holds, wrong="WRONG"))
            name = ""
        shown.add_section()
    return shown


def details_table(result: Result) -> Table:
    """The rows of one bench."""
    shown = Table(title=result.bench, header_style="bold")
    names = list(dict.fromkeys(name for row in result.details for name in row))
    for name in names:
        shown.add_column(name, justify="right" if name in _NUMBERS else "left")
    for row in result.details:
        shown.add_row(*(_cell(row.get(name)) for name in names))
    return shown


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def _verdict(holds: bool, *, wrong: str) -> Text:
    return Text("ok", style="green") if holds else Text(wrong, style="bold red")


def to_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The results as JSON values."""
    return [
        {
            "bench": result.bench,
            "figures": [
                {
                    "name": figure.name,
                    "value": figure.value,
                    "unit": figure.unit,
                    **({"budget": f"{figure.budget.sense} {figure.budget.bound:g}"} if figure.budget else {}),
                    **({"holds": figure.budget.holds(figure.value)} if figure.budget else {}),
                }
                for figure in result.figures
            ],
            "counts": [
                {
                    "name": count.name,
                    "found": count.found,
                    "least": count.least,
                    "most": count.most,
                    "holds": count.holds,
                }
                for count in result.counts
            ],
            "notes": list(result.notes),
            **({"details": [dict(row) for row in result.details]} if result.details else {}),
        }
        for result in results
    ]
