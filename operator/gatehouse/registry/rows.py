"""The rows and the audit trail of one registry, for the controllers. Each method submits one operation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from gatehouse.domain.audit.chain import SUMMARISED, TRAIL
from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Summary
from gatehouse.domain.audit.policies import PolicyText
from gatehouse.domain.audit.records import SYSTEM_ACTOR, FactChange, StoredRecord, fact_document
from gatehouse.domain.catalog.listed_models import READY, ListedModel, listed_models
from gatehouse.domain.common.epoch import microseconds
from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.entries.mirroring import EntryKey, Mirrored
from gatehouse.domain.entries.observed import ObservedServing
from gatehouse.domain.query.filters import Comparison
from gatehouse.domain.query.pages import Order, Page, Position
from gatehouse.domain.version.records import (
    FileRecord,
    KnownIds,
    ModelRecord,
    RegistryCounts,
    StateChange,
    VersionIds,
    VersionRecord,
)
from gatehouse.registry.audit import (
    AppendFacts,
    LoadCheckpoints,
    LoadPolicies,
    LoadRecords,
    LoadStanding,
    MarkCopied,
    RecordPolicies,
    SaveCheckpoint,
    SummariseRecords,
)
from gatehouse.registry.database import Database
from gatehouse.registry.hints import AddHints, DropHints, ListHints
from gatehouse.registry.keys import ModelKey, VersionKey
from gatehouse.registry.live_rows import ArchiveObject, CountRows, ListLive
from gatehouse.registry.mappers import RowValues, change_values, check_key, file_values, model_values, version_values
from gatehouse.registry.mirrored import ForgetMirror, LoadMirrored, SaveMirrored
from gatehouse.registry.models import LoadModel, SaveModel
from gatehouse.registry.namespaces import ListNamespaces
from gatehouse.registry.schema import HEAD
from gatehouse.registry.serving_entries import SaveServing
from gatehouse.registry.tables import model_versions, registered_models
from gatehouse.registry.versions import LoadFiles, LoadHistory, LoadVersion, SaveFiles, SaveVersion

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import Signer

if TYPE_CHECKING:
    from gatehouse.registry.entries import Entries

__all__ = ["AuditRows", "Rows"]

_PAGE = 1000


class Rows:
    """The rows of one registry in a database that other registries may share.

    Every method may raise the errors of :meth:`Database.submit`. After a ``Transient`` it is unknown whether the rows
    were written: load them again before the next save.
    """

    def __init__(self, *, registry: str, database: Database, now: Callable[[], datetime]) -> None:
        self._registry = registry
        self._database = database
        self._now = now

    @property
    def schema_version(self) -> str:
        """The revision of the tables."""
        return HEAD

    @property
    def audit(self) -> AuditRows:
        """The registry's audit trail."""
        return AuditRows(registry=self._registry, database=self._database)

    @property
    def entries(self) -> Entries:
        """The models and versions as REST clients see them, and everything else that clients record."""
        # 2 MiB that only a server needs.
        from gatehouse.registry.entries import Entries  # noqa: PLC0415

        return Entries(registry=self._registry, database=self._database, now=self._now)

    async def load_version(self, *, model: str, version: str) -> VersionRecord | None:
        """The row of a version.

        Raises:
            Stalled: RowUnreadable, another program changed the row's JSON.
        """
        return await self._database.submit(LoadVersion(self._version(model, version)))

    async def save_version(
        self,
        record: VersionRecord,
        *,
        files: Sequence[FileRecord] | None,
        change: StateChange | None,
        known: KnownIds | None = None,
        facts: Sequence[FactChange] = (),
    ) -> VersionIds:
        """Inserts (id None) or updates a row with its history entry and its audit records, in one transaction.

        The row itself, with ``change``, is one record of the audit trail; each of ``facts`` is another record.
        A new row, and its model's row, get the ``known`` ids where no other row has them.

        Raises:
            Transient: RowConflict, another object holds the row or the row has another id: load it again.
            Stalled: DigestImmutable; NameTaken, the model belongs to another namespace; RowRejected.
        """
        key = self._version(record.model, record.version)
        operation = SaveVersion(
            key=key,
            id=record.id,
            known=known or KnownIds(),
            values=version_values(self._registry, record),
            files=None if files is None else self._files(key, files),
            change=None if change is None else change_values(change, str(key)),
            at=self._now(),
            facts=[fact_document(fact) for fact in facts],
        )
        return await self._database.submit(operation)

    async def load_files(self, *, model: str, version: str) -> Mapping[str, FileRecord]:
        """Files checked so far, by path."""
        return await self._database.submit(LoadFiles(self._version(model, version)))

    async def save_files(self, *, model: str, version: str, files: Sequence[FileRecord]) -> None:
        """Adds or replaces rows of files, even before the version has a row.

        Raises:
            Stalled: RowRejected.
        """
        key = self._version(model, version)
        await self._database.submit(SaveFiles(key=key, files=self._files(key, files)))

    async def load_model(self, *, model: str) -> ModelRecord | None:
        """The row of a model."""
        return await self._database.submit(LoadModel(self._model(model)))

    async def save_model(self, record: ModelRecord, *, known: int | None = None) -> int:
        """Inserts or updates the row of a model; returns its id. Takes over an archived row or one that a version made.

        A new row gets the ``known`` id where no other row has that id.

        Raises:
            Transient: RowConflict, the row has another id: load it again.
            Stalled: NameTaken, a live object in another namespace has the name; RowRejected.
        """
        values = model_values(self._registry, record)
        return await self._database.submit(
            SaveModel(key=self._model(record.name), id=record.id, known=known, values=values, at=self._now())
        )

    async def archive_object(
        self, kind: Literal["model", "version"], *, namespace: str, name: str, change: StateChange
    ) -> int:
        """Archives the live row of a deleted object; returns the number of archived rows.

        The history gets ``change``; where its ``before`` and ``digest`` are None, the row's values replace them.
        """
        values = change_values(change, f"{kind} {namespace}/{name}")
        return await self._database.submit(
            ArchiveObject(registry=self._registry, kind=kind, namespace=namespace, name=name, change=values)
        )

    async def live_objects(self) -> AsyncIterator[tuple[Literal["model", "version"], str, str]]:
        """(kind "model" or "version", namespace, object name) of every live row."""
        kinds: tuple[Literal["model", "version"], ...] = ("model", "version")
        for kind in kinds:
            after = 0
            while page := await self._database.submit(ListLive(kind, self._registry, after, _PAGE)):
                for live in page:
                    yield kind, live.namespace, live.name
                after = page[-1].id

    async def reserve(self, highest: KnownIds) -> None:
        """Reserves the ids up to these: objects know these ids of rows that the database has lost."""
        self._database.reserve(highest)

    async def add_hints(self, folders: Sequence[str]) -> int:
        """Tells the operator to look into folders, given as URIs; returns how many hints were added.

        Hints beyond a limit are dropped.
        """
        if not folders:
            return 0
        return await self._database.submit(AddHints(self._registry, tuple(folders)))

    async def take_hints(self) -> Sequence[str]:
        """The folders of all hints, which are removed. Without hints nothing is written."""
        hints = await self._database.submit(ListHints(self._registry))
        if hints:
            await self._database.submit(DropHints(self._registry, tuple(hint.id for hint in hints)))
        return [hint.folder for hint in hints]

    async def changed_entries(
        self, kinds: Sequence[EntryKind], *, since: datetime | None, after: Position | None, limit: int
    ) -> tuple[Sequence[Entry], Position | None]:
        """Entries by the time of their last change, and the position of the next page; None for the last page.

        ``after`` is the position that the page before returned. The first page begins after ``since``.
        """
        order = Order("LAST_UPDATE_TIME")
        if after is None and since is not None:
            after = Position(microseconds(since), 0)
        page = await self.entries.page(kinds=kinds, page=Page(order=order, after=after, size=limit))
        if not page.more:
            return page.entries, None
        last = page.entries[-1]
        return page.entries, Position(microseconds(last.updated_at), last.id)

    async def mirrored(self, mirror: str, keys: Iterable[EntryKey]) -> Mapping[EntryKey, Mirrored]:
        """What a mirror has of some entries, without those that it does not have."""
        wanted = tuple(sorted(set(keys)))
        return await self._database.submit(LoadMirrored(self._registry, mirror, wanted)) if wanted else {}

    async def save_mirrored(self, mirror: str, key: EntryKey, value: Mirrored) -> None:
        """Replaces what a mirror has of an entry."""
        await self._database.submit(SaveMirrored(self._registry, mirror, key, value))

    async def forget_mirror(self, mirror: str) -> None:
        """From now on nothing is known of a mirror."""
        await self._database.submit(ForgetMirror(self._registry, mirror))

    async def save_serving(self, serving: ObservedServing) -> int:
        """Writes what the cluster shows of serving where the entries differ; returns the number of written entries."""
        return await self._database.submit(SaveServing(registry=self._registry, serving=serving, at=self._now()))

    async def listed_models(self, *, most: int) -> tuple[Sequence[ListedModel], bool]:
        """The newest models of the catalog, and whether there are more."""
        newest = Page(order=Order("ID", descending=True), size=most)
        page = await self.entries.page(kinds=("model_version",), page=newest, tree=READY)
        parents = tuple(sorted({entry.parent_id or 0 for entry in page.entries}))
        if not parents:
            return (), page.more
        of_them = Comparison(("id",), "IN", parents)
        models = await self.entries.page(kinds=("registered_model",), page=Page(), tree=of_them)
        return listed_models(page.entries, models.entries), page.more

    async def counts(self) -> RegistryCounts:
        """The counts of live rows."""
        return await self._database.submit(CountRows(self._registry))

    async def namespaces(self) -> frozenset[str]:
        """The namespaces of the registry's entries."""
        return await self._database.submit(ListNamespaces(self._registry))

    async def history(self, *, model: str, version: str, limit: int = 1000) -> Sequence[StateChange]:
        """The newest ``limit`` entries of a version's history, oldest first."""
        return await self._database.submit(LoadHistory(self._version(model, version), limit))

    def _version(self, model: str, version: str) -> VersionKey:
        check_key(model_versions, model=model, version=version)
        return VersionKey(self._registry, model, version)

    def _model(self, name: str) -> ModelKey:
        check_key(registered_models, name=name)
        return ModelKey(self._registry, name)

    def _files(self, key: VersionKey, files: Sequence[FileRecord]) -> Sequence[RowValues]:
        """One row per path: of two files with the same path the later one counts."""
        newest = {file.path: file for file in files}
        return [file_values(*key, file) for file in newest.values()]


