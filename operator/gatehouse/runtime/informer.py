"""Turns the lists and events of a source into cached objects and keys to reconcile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from gatehouse.runtime.cache import CacheChange, Caches, ChangeType, digest
from gatehouse.runtime.clock import Clock
from gatehouse.runtime.refs import Body, ObjectKey, key_of
from gatehouse.runtime.watches import FanOut, Relevant, Watch, needs_reconcile, status_was_changed_by_others

__all__ = ["EventSource", "Informer", "ListPage", "Sink", "WatchEvent"]

log = structlog.get_logger(__name__)

_LONGEST_SETTLE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a list of a kind in one namespace, or in all (None).

    ``resource_version`` is the version of the list, the same on all its pages.
    """

    kind: str
    namespace: str | None
    items: tuple[Body, ...]
    resource_version: str
    first: bool
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """ADDED, MODIFIED or DELETED, and the object's body: the last known body of a deleted object."""

    type: str
    body: Body


class Sink(Protocol):
    """Receives lists and events from a source, on the sink's event loop."""

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None: ...

    def take_page(self, page: ListPage) -> None: ...


class EventSource(Protocol):
    """Lists and watches while running."""

    async def run(self, sink: Sink) -> None:
        """Deliver lists and events until cancelled, despite any failure."""
        ...

    def relist(self) -> None:
        """Drop the watches and list everything again."""
        ...

    def stalled_for(self) -> float:
        """Seconds since the source last showed progress; 0 while the source is live or restarting."""
        ...


@dataclass(slots=True)
class _Unsettled:
    """Keys that wait until a kind stops changing, and their deadline in seconds of the clock."""

    due: float
    latest: float
    keys: set[ObjectKey] = field(default_factory=set)


