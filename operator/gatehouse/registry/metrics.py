"""Metrics of the registry's work. Called from the databases' threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["NoRowMetrics", "RowMetrics"]


class RowMetrics(Protocol):
    """Counts transactions and reads. An implementation must be quick and thread-safe."""

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:
        """One transaction of ``operations`` operations inserted or updated ``rows``, a count by table."""
        ...

    def queried(self, *, operations: int) -> None:
        """One round of reads answered ``operations`` operations."""
        ...

    def retried(self, *, reason: str) -> None:
        """A round failed for a reason and is retried at once."""
        ...


class NoRowMetrics:
    """Counts nothing."""

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:
        """Nothing."""

    def queried(self, *, operations: int) -> None:
        """Nothing."""

    def retried(self, *, reason: str) -> None:
        """Nothing."""
