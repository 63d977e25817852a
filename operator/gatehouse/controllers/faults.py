"""Which objects are in trouble: those that do not read, those whose reconcile fails, those that nothing can be said of.

Metrics count the first two. The third are objects whose status could not be written: what the old one clears does not
count. All of it is found again by the first reconciles of a new process, so nothing of it is kept.
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
    """What failed, and where in this program. The error's own words are left out: they may hold anything."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/gatehouse/" in each.filename]
    where = f" at {frames[-1].filename.rpartition('/gatehouse/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _nobody() -> None:
    pass


class Faults:
    """``on_silenced`` is called when what some object clears begins or ceases to count."""

    def __init__(self, reader: ObjectReader, *, on_silenced: Callable[[], None] = _nobody) -> None:
        self._reader = reader
        self._on_silenced = on_silenced
        self._unreadable: dict[tuple[str, ObjectName], str] = {}
        self._failing: dict[str, set[ObjectName]] = {}
        self._silenced: dict[str, set[ObjectName]] = {}

    def silenced(self, kind: str) -> Collection[ObjectName]:
        """Objects of a kind whose status is not what it should be and could not be written."""
        return self._silenced.get(kind, ())

    def unreadable(self, kind: str, found: Unreadable, *, revision: str) -> None:
        """An object of a kind does not read as it stands at a resourceVersion. It is logged once."""
        key = (kind, ObjectName(found.namespace, found.name))
        if self._unreadable.get(key) != revision:
            self._unreadable[key] = revision
            _log.warning("object does not read and counts as none", object=found.subject, problem=found.problem)

    def failed(self, kind: str, name: ObjectName) -> None:
        """A reconcile of the object failed in a way that nobody foresaw."""
        self._failing.setdefault(kind, set()).add(name)

    def ended(self, kind: str, name: ObjectName) -> None:
        """A reconcile of the object came to its end."""
        self._failing.get(kind, set()).discard(name)

    def silence(self, kind: str, name: ObjectName) -> None:
        """What the object's status clears does not count any more."""
        silenced = self._silenced.setdefault(kind, set())
        if name not in silenced:
            silenced.add(name)
            self._on_silenced()

    def hear(self, kind: str, name: ObjectName) -> None:
        """The object's status is what it should be, or the object is gone."""
        silenced = self._silenced.get(kind, set())
        if name in silenced:
            silenced.discard(name)
            self._on_silenced()

    def count_failing(self, kind: str) -> int:
        """Objects of a kind whose last reconcile failed."""
        return len(self._failing.get(kind, ()))

    def count_unreadable(self, kind: str) -> int:
        """Objects of a kind that do not read, as they stand now."""
        gone = [
            (of, name)
            for (of, name), revision in self._unreadable.items()
            if of == kind and self._reader.revision(of, *name) != revision
        ]
        for key in gone:
            del self._unreadable[key]
        return sum(of == kind for of, _ in self._unreadable)
