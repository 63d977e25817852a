"""What the controllers need of the world, as Protocols. ``storage``, ``registry`` and ``cluster`` implement them.

Every method that reaches outside raises :mod:`gatehouse.domain.common.errors`, and nothing else, when a system outside
fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from gatehouse.api.model_registry import ModelRegistry, ObjectStore
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Signer, Summary
from gatehouse.domain.audit.policies import PolicyText
from gatehouse.domain.audit.records import FactChange, StoredRecord
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.version.records import (
    FileRecord,
    KnownIds,
    ModelRecord,
    RegistryCounts,
    StateChange,
    VersionIds,
    VersionRecord,
)

__all__ = [
    "ArtifactStore",
    "ArtifactStores",
    "AuditTrail",
    "ClusterWriter",
    "CopyArchive",
    "EventRecorder",
    "ObjectName",
    "ObjectReader",
    "PolicyWriters",
    "RegistryRows",
    "RegistryRowsFactory",
    "SecretReader",
    "TemplateLister",
    "UtcClock",
]


class ObjectName(NamedTuple):
    """Names one object of a kind."""

    namespace: str
    name: str


class UtcClock(Protocol):
    """Time is passed in, so that tests need not wait."""

    def now(self) -> datetime:
        """The time in UTC, with its zone."""
        ...


class ObjectReader(Protocol):
    """The cache of watched objects, by plural name of the kind. Complete before the first reconcile."""

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """The newest body known, or None. The caller may keep it."""
        ...

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        """The resourceVersion of what ``get`` would answer."""
        ...

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        """The objects of a kind whose index has the value, in no particular order."""
        ...

    def values(self, kind: str, index: str) -> Sequence[str]:
        """Every value that some object of a kind has in an index."""
        ...

    def names(self, kind: str) -> Sequence[ObjectName]:
        """Every object of a kind."""
        ...

    def created(self, kind: str, namespace: str, name: str) -> str:
        """creationTimestamp of an object; empty when it is not there."""
        ...


class ArtifactStore(Protocol):
    """One bucket of an S3 store, opened with one set of credentials.

    Raises ``Waiting`` for what somebody must mend (AccessDenied, CredentialsRejected, RegionMismatch, ObjectArchived,
    StoreRefused and others), ``Transient`` (StoreUnavailable, StoreThrottled, StoreAnswerInvalid, BucketMissing, and
    ObjectChanged when the object is not the one that was listed). A bucket that does not exist lists as None.
    """

    async def list(self, prefix: str, *, limit: int, readable: bool = False) -> Listing | None:
        """Objects below ``prefix`` (empty, or with a slash at its end), paths relative to it; at most ``limit`` + 1.

        ``readable`` raises Waiting (ObjectArchived) where objects lie in an archive and cannot be read.
        """
        ...

    async def read(self, prefix: str, stored: StoredObject, *, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` of the object as it was listed."""
        ...

    async def sha256(
        self,
        prefix: str,
        stored: StoredObject,
        *,
        progress: Callable[[int], None],
        opened: Callable[[bytes], None] | None = None,
    ) -> str:
        """Hex SHA-256 of the object's bytes, streamed; ``progress`` gets the bytes of each step, ``opened`` the first.

        ``opened`` is called once, with at least ``unsafe_files.OPENING_BYTES``, or with all there are.
        """
        ...

    async def stored_sha256(self, prefix: str, stored: StoredObject) -> str | None:
        """Hex SHA-256 of the whole object as the store itself computed it (ChecksumType FULL_OBJECT), if it has one."""
        ...


class CopyArchive(Protocol):
    """A bucket that takes copies which nobody changes. Raises what an ``ArtifactStore`` raises."""

    async def put(self, key: str, data: bytes, *, retain_until: datetime) -> bool:
        """Writes a small object; whether the store locked it (Object Lock, GOVERNANCE) until then."""
        ...


class ArtifactStores(Protocol):
    """Opens stores. One client per endpoint and credentials, kept open."""

    def open(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, str] | None, ca_pem: str | None
    ) -> ArtifactStore:
        """The bucket of a store, with (access key id, secret access key), the operator's identity, or anonymously."""
        ...

    def archive(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, str] | None, ca_pem: str | None
    ) -> CopyArchive:
        """The bucket of a store, to put copies into."""
        ...

    async def aclose(self) -> None:
        """Closes every connection."""
        ...