class Informer:
    """Feeds the caches and enqueues the keys that a change affects.

    The informer enqueues a key when its object is new, deleted, or has another generation, deletionTimestamp or
    reconcile request. The informer checks a status that differs from the cached one only after ``status_settle``
    seconds, because the watch can deliver an own write before the cache has its response. If another client wrote the
    status, the informer enqueues the key, so that the reconcile restores a forged or wiped status.
    """

    def __init__(
        self,
        *,
        watches: Iterable[Watch],
        caches: Caches,
        enqueue: Callable[[ObjectKey], None],
        clock: Clock,
        namespaces: Iterable[str] = (),
        status_settle: float = 0.25,
        on_event: Callable[[str, str], None] = lambda _kind, _type: None,
    ) -> None:
        self._watches = {watch.kind: watch for watch in watches}
        self._caches = caches
        self._enqueue = enqueue
        self._clock = clock
        self._status_settle = status_settle
        self._on_event = on_event
        self._parts: dict[str, tuple[Relevant, ...]] = {
            kind: tuple({fan_out.relevant: None for fan_out in watch.fan_outs}) for kind, watch in self._watches.items()
        }
        """The relevant parts of each kind; dependents that share a part share its digest."""
        self._relevant: dict[ObjectKey, tuple[int, ...]] = {}
        self._unsettled: dict[tuple[str, float], _Unsettled] = {}
        self._listing: dict[tuple[str, str | None], set[ObjectKey]] = {}
        self._unlisted = {
            (watch.kind, scope) for watch in self._watches.values() for scope in scopes(watch, tuple(namespaces))
        }
        self.synced = asyncio.Event()
        for kind in self._watches:
            caches[kind].subscribe(self._dispatch)

    @property
    def missing(self) -> list[str]:
        """The kinds whose first list is not complete, without the optional kinds."""
        return sorted({kind for kind, _ in self._unlisted if not self._watches[kind].optional})

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None:
        """Apply watch events of one kind, in their order."""
        for event in events:
            self._on_event(kind, event.type)
            self._apply(kind, event.type, event.body)

    def take_page(self, page: ListPage) -> None:
        """Apply one page of a list; the last page drops the objects that the list did not have."""
        scope = (page.kind, page.namespace)
        if page.first:
            self._listing[scope] = set()
        live = self._listing.get(scope)
        if live is None:
            return
        for body in page.items:
            live.add(key_of(page.kind, body))
            self._on_event(page.kind, "LISTED")
            self._apply(page.kind, None, body)
        if page.last:
            del self._listing[scope]
            vanished = self._caches[page.kind].retain(
                live, namespace=page.namespace, resource_version=page.resource_version
            )
            for _ in vanished:
                self._on_event(page.kind, "VANISHED")
            self._mark_listed(scope)

    def _apply(self, kind: str, event_type: str | None, body: Body) -> None:
        try:
            self._caches[kind].apply(event_type, body)
        except Exception:
            # A body without a name or with a wrong shape must not stop the events of all other objects.
            name = body.get("metadata", {}).get("name")
            log.exception("object left out of the cache", kind=kind, name=name)

    def _mark_listed(self, scope: tuple[str, str | None]) -> None:
        self._unlisted.discard(scope)
        kind = scope[0]
        if not self._caches[kind].complete and all(kind != unlisted for unlisted, _ in self._unlisted):
            self._caches[kind].complete = True
            self._dispatch_listed(self._watches[kind])
        if not self.missing and not self.synced.is_set():
            log.info("caches are complete", objects={cache.kind: len(cache) for cache in self._caches})
            self.synced.set()

    def _dispatch_listed(self, watch: Watch) -> None:
        """Enqueue the keys that waited for the first list of an optional kind."""
        keys: set[ObjectKey] = set()
        for fan_out in watch.fan_outs:
            if fan_out.listed is not None:
                keys.update(fan_out.listed(self._caches))
        for key in keys:
            self._enqueue(key)

    def _dispatch(self, change: CacheChange) -> None:
        watch = self._watches[change.key.kind]
        if watch.reconciled:
            self._dispatch_own(watch, change)
        for key in watch.wakes:
            self._enqueue(key)
        if watch.fan_outs:
            self._dispatch_dependents(watch, change)

    def _dispatch_own(self, watch: Watch, change: CacheChange) -> None:
        own = change.key if watch.together is None else ObjectKey(watch.kind, "", watch.together)
        if needs_reconcile(change):
            self._enqueue(own)
        elif status_was_changed_by_others(change) and change.after is not None:
            key, version = change.key, change.after.resource_version
            self._clock.call_at(self._clock.now() + self._status_settle, lambda: self._judge_status(key, version, own))

    def _judge_status(self, key: ObjectKey, version: str, own: ObjectKey) -> None:
        if not self._caches[key.kind].is_own_version(key, version):
            log.info("status was changed by another client", kind=key.kind, namespace=key.namespace, name=key.name)
            self._enqueue(own)

    def _dispatch_dependents(self, watch: Watch, change: CacheChange) -> None:
        affected = self._affected(watch, change)
        # Until the caches are complete, every object is enqueued when it appears. The end of the first list of an
        # optional kind enqueues the dependents of its objects.
        if not affected or not self.synced.is_set() or not self._caches[watch.kind].complete:
            return
        bodies = [change.body, *([] if (old := change.body_before) is None else [old])]
        dependents: dict[float, set[ObjectKey]] = {}
        for fan_out in affected:
            keys = dependents.setdefault(fan_out.settle, set())
            for body in bodies:
                self._add_dependents(keys, fan_out, change.key, body)
        for settle, keys in dependents.items():
            if settle:
                self._enqueue_settled(watch.kind, settle, keys)
            else:
                for key in keys:
                    self._enqueue(key)

    def _affected(self, watch: Watch, change: CacheChange) -> Sequence[FanOut]:
        """The fan-outs whose relevant part has changed."""
        parts = self._parts[watch.kind]
        if change.type is ChangeType.DELETED:
            self._relevant.pop(change.key, None)
            return watch.fan_outs
        before = self._relevant.get(change.key)
        now = tuple(self._digest_of_relevant(relevant, change) for relevant in parts)
        self._relevant[change.key] = now
        if before is None:
            return watch.fan_outs
        if before == now:
            return ()
        changed = {relevant for relevant, old, new in zip(parts, before, now, strict=True) if old != new}
        return [fan_out for fan_out in watch.fan_outs if fan_out.relevant in changed]

    def _digest_of_relevant(self, relevant: Relevant, change: CacheChange) -> int:
        """The digest of the relevant part, or of the whole body when the body is malformed."""
        try:
            return digest(relevant(change.body))
        except Exception:
            # An old schema may have admitted any body, and one object must not stop the events of all others.
            log.exception("relevant part of an object not found", key=str(change.key))
            return digest(change.body)

    def _add_dependents(self, keys: set[ObjectKey], fan_out: FanOut, key: ObjectKey, body: Body) -> None:
        """Add the dependents of a body; of a malformed body, those found before the error."""
        try:
            keys.update(fan_out.dependents(body, self._caches))
        except Exception:
            # As above: one malformed object must not stop the events of all others.
            log.exception("dependents of an object not found", key=str(key))

    def _enqueue_settled(self, kind: str, settle: float, keys: Iterable[ObjectKey]) -> None:
        """Enqueue the keys after ``settle`` seconds without such a change of the kind, or after thirty times that."""
        now = self._clock.now()
        unsettled = self._unsettled.get((kind, settle))
        if unsettled is None:
            latest = now + settle * _LONGEST_SETTLE
            unsettled = self._unsettled[kind, settle] = _Unsettled(due=now + settle, latest=latest)
            self._call_when_settled((kind, settle), unsettled)
        unsettled.due = min(now + settle, unsettled.latest)
        unsettled.keys.update(keys)

    def _call_when_settled(self, of: tuple[str, float], unsettled: _Unsettled) -> None:
        scheduled = unsettled.due

        def settled() -> None:
            if unsettled.due > scheduled:
                self._call_when_settled(of, unsettled)
                return
            del self._unsettled[of]
            for key in unsettled.keys:
                self._enqueue(key)

        self._clock.call_at(scheduled, settled)


def scopes(watch: Watch, namespaces: tuple[str, ...]) -> tuple[str | None, ...]:
    """The separate lists of a watch: one for each namespace, or one for all (None)."""
    return namespaces if namespaces and watch.resource.namespaced and not watch.optional else (None,)
