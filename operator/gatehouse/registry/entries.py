"""The entries of one registry, for the REST server. Each method submits one operation."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from gatehouse.domain.entries.entry import Entry, EntryKind, NewEntry
from gatehouse.domain.query.filters import Filter
from gatehouse.domain.query.pages import Page
from gatehouse.domain.query.scopes import EVERY_NAMESPACE, Scope
from gatehouse.registry.database import Database
from gatehouse.registry.entry_creations import CreateEntry
from gatehouse.registry.entry_mappers import dump_members, dump_properties
from gatehouse.registry.entry_pages import EntryPage, FindEntry, GetEntry, ListEntries
from gatehouse.registry.entry_updates import EntryChange, UpdateEntry

__all__ = ["Entries"]


class Entries:
    """The entries of one registry in a database that other registries may share.

    ``namespaces`` are those whose entries the caller may read: other entries are as if they were not there. Every
    method may raise the errors of :meth:`Database.submit`, and Stalled (RowUnreadable) for a row that another program
    changed. After a ``Transient`` it is unknown whether a write took place.
    """

    def __init__(self, *, registry: str, database: Database, now: Callable[[], datetime]) -> None:
        self._registry = registry
        self._database = database
        self._now = now

    async def create(self, entry: NewEntry, *, actor: str) -> Entry:
        """Records an entry; returns it with its id. ``actor`` is the user, for the audit trail.

        A metric of an experiment run is recorded twice in one transaction: as the run's metric, and in its history.

        Raises:
            EntryExists: another entry has the name in its parent, or the external id.
            ParentMissing: no entry has the id of the parent.
            Stalled: RowRejected, a value does not fit its column; IdsExhausted.
        """
        dump_members(entry.members), dump_properties(entry.properties)
        operation = CreateEntry(
            registry=self._registry, entry=entry, actor=actor, at=self._now(), creation=secrets.token_hex(16)
        )
        return await self._database.submit(operation)

    async def update(
        self,
        *,
        kinds: Sequence[EntryKind],
        id: int,  # noqa: A002 - the word of the clients
        change: EntryChange,
        actor: str,
        namespaces: Scope = EVERY_NAMESPACE,
    ) -> Entry:
        """Changes an entry of one of the kinds; returns the entry as it is then. Each update changes ``updated_at``.

        Another value, step or time of an experiment run's metric also goes into its history.
        A client that changes the derived artifact of a governed version records that artifact, under the same id.

        Raises:
            EntryMissing: no such entry.
            EntryExists: another entry has the external id, or the name in the new parent; the entry has a parent.
            EntryGoverned: the entry's object declares the state or the URI.
            ParentMissing: no entry has the id of the new parent.
            Stalled: RowRejected.
        """
        dump_members(change.members or {}), dump_properties(change.properties or {})
        operation = UpdateEntry(
            registry=self._registry,
            kinds=tuple(kinds),
            id=id,
            change=change,
            namespaces=namespaces,
            actor=actor,
            at=self._now(),
            creation=secrets.token_hex(16),
        )
        return await self._database.submit(operation)

    async def get(
        self,
        *,
        kinds: Sequence[EntryKind],
        id: int,  # noqa: A002 - the word of the clients
        namespaces: Scope = EVERY_NAMESPACE,
    ) -> Entry | None:
        """The entry of an id, of one of the kinds."""
        operation = GetEntry(registry=self._registry, kinds=tuple(kinds), id=id, namespaces=namespaces)
        return await self._database.submit(operation)

    async def find(
        self,
        *,
        kinds: Sequence[EntryKind],
        name: str | None = None,
        parent_id: int | None = None,
        external_id: str | None = None,
        namespaces: Scope = EVERY_NAMESPACE,
    ) -> Entry | None:
        """The entry of a name in a parent, or of an external id, which comes first where both are given.

        Raises:
            ValueError: neither is given.
        """
        if name is None and external_id is None:
            raise ValueError("a name or an external id is expected")
        operation = FindEntry(
            registry=self._registry,
            kinds=tuple(kinds),
            name=name,
            parent_id=parent_id,
            external_id=external_id,
            namespaces=namespaces,
        )
        return await self._database.submit(operation)

    async def page(
        self,
        *,
        kinds: Sequence[EntryKind],
        page: Page,
        parent_id: int | None = None,
        tree: Filter | None = None,
        namespaces: Scope = EVERY_NAMESPACE,
    ) -> EntryPage:
        """A page of the entries of the kinds, of one parent if that is given, that ``tree`` accepts."""
        operation = ListEntries(
            registry=self._registry,
            kinds=tuple(kinds),
            parent_id=parent_id,
            namespaces=namespaces,
            tree=tree,
            page=page,
        )
        return await self._database.submit(operation)
