"""One check of an artifact: list, layout, structure, content, digest.

A tiny artifact costs one LIST and one GET for each object. An artifact with the same listing as at the last check costs
the LIST alone. Files that the store shows unchanged since an earlier check keep their hash, until they are due to be
read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from gatehouse.controllers.ports import UtcClock
from gatehouse.controllers.verification.inspector import Structure, StructureReader, each
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.domain.artifact import manifest, own_files
from gatehouse.domain.artifact.layout import MAX_FILES, Layout
from gatehouse.domain.artifact.signature import SIGNATURE, SignatureRecord
from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES, check_opening
from gatehouse.domain.artifact.values import (
    RULES,
    ArtifactOutcome,
    ArtifactRecord,
    ArtifactSummary,
    CheckProgress,
    ContentSource,
    HashSource,
    Listing,
    StoredObject,
    content_source,
)
from gatehouse.domain.common.clocks import is_within, lies_ahead
from gatehouse.domain.common.errors import Transient
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats import parsers
from gatehouse.domain.formats.layout import lay_out
from gatehouse.domain.formats.parsers import Parser, Task
from gatehouse.domain.version.records import FileRecord
from gatehouse.storage.port import ArtifactStore

__all__ = ["CHECKSUM_WORTH_BYTES", "CheckRequest", "CheckResult", "Verifier"]

CHECKSUM_WORTH_BYTES = 8 * 1024 * 1024
"""Reading a smaller object takes no longer than asking for its checksum."""
HEAVY_BYTES = 64 * 1024 * 1024
"""An artifact with more bytes to hash than this queues with the large ones."""

_MOST_PROBLEMS = 10
_MOST_UNSAFE = 100
_MOST_NOTES = 32
_LISTINGS = 3
_SETTLINGS = 3
_SETTLING_SECONDS = 1.0
_FILES_AT_ONCE = 4
_FEW_NAMES = 64
"""So many names take 64 KiB at most."""
_NO_OBJECTS = Listing(())

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What to check and how.

    ``prefix`` ends with a slash. ``known`` are files of an earlier check by path, ``previous`` is its outcome; ``save``
    keeps files of this check, so that it can continue after an interruption. Requests that differ in only these three
    or ``relist`` are the same check. Hashes from ``distrusted`` sources or from before ``reread`` do not count: their
    files are read. Because reading may take long while the outcome before stands, the store is listed again every
    ``relist``.
    """

    store: ArtifactStore
    prefix: str
    artifact_format: str
    content: bool = True
    trust_store_checksums: bool = True
    distrusted: frozenset[ContentSource | None] = frozenset()
    reread: datetime | None = None
    relist: timedelta | None = field(default=None, compare=False)
    previous: ArtifactRecord | None = field(default=None, compare=False)
    known: Mapping[str, FileRecord] = field(default_factory=dict, compare=False)
    save: Callable[[Sequence[FileRecord]], Awaitable[None]] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome, and the files with known hashes. ``files`` is None when the listing was as at the last check."""

    record: ArtifactRecord
    files: tuple[FileRecord, ...] | None


class Verifier:
    """One check while it runs."""

    def __init__(
        self,
        request: CheckRequest,
        *,
        clock: UtcClock,
        slots: CheckSlots,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._request = request
        self._rest = rest
        self._clock = clock
        self._slots = slots
        self._reader = StructureReader(request.store, request.prefix, parsing=slots.parsing, many=slots.many_shards)
        self._known = dict(request.known)
        self._fresh: list[FileRecord] = []
        self._progress = CheckProgress(files_done=0, files=0, bytes_done=0, bytes=0)
        self._differs = False

    @property
    def progress(self) -> CheckProgress:
        """The progress; zero files until the listing has come and differs from the last check."""
        return replace(self._progress, differs=self._differs)

    def take_fresh(self) -> list[FileRecord]:
        """Files that were hashed since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    async def run(self) -> CheckResult:
        """Check the artifact.

        Raises the store's errors; Transient (ObjectChanged) if the artifact changes faster than it can be read.
        """
        for left in reversed(range(_LISTINGS)):
            try:
                return await self._check()
            except Transient as error:
                if error.reason != "ObjectChanged":
                    raise
                # An object that differs from the listing was replaced, whatever the next listing shows.
                self._differs = self._was_verified
                if left == 0:
                    raise
        raise AssertionError("the last listing returns or raises")

    async def _settled(self) -> Listing:
        """A listing of a second without writes. The store's clock may be wrong: after some tries, any counts."""
        request = self._request
        for left in reversed(range(_SETTLINGS)):
            async with self._slots.check(request.store):
                found = await request.store.list(request.prefix, limit=MAX_FILES, readable=True)
            listing = _NO_OBJECTS if found is None else found
            self._seen(listing)
            if not listing.settling or not left:
                return listing
            await self._rest(_SETTLING_SECONDS)
        raise AssertionError("the last try returns")

    @property
    def _was_verified(self) -> bool:
        previous = self._request.previous
        return previous is not None and previous.outcome == "Verified"

    def _seen(self, listing: Listing) -> None:
        """Notes at once that the store shows other files than the verified ones: reading them may never end."""
        previous = self._request.previous
        if previous is not None and self._was_verified and previous.fingerprint != listing.fingerprint:
            self._differs = True

    async def _check(self) -> CheckResult:
        request = self._request
        listing = await self._settled()
        async with self._slots.check(request.store):
            if request.previous is not None and self._stands(request.previous, listing):
                return CheckResult(replace(request.previous, verified_at=self._clock.now(), doubted=False), None)
            layout = await _laid_out(listing, request.artifact_format)
            self._progress = CheckProgress(
                files_done=0,
                files=len(layout.files),
                bytes_done=0,
                bytes=layout.total_bytes,
                rereading=request.previous is not None
                and request.previous.outcome == "Verified"
                and self._is_same(request.previous, listing),
            )
            structure = Structure()
            if layout.files and len(listing.objects) <= MAX_FILES:
                structure = await self._reader.read(layout, artifact_format=request.artifact_format)
            if not layout.files or layout.problems or structure.problems:
                outcome: ArtifactOutcome = "Invalid" if layout.files else "Missing"
                return CheckResult(self._record(outcome, listing, layout, structure), ())
            pending = self._keep_known(layout, structure)
            heavy = sum(stored.size for stored in pending) > HEAVY_BYTES
            if not heavy:
                await self._hash(pending, listing, structure)
        if heavy:
            async with self._queue():
                await self._hash(pending, listing, structure)
        if structure.problems:
            return CheckResult(self._record("Invalid", listing, layout, structure), ())
        return await self._result(listing, layout, structure)

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[None]:
        only_again = self._progress.rereading and self._request.reread is not None
        async with self._slots.rereads if only_again else nullcontext(), self._slots.large(self._request.store):
            yield

    def _stands(self, previous: ArtifactRecord, listing: Listing) -> bool:
        """Whether the last outcome stands without another check of the files."""
        if not self._is_same(previous, listing) or previous.rules != RULES:
            return False
        if previous.outcome == "Verified":
            return previous.content_source not in self._request.distrusted and self._is_fresh(previous.read_at)
        return previous.outcome != "Unverified" or not self._request.content

    def _is_same(self, previous: ArtifactRecord, listing: Listing) -> bool:
        same_format = previous.summary is None or previous.summary.format == self._request.artifact_format
        return same_format and previous.fingerprint == listing.fingerprint

    def _keep_known(self, layout: Layout, structure: Structure) -> list[StoredObject]:
        """The files that are still to be hashed, largest first; the others count as done."""
        done: list[StoredObject] = []
        pending: list[StoredObject] = []
        for stored in layout.files:
            known = self._known.get(stored.path)
            if known is not None and self._counts(known, stored):
                done.append(stored)
            elif stored.path in structure.hashes:
                self._learned(stored, structure.hashes[stored.path], "Bytes")
                done.append(stored)
            else:
                self._known.pop(stored.path, None)
                pending.append(stored)
        self._progress = replace(self._progress, files_done=len(done), bytes_done=sum(stored.size for stored in done))
        return sorted(pending, key=lambda stored: -stored.size)

    def _counts(self, known: FileRecord, stored: StoredObject) -> bool:
        counts = known.source not in self._request.distrusted and self._is_fresh(known.hashed_at)
        return counts and known.identity == stored.identity

    def _is_fresh(self, hashed_at: datetime | None) -> bool:
        due = self._request.reread
        if due is None:
            return True
        return hashed_at is not None and hashed_at >= due and not lies_ahead(hashed_at, now=self._clock.now())

    async def _hash(self, pending: Sequence[StoredObject], listing: Listing, structure: Structure) -> None:
        """Hashes the files. An archive is a problem; its hash is not kept, so that the next check opens it again."""
        looked_at = self._clock.now()

        async def one(stored: StoredObject) -> None:
            nonlocal looked_at
            opening: list[bytes] = []
            found = await self._sha256(stored, opened=opening.append)
            if stored.path not in structure.opened and not opening:
                length = min(OPENING_BYTES, stored.size)
                opening.append(await self._request.store.read(self._request.prefix, stored, start=0, length=length))
            try:
                check_opening(stored.path, b"".join(opening))
            except FormatError as error:
                structure.refuse(stored, error)
                return
            if found is not None:
                self._learned(stored, *found)
                self._advance(files=1)
            if self._is_due(looked_at):
                looked_at = self._clock.now()
                await self._still(listing)

        await each(pending, one, at_once=_FILES_AT_ONCE)

    def _is_due(self, looked_at: datetime) -> bool:
        relist = self._request.relist
        if relist is None or not self._progress.rereading:
            return False
        return not is_within(looked_at, relist, now=self._clock.now())

    async def _still(self, listing: Listing) -> None:
        """Raises Transient (ObjectChanged) when the store shows another listing."""
        found = await self._request.store.list(self._request.prefix, limit=MAX_FILES)
        if found is None or found.fingerprint != listing.fingerprint:
            self._seen(_NO_OBJECTS if found is None else found)
            raise Transient(reason="ObjectChanged", message="the artifact changed while it was read again")

    async def _sha256(self, stored: StoredObject, *, opened: Callable[[bytes], None]) -> tuple[str, HashSource] | None:
        request = self._request
        worth_asking = stored.size >= CHECKSUM_WORTH_BYTES or not request.content
        if request.trust_store_checksums and worth_asking:
            sha256 = await request.store.stored_sha256(request.prefix, stored)
            if sha256 is not None:
                self._advance(size=stored.size)
                return sha256, "StoreChecksum"
        if not request.content:
            return None
        sha256 = await request.store.sha256(
            request.prefix, stored, progress=lambda size: self._advance(size=size), opened=opened
        )
        return sha256, "Bytes"

    def _advance(self, *, files: int = 0, size: int = 0) -> None:
        self._progress = replace(
            self._progress,
            files_done=self._progress.files_done + files,
            bytes_done=self._progress.bytes_done + size,
        )

    def _learned(self, stored: StoredObject, sha256: str, source: HashSource) -> None:
        record = FileRecord(
            path=stored.path,
            size=stored.size,
            etag=stored.etag,
            sha256=sha256,
            source=source,
            modified=stored.modified,
            version_id=stored.version_id,
            hashed_at=self._clock.now(),
        )
        self._known[stored.path] = record
        self._fresh.append(record)

    async def _result(self, listing: Listing, layout: Layout, structure: Structure) -> CheckResult:
        files = tuple(self._known[stored.path] for stored in layout.files if stored.path in self._known)
        unknown = len(layout.files) - len(files)
        if unknown:
            note = f"content is not read, and {unknown} of {len(layout.files)} files have no SHA-256 of the store"
            return CheckResult(self._record("Unverified", listing, layout, structure, notes=(note,)), files)
        signature = await self._own_files(layout, files, structure)
        outcome: ArtifactOutcome = "Invalid" if structure.problems else "Verified"
        record = self._record(outcome, listing, layout, structure, digest=_digest(files))
        source = content_source(file.source for file in files)
        read = [file.hashed_at for file in files if file.hashed_at is not None]
        read_at = min(read) if len(read) == len(files) else None
        return CheckResult(replace(record, signature=signature, content_source=source, read_at=read_at), files)

    async def _own_files(
        self, layout: Layout, files: Sequence[FileRecord], structure: Structure
    ) -> SignatureRecord | None:
        """The contents of ``model.sig``, if the file exists. A malformed own file is a problem."""
        hashes = {file.path: file.sha256 for file in files}
        signature: SignatureRecord | None = None
        for stored in layout.own:
            try:
                if stored.path == SIGNATURE:
                    own_files.check_signature_size(stored.size)
                    signature = await self._parse(parsers.SIGNATURE, stored, hashes)
                else:
                    own_files.check_manifest_size(stored.size)
                    await self._parse(parsers.MANIFEST, stored, hashes)
            except FormatError as error:
                structure.refuse(stored, error)
        return signature

    async def _parse(self, parser: Parser[R], stored: StoredObject, hashes: Mapping[str, str]) -> R:
        """The parser's result for a file that the parser compares with the other files."""

        async def read(start: int, length: int) -> bytes:
            return await self._request.store.read(self._request.prefix, stored, start=start, length=length)

        weight = sum(len(path) + len(sha256) for path, sha256 in hashes.items())
        task = Task(size=stored.size, arguments={"files": hashes}, weight=weight)
        return await self._slots.parsing.parse(parser, task, read)

    def _record(
        self,
        outcome: ArtifactOutcome,
        listing: Listing,
        layout: Layout,
        structure: Structure,
        *,
        digest: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> ArtifactRecord:
        summary = ArtifactSummary(
            format=self._request.artifact_format,
            files=len(layout.files),
            total_bytes=layout.total_bytes,
            parameters=structure.facts.parameters,
            weights_bytes=structure.facts.weights_bytes,
            dtypes=structure.facts.dtypes,
            config=structure.config,
            model_file=structure.facts.model_file,
            head_bytes=structure.facts.head_bytes,
            unloaded_bytes=structure.facts.unloaded_bytes,
            unsafe_files=(*layout.unsafe, *structure.unsafe)[:_MOST_UNSAFE],
            notes=(*notes, *layout.notes, *structure.notes)[:_MOST_NOTES],
        )
        now, previous = self._clock.now(), self._request.previous
        before = previous.missing_since if previous is not None and previous.outcome == "Missing" else None
        return ArtifactRecord(
            outcome=outcome,
            fingerprint=listing.fingerprint,
            digest=digest,
            verified_at=now,
            missing_since=(before or now) if outcome == "Missing" else None,
            summary=None if outcome == "Missing" else summary,
            problems=(*layout.problems, *structure.problems)[:_MOST_PROBLEMS] if outcome == "Invalid" else (),
        )


async def _laid_out(listing: Listing, artifact_format: str) -> Layout:
    """Parsing of names may take long: many names are parsed in a thread."""
    if len(listing.objects) <= _FEW_NAMES:
        return lay_out(listing, artifact_format=artifact_format)
    return await asyncio.to_thread(lay_out, listing, artifact_format=artifact_format)


def _digest(files: Iterable[FileRecord]) -> str:
    return manifest.digest(manifest.ManifestEntry(file.path, file.size, file.sha256) for file in files)
