"""The interfaces that the controllers need, as Protocols. ``registry`` and ``cluster`` implement them.

When an outside system fails, every method that uses the system raises :mod:`gatehouse.domain.common.errors` and nothing
else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.audit.checkpoints import AuditStanding, Checkpoint, Summary
from gatehouse.domain.audit.policies import PolicyText
from gatehouse.domain.audit.records import FactChange, StoredRecord
from gatehouse.domain.catalog.listed_models import ListedModel
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.deployment.answers import QueryAnswer
from gatehouse.domain.deployment.webhook import WebhookAnswer, WebhookQuestion
from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.entries.mirroring import CreateCopy, EntryKey, Mirrored, UpdateCopy
from gatehouse.domain.entries.observed import ObservedServing
from gatehouse.domain.query.pages import Position
from gatehouse.domain.version.records import (
    FileRecord,
    KnownIds,
    ModelRecord,
    RegistryCounts,
    StateChange,
    VersionIds,
    VersionRecord,
)

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import Signer

__all__ = [
    "AuditTrail",
    "CatalogConfigMaps",
    "ClusterWriter",
    "EventRecorder",
    "LeaseTerm",
    "MetricSource",
    "MirrorClient",
    "MirrorFactory",
    "ObjectName",
    "ObjectReader",
    "PolicyWriters",
    "RegistryRows",
    "RegistryRowsFactory",
    "RouteWriter",
    "SecretReader",
    "ServedKinds",
    "ServingCluster",
    "TemplateLister",
    "UtcClock",
    "WebhookSource",
]


class ObjectName(NamedTuple):
    """Names one object of a kind."""

    namespace: str
    name: str


class UtcClock(Protocol):
    """Time is a dependency, so that tests need not wait."""

    def now(self) -> datetime:
        """The time in UTC, with its zone."""
        ...


class ObjectReader(Protocol):
    """The cache of watched objects, by plural name of the kind.

    The cache of a kind is complete before the first reconcile, unless the kind is optional.
    """

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """The newest body known, or None. The caller may keep it."""
        ...

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        """The resourceVersion of the body that ``get`` returns."""
        ...

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        """The objects of a kind whose index has the value, in no particular order."""
        ...

    def values(self, kind: str, index: str) -> Sequence[str]:
        """Every value that some object of a kind has in an index."""
        ...

    def indexed(self, kind: str, name: ObjectName, index: str) -> Sequence[str]:
        """The values that an object has in an index; none for an unknown object."""
        ...

    def names(self, kind: str) -> Sequence[ObjectName]:
        """Every object of a kind."""
        ...

    def complete(self, kind: str) -> bool:
        """Whether all objects of an optional kind are known. A kind that is absent has no objects."""
        ...

    def created(self, kind: str, namespace: str, name: str) -> str:
        """creationTimestamp of an object; empty when the object is absent."""
        ...


class AuditTrail(Protocol):
    """The audit trail of one registry. Raises the errors of :class:`RegistryRows`."""

    async def append(self, facts: Sequence[FactChange]) -> None:
        """Appends records of facts that change no row; ``save_version`` appends the others."""
        ...

    async def policies(self) -> Mapping[str, PolicyText]:
        """The last record of each policy, by name."""
        ...

    async def record_policies(self, policies: Sequence[PolicyText], *, at: datetime) -> None:
        """Appends records of how these policies, which are all that exist, differ from the last records."""
        ...

    async def standing(self) -> AuditStanding:
        """The newest record, the newest checkpoint, and the first record that still exists."""
        ...

    async def records(self, *, after: int, limit: int) -> Sequence[StoredRecord]:
        """A page of records with positions above ``after``."""
        ...

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keeps a checkpoint. Raises ``Transient`` (RowConflict) when the trail changed meanwhile."""
        ...

    async def checkpoints_to_copy(self, *, uri: str, limit: int) -> Sequence[Checkpoint]:
        """Checkpoints that have no copy at ``uri`` yet, oldest first."""
        ...

    async def mark_copied(self, seqs: Sequence[int], *, uri: str) -> None:
        """Records that these checkpoints have copies at ``uri``."""
        ...

    async def summarise(self, summary: Summary, *, signer: Signer, at: datetime) -> int:
        """Deletes the records up to the summary's, and appends the summary; returns how many were deleted."""
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

        The row itself, ``change`` included, is one audit record; each of ``facts`` is another. The model's row is
        created if it does not exist. ``files`` replaces the file rows; None leaves them. New rows get the ``known`` ids
        if no other row has these ids.
        """
        ...

    async def load_files(self, *, model: str, version: str) -> Mapping[str, FileRecord]:
        """Files checked so far, by path."""
        ...

    async def save_files(self, *, model: str, version: str, files: Sequence[FileRecord]) -> None:
        """Adds or replaces rows of files, so that a check can continue after an interruption."""
        ...

    async def load_model(self, *, model: str) -> ModelRecord | None:
        """The row of a model."""
        ...

    async def save_model(self, record: ModelRecord, *, known: int | None = None) -> int:
        """Inserts or updates the row of a model; returns its id. A new row gets the ``known`` id where that is free."""
        ...

    async def archive_object(
        self, kind: Literal["model", "version"], *, namespace: str, name: str, change: StateChange
    ) -> int:
        """Archives the live row of a deleted object; returns how many rows were archived (0 or 1)."""
        ...

    def live_objects(self) -> AsyncIterator[tuple[Literal["model", "version"], str, str]]:
        """(kind "model" or "version", namespace, object name) of every live row, for the sweep."""
        ...

    async def reserve(self, highest: KnownIds) -> None:
        """From now on a row gets an id up to these only if the row is known by that id."""
        ...

    async def take_hints(self) -> Sequence[str]:
        """The folders, as URIs, in which the object store announced changes. Each hint is returned once."""
        ...

    async def changed_entries(
        self, kinds: Sequence[EntryKind], *, since: datetime | None, after: Position | None, limit: int
    ) -> tuple[Sequence[Entry], Position | None]:
        """Entries that changed after ``since``, oldest change first, and where a next page begins, or None."""
        ...

    async def mirrored(self, mirror: str, keys: Iterable[EntryKey]) -> Mapping[EntryKey, Mirrored]:
        """What a mirror has of some entries."""
        ...

    async def save_mirrored(self, mirror: str, key: EntryKey, value: Mirrored) -> None:
        """Replaces what a mirror has of an entry."""
        ...

    async def forget_mirror(self, mirror: str) -> None:
        """From now on nothing is known of a mirror."""
        ...

    async def counts(self) -> RegistryCounts:
        """Counts of live rows."""
        ...

    async def listed_models(self, *, most: int) -> tuple[Sequence[ListedModel], bool]:
        """The newest models of the catalog, and whether there are more."""
        ...

    async def save_serving(self, serving: ObservedServing) -> int:
        """Writes what the cluster shows of serving where the entries differ; the number of written entries."""
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
        """Closes the database of the registry ``namespace/name``, unless another registry uses the same database."""
        ...

    async def aclose(self) -> None:
        """Closes every pool."""
        ...


class SecretReader(Protocol):
    """Reads Secrets. Only the adapters get the values."""

    async def read(self, namespace: str, name: str, keys: Iterable[str]) -> Mapping[str, str]:
        """The named keys, decoded. Raises ``Waiting`` (SecretNotFound, SecretKeyMissing, SecretForbidden)."""
        ...


class ClusterWriter(Protocol):
    """Writes to Kubernetes. Raises ``Transient`` on conflict and outage, ``Stalled`` on what is always rejected."""

    async def write_status(self, kind: str, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Replaces the status of an object, if the object still has the resourceVersion of ``body``."""
        ...

    async def put_config_map(self, namespace: str, config_map: Mapping[str, Any]) -> None:
        """Creates the ConfigMap, or applies it over the existing one."""
        ...

    @property
    def name(self) -> str:
        """The mark that this writer puts on each of the VettedArtifacts."""
        ...

    async def vetted_artifacts(self) -> Mapping[str, Revision]:
        """The VettedArtifacts that exist at this moment, read from the API server and not from the cache."""
        ...

    async def reread_vetted_artifacts(self) -> None:
        """Updates the cache with the VettedArtifacts that exist at this moment."""
        ...

    async def create_vetted_artifacts(self, body: Mapping[str, Any]) -> Revision:
        """Creates the VettedArtifacts. Raises ``Superseded`` when they exist."""
        ...

    async def update_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        """Replaces the spec of the VettedArtifacts. Raises ``Superseded`` when the object is not in state ``at``."""
        ...

    async def mark_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        """Marks the object as written by this process; ``body`` has its spec. Raises ``Superseded`` like an update."""
        ...

    async def delete_vetted_artifacts(self, name: str, *, at: Revision) -> None:
        """Deletes the VettedArtifacts if they exist. Raises ``Superseded`` when the object is not in state ``at``."""
        ...

    async def delete_config_map(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Deletes the ConfigMap if it exists and belongs to the owner."""
        ...


class MirrorClient(Protocol):
    """A mirror. Raises ``Transient`` (MirrorUnavailable) and ``Waiting`` (MirrorDenied); CopyRefused and CopyLost."""

    async def create(self, copy: CreateCopy) -> str | None:
        """Creates an entry; returns its id there, or None where an entry of the name is there."""
        ...

    async def find(self, copy: CreateCopy) -> str:
        """The id of the entry of the name that is there."""
        ...

    async def update(self, copy: UpdateCopy) -> None:
        """Replaces what an entry has."""
        ...


class MirrorFactory(Protocol):
    """Opens mirrors."""

    def __call__(self, url: str, *, token: str | None, ca_pem: str | None) -> AbstractAsyncContextManager[MirrorClient]:
        """A mirror, until the context ends. Raises ``Waiting`` (MirrorDenied)."""
        ...


class MetricSource(Protocol):
    """Prometheus servers."""

    def refused(self, address: str | None) -> Finding | None:
        """Why queries cannot be sent to an address of an object; None is the operator's own Prometheus."""
        ...

    async def answers(
        self, queries: Sequence[str], *, address: str | None, namespace: str
    ) -> Mapping[str, QueryAnswer]:
        """The answer to each query, within 30 s. Never raises."""
        ...


class WebhookSource(Protocol):
    """Webhooks of steps."""

    def refused(self, url: str) -> Finding | None:
        """Why a webhook of an object cannot be asked."""
        ...

    async def answer(self, url: str, question: WebhookQuestion, *, within: timedelta) -> WebhookAnswer:
        """Asks once, within 30 s. Never raises."""
        ...


class LeaseTerm(Protocol):
    """How this process became the leader."""

    @property
    def took_over(self) -> bool:
        """Whether the operator that led before may still write, because it did not hand the Lease over."""
        ...


class ServingCluster(Protocol):
    """The objects that run a model. Raises ``Transient``, and where said ``Stalled`` and ``Waiting``."""

    async def template(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The ConfigMap with a serving template."""
        ...

    async def revision(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A ControllerRevision."""
        ...

    async def rollout(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A Deployment."""
        ...

    async def keep_revision(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Creates a ControllerRevision."""
        ...

    async def forget_revision(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Deletes a ControllerRevision of this owner."""
        ...

    async def put_runtime(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Applies a ServingRuntime. Raises ``Stalled`` (AdmissionRefused), ``Waiting`` (KServeNotFound)."""
        ...

    async def put_service(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Applies an InferenceService and returns the result. Raises the errors of ``put_runtime``."""
        ...

    async def delete_service(self, namespace: str, name: str, *, uid: str) -> None:
        """Deletes the InferenceService if it exists and has this uid."""
        ...


class ServedKinds(Protocol):
    """Knows which optional kinds the API server serves."""

    def __call__(self, kind: str) -> bool | None:
        """Whether the kind of this plural is served. None before the first answer."""
        ...


class RouteWriter(Protocol):
    """Writes routes. Raises ``Transient``, and where said ``Stalled`` and ``Waiting``."""

    async def put_route(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Creates a route, or patches the one that still has the uid in ``body``; the result.

        Raises ``Stalled`` (AdmissionRefused), ``Waiting`` (KindNotFound), ``Superseded`` where another route of the
        name exists.
        """
        ...

    async def delete_route(self, namespace: str, name: str, *, method: str, uid: str) -> None:
        """Deletes the route if it exists and has this uid."""
        ...


class TemplateLister(Protocol):
    """Lists serving templates. Raises ``Transient``."""

    async def templates(self) -> Mapping[tuple[str, str], str]:
        """(namespace, name) of each template to the digest that it was written with; to another word if changed."""
        ...


class PolicyWriters(Protocol):
    """Reports which programs wrote policies. Raises ``Transient``."""

    async def writers(self) -> Mapping[str, str]:
        """The program that last wrote the spec of each policy, under the name it gave itself, by the policy's name."""
        ...


class CatalogConfigMaps(Protocol):
    """The ConfigMap in which a namespace keeps the sources of OpenShift AI's catalog. Raises ``Transient``, and
    ``Stalled`` for what is always rejected."""

    async def read(self, namespace: str) -> Mapping[str, Any] | None:
        """The ConfigMap; None where the namespace has none."""
        ...

    async def put_data(self, config_map: Mapping[str, Any], key: str, text: str) -> Mapping[str, Any]:
        """Sets the own key, whoever wrote other keys meanwhile; the ConfigMap then."""
        ...

    async def replace_data(self, config_map: Mapping[str, Any], key: str, text: str) -> None:
        """Sets a key that others write as well. Raises ``Superseded`` where the ConfigMap has changed."""
        ...


class EventRecorder(Protocol):
    """Posts Events in the background, bounded; a lost Event is counted and does not delay a reconcile."""

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Records one Event about an object."""
        ...