class AuditTrail(Protocol):
    """The audit trail of one registry. Raises what :class:`RegistryRows` raises."""

    async def append(self, facts: Sequence[FactChange]) -> None:
        """Appends records of facts that change no row; those that do go with ``save_version``."""
        ...

    async def policies(self) -> Mapping[str, PolicyText]:
        """What was last recorded of each policy, by name."""
        ...

    async def record_policies(self, policies: Sequence[PolicyText], *, at: datetime) -> None:
        """Appends records of how the policies, which are all there are, differ from what was last recorded."""
        ...

    async def standing(self) -> AuditStanding:
        """The newest record, the newest checkpoint, and the first record that is there."""
        ...

    async def records(self, *, after: int, limit: int) -> Sequence[StoredRecord]:
        """A page of records with positions above ``after``."""
        ...

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keeps a checkpoint. Raises ``Transient`` (RowConflict) when the trail is another by now."""
        ...

    async def checkpoints_to_copy(self, *, uri: str, limit: int) -> Sequence[Checkpoint]:
        """Checkpoints that have no copy at ``uri`` yet, the oldest first."""
        ...

    async def mark_copied(self, seqs: Sequence[int], *, uri: str) -> None:
        """Copies of these checkpoints are at ``uri``."""
        ...

    async def summarise(self, summary: Summary, *, signer: Signer, at: datetime) -> int:
        """Deletes the records up to that of the summary, and appends the one that stands for them; how many."""
        ...


class RegistryRows(Protocol):
    """The rows of one registry. Concurrent calls are grouped: reads into one SELECT, writes into one transaction.

    Raises ``Transient`` (DatabaseUnavailable, DatabaseReadOnly, DatabaseContention, RowConflict), ``Waiting``
    (DatabaseAccessDenied, DatabaseNotFound, DatabaseCertificateRejected), ``Stalled`` (SchemaTooNew, SchemaForeign,
    NameTaken, DigestImmutable, RowRejected, RowUnreadable, DatabaseDamaged).
    """

    @property
    def schema_version(self) -> str:
        """Revision of the tables."""
        ...

    @property
    def audit(self) -> AuditTrail:
        """The audit trail of the registry."""
        ...

    async def load_version(self, *, model: str, version: str) -> VersionRecord | None:
        """The row of a version."""
        ...

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

        What the row itself says, ``change`` included, is one record; each of ``facts`` is another. The model's row is
        made when it is not there. ``files`` replaces the file rows; None leaves them. New rows get the ``known`` ids
        where these are free.
        """
        ...

    async def load_files(self, *, model: str, version: str) -> Mapping[str, FileRecord]:
        """Files checked so far, by path."""
        ...

    async def save_files(self, *, model: str, version: str, files: Sequence[FileRecord]) -> None:
        """Adds or replaces rows of files, so that a check can go on where it was stopped."""
        ...

    async def load_model(self, *, model: str) -> ModelRecord | None:
        """The row of a model."""
        ...

    async def save_model(self, record: ModelRecord, *, known: int | None = None) -> int:
        """Inserts or updates the row of a model; its id, which is the ``known`` one of a new row where that is free."""
        ...

    async def archive_object(
        self, kind: Literal["model", "version"], *, namespace: str, name: str, change: StateChange
    ) -> int:
        """Archives the live row that an object held which is gone; how many rows that were (0 or 1)."""
        ...

    def live_objects(self) -> AsyncIterator[tuple[Literal["model", "version"], str, str]]:
        """(kind "model" or "version", namespace, object name) of every live row, for the sweep."""
        ...

    async def reserve(self, highest: KnownIds) -> None:
        """No row gets an id up to these from now on, unless it is known by it."""
        ...

    async def counts(self) -> RegistryCounts:
        """Live rows."""
        ...


class RegistryRowsFactory(Protocol):
    """Opens databases, migrates them, keeps one bounded pool each."""

    async def open(self, registry: ModelRegistry, *, password: str | None, ca_pem: str | None) -> RegistryRows:
        """Connects and migrates to the newest schema under a database lock."""
        ...

    def describe(self, registry: ModelRegistry) -> str:
        """The database in use, without credentials."""
        ...

    def forget(self, name: str) -> None:
        """Closes the database of the registry ``namespace/name``, unless another registry uses it too."""
        ...

    async def aclose(self) -> None:
        """Closes every pool."""
        ...


class SecretReader(Protocol):
    """Reads Secrets. The values go to the adapters and nowhere else."""

    async def read(self, namespace: str, name: str, keys: Iterable[str]) -> Mapping[str, str]:
        """The named keys, decoded. Raises ``Waiting`` (SecretNotFound, SecretKeyMissing, SecretForbidden)."""
        ...


class ClusterWriter(Protocol):
    """Writes to Kubernetes. Raises ``Transient`` on conflict and outage, ``Stalled`` on what can never be accepted."""

    async def write_status(self, kind: str, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Replaces the status of an object, if it still has the resourceVersion of ``body``."""
        ...

    async def put_config_map(self, namespace: str, config_map: Mapping[str, Any]) -> None:
        """Creates the ConfigMap, or applies it over what is there."""
        ...

    @property
    def name(self) -> str:
        """What each of the VettedArtifacts that it writes is marked with."""
        ...

    async def vetted_artifacts(self) -> Mapping[str, Revision]:
        """The VettedArtifacts that are there at this moment, as no cache can tell."""
        ...

    async def reread_vetted_artifacts(self) -> None:
        """Has the cache know the VettedArtifacts that are there at this moment."""
        ...

    async def create_vetted_artifacts(self, body: Mapping[str, Any]) -> Revision:
        """Creates the VettedArtifacts. Raises ``Superseded`` when it is there."""
        ...

    async def update_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        """Makes its spec this one. Raises ``Superseded`` when it is not as it was."""
        ...

    async def mark_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        """Marks it as written by this process; ``body`` has its spec. Raises ``Superseded`` as an update does."""
        ...

    async def delete_vetted_artifacts(self, name: str, *, at: Revision) -> None:
        """Deletes it if it is there. Raises ``Superseded`` when it is not as it was."""
        ...

    async def delete_config_map(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Deletes the ConfigMap if it is there and belongs to the owner."""
        ...


class TemplateLister(Protocol):
    """Lists serving templates. Raises ``Transient``."""

    async def templates(self) -> Mapping[tuple[str, str], str]:
        """(namespace, name) of each template to the digest that it was written with, or another word if changed."""
        ...


class PolicyWriters(Protocol):
    """Tells with which programs policies were written. Raises ``Transient``."""

    async def writers(self) -> Mapping[str, str]:
        """The program that last wrote the spec of each policy, as it names itself, by the policy's name."""
        ...


class EventRecorder(Protocol):
    """Posts Events in the background, bounded; a lost Event is counted, never waited for."""

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """One Event about an object."""
        ...
