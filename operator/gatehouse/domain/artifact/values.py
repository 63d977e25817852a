"""An artifact in object storage as values: the listing, the findings of the checks, and the record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.signature import SignatureRecord
from gatehouse.domain.common.finding import Finding

__all__ = [
    "RULES",
    "ArtifactOutcome",
    "ArtifactRecord",
    "ArtifactSummary",
    "CheckProgress",
    "ContentSource",
    "HashSource",
    "Listing",
    "StoredObject",
    "content_source",
]

RULES: Final = 2
"""The version of the rules that artifacts are checked by. A change of what is refused or learned increments it."""

ArtifactOutcome = Literal["Verified", "Invalid", "Missing", "Unverified"]

HashSource = Literal["Bytes", "StoreChecksum"]
"""The origin of a file's SHA-256: computed from the bytes that were read, or the store's own of the whole object."""
ContentSource = Literal["Bytes", "StoreChecksum", "Mixed"]
"""The origin of the SHA-256 of all files of an artifact."""


def content_source(sources: Iterable[HashSource | None]) -> ContentSource | None:
    """The common origin of the files' sums; None if the origin of one is unknown and none is known to be the
    store's."""
    known = frozenset(sources)
    if known == {"Bytes"}:
        return "Bytes"
    if known == {"StoreChecksum"}:
        return "StoreChecksum"
    return "Mixed" if "StoreChecksum" in known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object below an artifact's prefix. ``path`` is relative to the prefix; ``etag`` is the value for If-Match.

    An ETag is an MD5 at best, and anyone can make two files with one MD5. The identity of an object therefore includes
    ``modified`` (LastModified as the store writes it) and ``version_id`` (empty where the listing shows none).
    """

    path: str
    size: int
    etag: str
    modified: str = ""
    version_id: str = ""

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """The values that must be unchanged for a hash to remain valid."""
        return self.size, self.etag, self.modified, self.version_id

    def written_since(self, moment: datetime) -> bool:
        """Whether a store that counts whole seconds may have written the object at ``moment`` or later."""
        try:
            at = datetime.fromisoformat(self.modified)
        except ValueError:
            return False
        return not at.microsecond and at.tzinfo is not None and at >= moment


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects below a prefix, sorted by path as bytes. ``answered_at`` is the store's time, None if not stated."""

    objects: tuple[StoredObject, ...]
    answered_at: datetime | None = field(default=None, compare=False)

    @classmethod
    def of(cls, objects: Iterable[StoredObject], *, answered_at: datetime | None = None) -> Listing:
        """Sort the objects by path as bytes."""
        ordered = sorted(objects, key=lambda o: o.path.encode("utf-8", "surrogateescape"))
        return cls(tuple(ordered), answered_at)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over all that the store shows of every object. An unchanged fingerprint requires no new read."""
        digest = hashlib.sha256()
        for stored in self.objects:
            line = f"{len(stored.path)} {stored.path} {' '.join(map(str, stored.identity))}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def settling(self) -> bool:
        """Whether an object was written in the second of the listing: a later write in it would show the same time."""
        return self.answered_at is not None and any(stored.written_since(self.answered_at) for stored in self.objects)

    @property
    def total_bytes(self) -> int:
        """Sum of the objects' sizes in bytes."""
        return sum(stored.size for stored in self.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSummary:
    """The facts that the structure check learned. ``dtypes`` is elements by data type; None means unknown, not zero.

    ``model_file`` is the path of the file that a server loads where it does not load the folder, as for GGUF. Of
    ``weights_bytes``, ``head_bytes`` are those of the output head. ``unloaded_bytes`` are those of layers that predict
    more than one token ahead, which model servers do not load.
    """

    format: str
    files: int
    total_bytes: int
    parameters: int | None = None
    weights_bytes: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    model_file: str | None = None
    unsafe_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    head_bytes: int = 0
    unloaded_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """The last finished check, as the row keeps it.

    ``fingerprint`` is that of the checked listing. ``digest`` is that of the manifest when every file was hashed.
    ``verified_at`` is when a listing last showed that fingerprint. ``problems`` are the first few problems when
    Invalid. ``changed`` are the first few paths whose bytes differ from the recorded ones, when the digest differs.
    ``signature`` is ``model.sig`` when it exists and every file was hashed. ``content_source`` is the origin of the
    files' SHA-256; None without a digest, or when the origin was not recorded. ``read_at`` is the oldest time at which
    a file was last hashed. ``missing_since`` is when a Missing artifact was first found missing. ``doubted``: the store
    has shown another listing since, and no check of that listing has finished. ``rules`` is the version of the rules of
    the check (``RULES``): a later Gatehouse checks again what other rules checked.
    """

    outcome: ArtifactOutcome
    fingerprint: str
    digest: str | None
    verified_at: datetime
    summary: ArtifactSummary | None
    problems: tuple[Finding, ...] = ()
    changed: tuple[str, ...] = ()
    signature: SignatureRecord | None = None
    content_source: ContentSource | None = None
    read_at: datetime | None = None
    missing_since: datetime | None = None
    doubted: bool = False
    rules: int = RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckProgress:
    """The progress of a content check. ``rereading``: the same listing was verified before, and that result stands
    meanwhile.

    ``differs``: the store has shown another listing than the verified one.
    """

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    rereading: bool = False
    differs: bool = False
