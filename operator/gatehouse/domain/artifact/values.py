"""An artifact in object storage as values: what a listing shows, what the checks found, what is remembered."""

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
"""The rules that artifacts are checked by, counted up when they change what is refused or what is learned."""

ArtifactOutcome = Literal["Verified", "Invalid", "Missing", "Unverified"]

HashSource = Literal["Bytes", "StoreChecksum"]
"""Where a file's SHA-256 is from: computed from the bytes that were read, or the store's own of the whole object."""
ContentSource = Literal["Bytes", "StoreChecksum", "Mixed"]
"""The same of all files of an artifact."""


def content_source(sources: Iterable[HashSource | None]) -> ContentSource | None:
    """What the files' sources amount to; None when of one it is not known, and of none that it is the store's."""
    found = frozenset(sources)
    if found == {"Bytes"}:
        return "Bytes"
    if found == {"StoreChecksum"}:
        return "StoreChecksum"
    return "Mixed" if "StoreChecksum" in found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object below an artifact's prefix. ``path`` is relative to it; ``etag`` is what If-Match takes.

    An ETag is an MD5 at best, and anybody makes two files of one MD5. So ``modified`` (LastModified as the store writes
    it) and ``version_id`` (empty where the listing shows none) belong to what tells an object from another.
    """

    path: str
    size: int
    etag: str
    modified: str = ""
    version_id: str = ""

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """What must be the same for a hash to stand."""
        return self.size, self.etag, self.modified, self.version_id

    def written_since(self, moment: datetime) -> bool:
        """Whether a store that counts whole seconds may have written it at ``moment`` or later."""
        try:
            at = datetime.fromisoformat(self.modified)
        except ValueError:
            return False
        return not at.microsecond and at.tzinfo is not None and at >= moment


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects below a prefix, sorted by path as bytes. ``answered_at`` is the store's time, if it says so."""

    objects: tuple[StoredObject, ...]
    answered_at: datetime | None = field(default=None, compare=False)

    @classmethod
    def of(cls, objects: Iterable[StoredObject], *, answered_at: datetime | None = None) -> Listing:
        """Sorts the objects by path as bytes."""
        ordered = sorted(objects, key=lambda o: o.path.encode("utf-8", "surrogateescape"))
        return cls(tuple(ordered), answered_at)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over all that the store shows of every object: the same fingerprint, nothing to read again."""
        digest = hashlib.sha256()
        for stored in self.objects:
            line = f"{len(stored.path)} {stored.path} {' '.join(map(str, stored.identity))}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def settling(self) -> bool:
        """Whether an object was written in the very second of the listing: a later write in that second would show the
        same time."""
        return self.answered_at is not None and any(each.written_since(self.answered_at) for each in self.objects)

    @property
    def total_bytes(self) -> int:
        """Sum of the objects' sizes in bytes."""
        return sum(stored.size for stored in self.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSummary:
    """What the structure check learned. ``dtypes`` is elements by data type; None means unknown, not zero.

    ``model_file`` is the path of the file that a server is given where it does not take the folder, as of GGUF.
    Of ``weights_bytes``, ``head_bytes`` are those of the output head, ``unloaded_bytes`` those of layers that predict
    more than one token ahead, which model servers leave out.
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

    ``fingerprint`` is the listing's that was checked. ``digest`` is that of the manifest when every file was hashed.
    ``verified_at`` is when a listing last showed that fingerprint. ``problems`` (a few, the first ones) when Invalid.
    ``changed`` (likewise) are the paths whose bytes are not those that were recorded, when the digest is another.
    ``signature`` is ``model.sig`` when every file was hashed and it is there. ``content_source`` is where the files'
    SHA-256 are from; None when there is no digest, or when that was not recorded. ``read_at`` is when the file was
    hashed that was not hashed for the longest time. ``missing_since`` is when a Missing artifact was first found so.
    ``doubted`` when the store has shown another listing since, and no check of that came to an end. ``rules`` is by
    which rules it was checked (``RULES``): a later Gatehouse checks what was checked by others again.
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
    """How far a content check is. ``rereading`` when the same listing was verified before: that stands meanwhile.

    ``differs`` when the store has shown another listing than the one that was verified.
    """

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    rereading: bool = False
    differs: bool = False
