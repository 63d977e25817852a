"""The watched kinds as data, and the changes that require a reconcile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gatehouse.runtime.cache import CacheChange, Caches, Index, ObjectCache, slim
from gatehouse.runtime.refs import Body, Gvr, ObjectKey

__all__ = [
    "Dependents",
    "FanOut",
    "Relevant",
    "Watch",
    "build_caches",
    "needs_reconcile",
    "status_was_changed_by_others",
]

Relevant = Callable[[Body], object]
"""The part of a body that affects dependents, as a JSON value."""

Dependents = Callable[[Body, Caches], Iterable[ObjectKey]]
"""The keys of the objects that depend on a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """Enqueues the dependents of an object when ``relevant`` changes, and when the object is created or deleted.

    Dependents that only summarise many objects are enqueued after ``settle`` seconds without such a change, so that
    many changes cause one reconcile. While changes continue, they are enqueued after thirty times ``settle``.

    ``listed`` returns the keys to enqueue when the first list of an optional kind is complete.
    """

    relevant: Relevant
    dependents: Dependents
    settle: float = 0.0
    listed: Callable[[Caches], Iterable[ObjectKey]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One kind to keep in the cache.

    ``reconciled`` is False for a kind that only others depend on. ``together`` names the one key that is enqueued for
    all objects of a kind that are reconciled as a whole. ``wakes`` are the keys that every change of the kind enqueues,
    and ``fan_outs`` enqueue the dependents of the changed object.

    An ``optional`` kind may be absent: the kind delays no start, and is watched in all namespaces. ``keep`` makes what
    the cache keeps of a body.
    """

    resource: Gvr
    indexes: Mapping[str, Index] = field(default_factory=dict)
    reconciled: bool = True
    together: str | None = None
    wakes: tuple[ObjectKey, ...] = ()
    fan_outs: tuple[FanOut, ...] = ()
    optional: bool = False
    keep: Callable[[Body], Body] = slim

    @property
    def kind(self) -> str:
        return self.resource.plural


def build_caches(watches: Iterable[Watch]) -> Caches:
    return Caches(ObjectCache(watch.kind, watch.indexes, keep=watch.keep) for watch in watches)


def needs_reconcile(change: CacheChange) -> bool:
    """Whether the object's own reconcile must run: a new generation, a deletion, or a requested reconcile.

    Writes of status, labels and other annotations do not count, so that the operator's own writes trigger no reconcile.
    """
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    return (
        before.uid != after.uid
        or before.generation != after.generation
        or before.deletion_timestamp != after.deletion_timestamp
        or before.requested_at != after.requested_at
    )


def status_was_changed_by_others(change: CacheChange) -> bool:
    """Whether the status differs from the cached one and this process did not record an own write."""
    before, after = change.before, change.after
    if change.own or before is None or after is None:
        return False
    return before.status_digest != after.status_digest
