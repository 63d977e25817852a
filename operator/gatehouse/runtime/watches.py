"""What to watch, as data, and which changes call for a reconcile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gatehouse.runtime.cache import CacheChange, Caches, Index, ObjectCache
from gatehouse.runtime.refs import Body, Gvr, ObjectKey

__all__ = ["FanOut", "Relevant", "Watch", "build_caches", "needs_reconcile", "status_was_changed_by_others"]

Relevant = Callable[[Body], object]
"""The part of a body that dependents are decided on, as a JSON value."""

FanOut = Callable[[Body, Caches], Iterable[ObjectKey]]
"""The keys of the objects that depend on a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One kind to keep in the cache.

    ``reconciled`` is False for a kind that only others depend on. A kind whose objects are one piece of work has
    ``together``: the name of the one key that is enqueued for any of them. ``fan_out`` is asked for dependents
    when the value of ``relevant`` changes, and when the object appears or vanishes. Dependents that only
    sum up many objects are enqueued when no object of the kind changed for ``settle`` seconds, and while changes keep
    coming every thirty times that, so that many changes make one reconcile.
    """

    resource: Gvr
    indexes: Mapping[str, Index] = field(default_factory=dict)
    reconciled: bool = True
    together: str | None = None
    relevant: Relevant | None = None
    fan_out: FanOut | None = None
    settle: float = 0.0

    def __post_init__(self) -> None:
        if (self.relevant is None) != (self.fan_out is None):
            raise ValueError(f"the watch of {self.kind} needs both relevant and fan_out, or neither")

    @property
    def kind(self) -> str:
        return self.resource.plural


def build_caches(watches: Iterable[Watch]) -> Caches:
    return Caches(ObjectCache(watch.kind, watch.indexes) for watch in watches)


def needs_reconcile(change: CacheChange) -> bool:
    """Whether the object's own reconcile must run: its meaning changed, or somebody asked for it.

    Writes of status, labels and other annotations do not count, so that an operator's own writes do not
    trigger it again.
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
    """Whether the status differs from the cached one and this process has not said that it wrote it."""
    before, after = change.before, change.after
    if change.own or before is None or after is None:
        return False
    return before.status_digest != after.status_digest
