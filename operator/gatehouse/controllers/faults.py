"""Records objects with faults: unreadable objects, objects whose reconcile fails, and objects with an outdated status.

Metrics count the first two. Where the status could not be written, clearances in the old status do not count. The first
reconciles of a new process find all faults again, so that faults are kept in memory only.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection

import structlog

from gatehouse.controllers.ports import ObjectName, ObjectReader
from gatehouse.domain.common.readable import Unreadable

__all__ = ["Faults", "place_of"]

_log = structlog.get_logger(__name__)


def place_of(error: BaseException) -> str:
    """The type of the error and its place in this program. The error's message is left out: it may hold anything."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/gatehouse/" in frame.filename]
    where = f" at {frames[-1].filename.rpartition('/gatehouse/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _ignore() -> None:
    pass


class Faults:
    """``on_silenced`` is called when the clearances of an object begin or cease to count."""

    def __init__(self, reader: ObjectReader, *, on_silenced: Callable[[], None] = _ignore) -> None:
        self._reader = reader
        self._on_silenced = on_silenced
        self._unreadable: dict[tuple[str, ObjectName], str] = {}
        self._failing: dict[str, set[ObjectName]] = {}
        self._silenced: dict[str, set[ObjectName]] = {}

    def silenced(self, kind: str) -> Collection[ObjectName]:
        """Objects of a kind whose status is outdated because a write failed."""
        return self._silenced.get(kind, ())

    def unreadable(self, kind: str, unreadable: Unreadable, *, revision: str) -> None:
        """An object of a kind is unreadable at a resourceVersion. It is logged once."""
        key = (kind, ObjectName(unreadable.namespace, unreadable.name))
        if self._unreadable.get(key) != revision:
            self._unreadable[key] = revision
            _log.warning(
                "object does not read and counts as none", object=unreadable.subject, problem=unreadable.problem
            )

    def failed(self, kind: str, name: ObjectName) -> None:
        """A reconcile of the object failed with an unexpected error."""
        self._failing.setdefault(kind, set()).add(name)

    def ended(self, kind: str, name: ObjectName) -> None:
        """A reconcile of the object ended without an unexpected error."""
        self._failing.get(kind, set()).discard(name)

    def silence(self, kind: str, name: ObjectName) -> None:
        """The clearances in the object's status no longer count."""
        silenced = self._silenced.setdefault(kind, set())
        if name not in silenced:
            silenced.add(name)
            self._on_silenced()

    def hear(self, kind: str, name: ObjectName) -> None:
        """The object's status is up to date, or the object was deleted."""
        silenced = self._silenced.get(kind, set())
        if name in silenced:
            silenced.discard(name)
            self._on_silenced()

    def count_failing(self, kind: str) -> int:
        """Objects of a kind whose last reconcile failed."""
        return len(self._failing.get(kind, ()))

    def count_unreadable(self, kind: str) -> int:
        """Objects of a kind that are unreadable now."""
        gone = [
            (of, name)
            for (of, name), revision in self._unreadable.items()
            if of == kind and self._reader.revision(of, *name) != revision
        ]
        for key in gone:
            del self._unreadable[key]
        return sum(of == kind for of, _ in self._unreadable)
