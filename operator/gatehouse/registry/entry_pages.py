"""Reads of entries: one by its id or its name, and pages of lists. A list costs one statement, whatever its size.

A page begins after the last entry of the page before, by its value in the order and its id, so that the database goes
to the page by an index. A position whose value is not known costs one statement more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, Select, and_, case, false, or_, select, union_all

from gatehouse.domain.common.epoch import EPOCH, microseconds
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.entries.entry import FIRST_RECORDED_ID, LARGEST_ID, Entry, EntryKind
from gatehouse.domain.query.filters import Filter
from gatehouse.domain.query.pages import Order, Page, Position
from gatehouse.domain.query.scopes import EveryNamespace, Scope
from gatehouse.registry.entry_filters import condition
from gatehouse.registry.entry_mappers import entries_of, entry_of
from gatehouse.registry.entry_sources import EntrySource, sources_by_id, sources_of
from gatehouse.registry.operations import Read
from gatehouse.registry.tables import entry_properties

__all__ = ["EntryPage", "FindEntry", "GetEntry", "ListEntries", "page_statement", "position_of", "readable"]

_Matches = Callable[[EntrySource], Sequence[ColumnElement[bool]]]
_P = entry_properties.c
_COLUMNS: Final = {"NAME": "name", "CREATE_TIME": "created_at", "LAST_UPDATE_TIME": "updated_at"}
_TIMES: Final = frozenset({"CREATE_TIME", "LAST_UPDATE_TIME"})
_ORDER: Final = "order_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPage:
    """Entries in their order. ``more`` is whether others come after them."""

    entries: Sequence[Entry]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetEntry(Read[Entry | None]):
    """The entry of an id, of one of the kinds; None where the caller may not read the entry."""

    registry: str
    kinds: tuple[EntryKind, ...]
    id: int
    namespaces: Scope

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Entry | ReconcileError | None]:
        return [_got(connection, operation) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindEntry(Read[Entry | None]):
    """The entry of a name and a parent, or of an external id."""

    registry: str
    kinds: tuple[EntryKind, ...]
    name: str | None
    parent_id: int | None
    external_id: str | None
    namespaces: Scope

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[Entry | ReconcileError | None]:
        return [_found(connection, operation) for operation in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntries(Read[EntryPage]):
    """A page of the entries of the kinds, of one parent if that is given."""

    registry: str
    kinds: tuple[EntryKind, ...]
    parent_id: int | None
    namespaces: Scope
    tree: Filter | None
    page: Page

    @classmethod
    def run(cls, connection: Connection, batch: Sequence[Self]) -> list[EntryPage | ReconcileError]:
        return [_listed(connection, operation) for operation in batch]


def position_of(entry: Entry, order: Order) -> Position:
    """The position of an entry in an order. Times are microseconds since 1970.

    In the order by a property the value is None where the entry lacks the property, or has it from an object's spec.
    """
    match order.by:
        case "ID":
            return Position(None, entry.id)
        case "NAME":
            return Position(entry.name, entry.id)
        case "CREATE_TIME":
            return Position(microseconds(entry.created_at), entry.id)
        case "LAST_UPDATE_TIME":
            return Position(microseconds(entry.updated_at), entry.id)
    kept = entry.properties.get(order.by)
    if kept is None or kept.type != (order.type or "string") or entry.governed is not None:
        return Position(None, entry.id)
    return Position(int(kept.value) if isinstance(kept.value, bool) else kept.value, entry.id)


def page_statement(operation: ListEntries, position: Position | None, *, dialect: str) -> Select[Any]:
    """The statement of a page, with one row more than the page has."""
    order = operation.page.order
    sources = _sources(operation)
    if len(sources) == 1:
        return _branch(operation, sources[0], position, dialect, whole=False)
    branches = [_branch(operation, source, position, dialect, whole=True) for source in sources]
    # A limit inside each branch lets each use an index of its own; SQLite accepts one only in a subquery.
    union = union_all(*[select(branch.subquery()) for branch in branches]).subquery()
    value = union.c.get(_ORDER, None)
    return _cut(select(union), order, value, union.c.id, operation.page.size)


def _branch(
    operation: ListEntries, source: EntrySource, position: Position | None, dialect: str, *, whole: bool
) -> Select[Any]:
    order, size = operation.page.order, operation.page.size
    ranged = position is not None and operation.parent_id is None and dialect in {"mysql", "mariadb"}
    value, statement = _ordered(source, order, scoped=not ranged, whole=whole)
    if ranged:
        # For an equality MariaDB reads the index from its end up to the page. For a span it goes to the page, but then
        # it must be told that the order of the index is the order of the page.
        for column, name in source.scope:
            statement = statement.where(column >= name, column <= name)
            statement = statement.order_by(column.desc() if order.descending else column.asc())
    statement = statement.where(*readable(source, operation.namespaces))
    if operation.parent_id is not None:
        statement = statement.where(source.columns["parent_id"] == operation.parent_id)
    if operation.tree is not None:
        statement = statement.where(condition(source, operation.tree, dialect=dialect))
    if position is not None:
        statement = statement.where(_after(order, value, source.columns["id"], position))
    return _cut(statement, order, value, source.columns["id"], size)


def _ordered(
    source: EntrySource, order: Order, *, scoped: bool = True, whole: bool = True
) -> tuple[ColumnElement[Any] | None, Select[Any]]:
    """The value of the order, None for the order by id, and the rows with that value."""
    if order.by == "ID":
        return None, source.rows(scoped=scoped, whole=whole)
    if order.by in _COLUMNS:
        value = source.columns[_COLUMNS[order.by]]
        return value, source.rows(value.label(_ORDER), scoped=scoped, whole=whole)
    kind = order.type or "string"
    value = _P.text if kind == "string" else _P.number
    joined = source.rows(value.label(_ORDER), scoped=scoped, whole=whole).outerjoin(
        entry_properties,
        and_(
            _P.subject == (source.subject or ""),
            _P.entry_id == source.columns["id"],
            _P.custom == 1,
            _P.name == order.by,
            _P.type == kind,
        ),
    )
    return value, joined


def _after(
    order: Order, value: ColumnElement[Any] | None, id_: ColumnElement[Any], position: Position
) -> ColumnElement[bool]:
    later = id_ < position.id if order.descending else id_ > position.id
    if value is None:
        return later
    kept = position.value
    if kept is None:
        return and_(value.is_(None), later)
    at: Any = EPOCH + timedelta(microseconds=int(kept)) if order.by in _TIMES else kept
    # The first part alone is a range of an index.
    if order.descending:
        following = and_(value <= at, or_(value < at, later))
    else:
        following = and_(value >= at, or_(value > at, later))
    return following if order.by in _COLUMNS else or_(following, value.is_(None))


def _cut(
    statement: Select[Any],
    order: Order,
    value: ColumnElement[Any] | None,
    id_: ColumnElement[Any],
    size: int | None,
) -> Select[Any]:
    """The rows in their order, and not more than the page needs. Entries without the property come last."""
    keys = [id_] if value is None else [value, id_]
    directed = [key.desc() if order.descending else key.asc() for key in keys]
    if value is not None and order.by not in _COLUMNS:
        directed.insert(0, case((value.is_(None), 1), else_=0).asc())
    statement = statement.order_by(*directed)
    return statement if size is None else statement.limit(size + 1)


def _left_out(sources: Sequence[EntrySource]) -> Mapping[str, Any]:
    """The values that the statement of one source leaves out. Branches of a union have the same columns."""
    return sources[0].constants if len(sources) == 1 else {}


def readable(source: EntrySource, namespaces: Scope) -> Sequence[ColumnElement[bool]]:
    """The conditions under which the caller may read a row."""
    if isinstance(namespaces, EveryNamespace):
        return ()
    return (source.columns["namespace"].in_(sorted(namespaces)),)


def _sources(operation: GetEntry | FindEntry | ListEntries) -> Sequence[EntrySource]:
    """The sources that can have such an entry."""
    if isinstance(operation, GetEntry):
        return sources_by_id(operation.registry, operation.kinds)
    found = sources_of(operation.registry, operation.kinds)
    if isinstance(operation, ListEntries) and (operation.parent_id or 0) >= FIRST_RECORDED_ID:
        return [source for source in found if source.subject is not None]
    return found


def _got(connection: Connection, operation: GetEntry) -> Entry | ReconcileError | None:
    if not 0 < operation.id <= LARGEST_ID:
        return None
    return _first(connection, operation, lambda source: (source.columns["id"] == operation.id,))


def _found(connection: Connection, operation: FindEntry) -> Entry | ReconcileError | None:
    def matches(source: EntrySource) -> Sequence[ColumnElement[bool]]:
        columns = source.columns
        if operation.external_id is not None:
            if source.subject is None:
                return (false(),)
            return (columns["external_id"] == operation.external_id,)
        named = columns["name"] == operation.name
        if source.kind == "registered_model":
            return (named,)
        return (named, columns["parent_id"] == (operation.parent_id or 0))

    found = _first(connection, operation, matches)
    if isinstance(found, Entry):
        # MariaDB takes texts that differ in blanks at their end for equal.
        same = found.name == operation.name if operation.external_id is None else True
        return found if same else None
    return found


def _first(connection: Connection, operation: GetEntry | FindEntry, matches: _Matches) -> Entry | ReconcileError | None:
    if not operation.namespaces:
        return None
    sources = _sources(operation)
    branches = [
        source.rows(whole=len(sources) > 1).where(*matches(source), *readable(source, operation.namespaces))
        for source in sources
    ]
    statement: Any = branches[0] if len(branches) == 1 else union_all(*branches)
    row = connection.execute(statement).first()
    if row is None:
        return None
    try:
        return entry_of(row, constants=_left_out(sources))
    except ReconcileError as error:
        return error


def _listed(connection: Connection, operation: ListEntries) -> EntryPage | ReconcileError:
    page = operation.page
    nothing = EntryPage(entries=(), more=False)
    if not operation.namespaces or page.size == 0 or not operation.kinds:
        return nothing
    position = page.after
    if position is not None and position.value is None and page.order.by != "ID":
        position = _known(connection, operation, position)
        if position is None:
            return nothing
    rows = connection.execute(page_statement(operation, position, dialect=connection.dialect.name)).all()
    size = len(rows) if page.size is None else page.size
    try:
        entries = entries_of(rows[:size], constants=_left_out(_sources(operation)))
        return EntryPage(entries=tuple(entries), more=len(rows) > size)
    except ReconcileError as error:
        return error


def _known(connection: Connection, operation: ListEntries, position: Position) -> Position | None:
    """The position with the value of the entry with that id; None where no such entry is."""
    order = operation.page.order
    branches = []
    for source in _sources(operation):
        _, statement = _ordered(source, order)
        branches.append(statement.where(source.columns["id"] == position.id).limit(1))
    union = union_all(*[select(branch.subquery()) for branch in branches]).subquery()
    row = connection.execute(select(union.c[_ORDER]).limit(1)).first()
    if row is None:
        return None
    (value,) = row
    if isinstance(value, datetime):
        value = microseconds(value)
    return Position(value, position.id)