class AuditRows:
    """The audit trail of a registry. Every method may raise the errors of :meth:`Database.submit`."""

    def __init__(self, *, registry: str, database: Database) -> None:
        self._registry = registry
        self._database = database

    async def append(self, facts: Sequence[FactChange]) -> None:
        """Appends records of facts that change no row."""
        documents = [fact_document(fact) for fact in facts]
        if documents:
            await self._database.submit(AppendFacts(registry=self._registry, facts=documents))

    async def policies(self) -> Mapping[str, PolicyText]:
        """The last recorded text of each policy, by name."""
        return await self._database.submit(LoadPolicies(registry=self._registry))

    async def record_policies(self, policies: Sequence[PolicyText], *, at: datetime) -> None:
        """Appends records of how the policies, the complete set, differ from the last recorded texts."""
        await self._database.submit(RecordPolicies(registry=self._registry, policies=tuple(policies), at=at))

    async def standing(self) -> AuditStanding:
        """The newest record, the newest checkpoint, and the first existing record."""
        return await self._database.submit(LoadStanding(registry=self._registry))

    async def records(self, *, after: int, limit: int) -> Sequence[StoredRecord]:
        """A page of records with positions above ``after``."""
        return await self._database.submit(LoadRecords(registry=self._registry, after=after, limit=limit))

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Saves a checkpoint.

        Raises:
            Transient: RowConflict, the trail or its newest checkpoint has changed.
        """
        await self._database.submit(SaveCheckpoint(checkpoint=checkpoint))

    async def checkpoints_to_copy(self, *, uri: str, limit: int) -> Sequence[Checkpoint]:
        """Checkpoints that have no copy at ``uri`` yet, the oldest first."""
        return await self._database.submit(LoadCheckpoints(registry=self._registry, not_at=uri, limit=limit))

    async def mark_copied(self, seqs: Sequence[int], *, uri: str) -> None:
        """Records that ``uri`` has copies of these checkpoints."""
        await self._database.submit(MarkCopied(registry=self._registry, seqs=tuple(seqs), uri=uri))

    async def summarise(self, summary: Summary, *, signer: Signer, at: datetime) -> int:
        """Deletes the records up to the summary's and appends one record in their place; returns the number deleted.

        Deletes no records when no checkpoint covers them yet, or when they are already deleted.
        """
        fact = FactChange(
            at=at,
            actor=SYSTEM_ACTOR,
            kind=TRAIL,
            namespace=self._registry.partition("/")[0],
            name=self._registry.partition("/")[2],
            reason=SUMMARISED,
            message=f"records 1 to {summary.to} were older than the retention",
            after=signer.summary(summary),
        )
        return await self._database.submit(SummariseRecords(summary=summary, fact=fact_document(fact)))
