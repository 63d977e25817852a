"""What the registry tells about its work. Called from the databases' threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["NoRowMetrics", "RowMetrics"]


class RowMetrics(Protocol):
    """Counts; an implementation must be quick and safe to call from threads."""

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:
        """One transaction with so many operations inserted or updated so many rows, by table."""
        ...

    def queried(self, *, operations: int) -> None:
        """One round of reads answered so many operations."""
        ...

    def retried(self, *, reason: str) -> None:
        """A round failed for a reason and is tried again at once."""
        ...


class NoRowMetrics:
    """Counts nothing."""

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:
        """Nothing."""

    def queried(self, *, operations: int) -> None:
        """Nothing."""

    def retried(self, *, reason: str) -> None:
        """Nothing."""
