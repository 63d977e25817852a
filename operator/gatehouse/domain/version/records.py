"""The rows of the registry as values. They outlive the objects that they describe."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gatehouse.domain.artifact.values import ArtifactRecord, HashSource

__all__ = [
    "FileRecord",
    "KnownIds",
    "ModelRecord",
    "RegistryCounts",
    "RowState",
    "StateChange",
    "VersionIds",
    "VersionRecord",
]

RowState = Literal["LIVE", "ARCHIVED", "RECORDED"]
"""The two states of the Kubeflow Model Registry's clients, and that of a row that no object has ever held.

A client wrote a recorded row. The object of the same namespace and name takes the row over; nothing else changes its
state.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """The row of a RegisteredModel. ``name`` is unique in the registry; ``spec`` is its spec as JSON text.

    ``held`` is what new versions of the model are held to, even after the object was deleted and created again.
    """

    id: int | None = None
    name: str
    namespace: str
    uid: str
    state: RowState
    spec: str
    held: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """The row of a ModelVersion. (``model``, ``version``) is unique in the registry.

    ``object_name`` in ``namespace`` with ``uid`` is the object that holds the row. ``digest`` is the recorded one: once
    set, it never changes. ``spec`` is the object's spec as JSON text, ``governance`` has the facts of the last decision
    on the version, ``shown`` what clients read of that decision (:mod:`gatehouse.domain.version.shown`). Records that
    differ in ``shown`` alone are equal.
    """

    id: int | None = None
    model_id: int | None = None
    model: str
    version: str
    namespace: str
    object_name: str
    uid: str
    uri: str
    state: RowState
    phase: str
    digest: str | None
    hardware_profile: str
    artifact: ArtifactRecord | None
    spec: str
    governance: str | None = None
    shown: str | None = field(default=None, compare=False)

    @property
    def is_recorded(self) -> bool:
        """Whether a client recorded the version, and no object has held the row."""
        return self.state == "RECORDED"


@dataclass(frozen=True, slots=True)
class VersionIds:
    """Ids of a version's rows."""

    model_id: int
    version_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIds:
    """Ids of rows that objects know, of a model and of a version. No other row may get them."""

    model: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """The content check of one file: it stands as long as the store shows the same ``identity``.

    ``source``, ``modified`` and ``hashed_at`` are None or empty in rows from before they were recorded. ``version_id``
    is empty where listings show none.
    """

    path: str
    size: int
    etag: str
    sha256: str
    source: HashSource | None = None
    modified: str = ""
    version_id: str = ""
    hashed_at: datetime | None = None

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """The store's values for the file when it was hashed; as ``StoredObject.identity``."""
        return self.size, self.etag, self.modified, self.version_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """One entry of a version's history, which is only ever appended."""

    at: datetime
    actor: str
    before: str | None
    after: str
    digest: str | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryCounts:
    """How many live models and versions a registry holds, and whether its database is read-only now."""

    models: int
    versions: int
    read_only: bool = False
