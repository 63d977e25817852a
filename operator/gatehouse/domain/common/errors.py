"""Errors that carry their policy: a reconcile step raises them when it cannot continue.

::

    ReconcileError
      Stalled     a person must act; no retry before the next change or the next interval
      Waiting     something is missing; try again after a given time
      Transient   an outage; retry with backoff
        Superseded  another writer wrote meanwhile, or may write; what was computed no longer counts

Steps only raise them. One table (:mod:`gatehouse.domain.version.outcome`) turns a decision or an error into conditions,
an event and the time of the next reconcile.
"""

from __future__ import annotations

from datetime import timedelta

from gatehouse.domain.common.finding import Finding

__all__ = ["ReconcileError", "Stalled", "Superseded", "Transient", "Waiting"]


class ReconcileError(Exception):
    """Why a reconcile ended early: a stable ``reason`` in CamelCase, a sentence, and what to do about it."""

    def __init__(self, *, reason: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self._reason = reason
        self._message = message
        self._remedy = remedy

    @property
    def reason(self) -> str:
        """Stable word for conditions, events and metrics."""
        return self._reason

    @property
    def message(self) -> str:
        """What happened, with the name of the thing, the value found and the value expected. Never a secret."""
        return self._message

    @property
    def remedy(self) -> str:
        """What a person can do; empty when the error heals by itself."""
        return self._remedy

    @property
    def advice(self) -> str:
        """The message, and after it the remedy if there is one."""
        return f"{self._message}; {self._remedy}" if self._remedy else self._message

    def finding(self, *, expected: str) -> Finding:
        """The error as a finding, for a gate that the error shuts."""
        return Finding(reason=self._reason, found=self._message, expected=expected, remedy=self._remedy)

    def __str__(self) -> str:
        return f"{self._reason}: {self._message}"


class Stalled(ReconcileError):
    """A person must act: a retry would fail in the same way."""


class Waiting(ReconcileError):
    """Try again after ``after``."""

    def __init__(self, *, reason: str, message: str, after: timedelta, remedy: str = "") -> None:
        super().__init__(reason=reason, message=message, remedy=remedy)
        self._after = after

    @property
    def after(self) -> timedelta:
        """How long to wait before the next try."""
        return self._after


class Transient(ReconcileError):
    """An outage: retry with backoff, but not before ``not_before`` when the server asked for that."""

    def __init__(self, *, reason: str, message: str, not_before: timedelta | None = None, remedy: str = "") -> None:
        super().__init__(reason=reason, message=message, remedy=remedy)
        self._not_before = not_before

    @property
    def not_before(self) -> timedelta | None:
        """The server's Retry-After."""
        return self._not_before


class Superseded(Transient):
    """Another writer changed the state that this was computed from, or leads now: nothing more of it may be written."""
