"""Sends a checked folder to a prefix: missing files only, large files in parts, the manifest last."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from gatehouse.controllers.verification.inspector import each
from gatehouse.domain.artifact.layout import MANIFEST, MAX_FILES
from gatehouse.domain.common.errors import ReconcileError, Transient, Waiting
from gatehouse.domain.common.format_error import shown
from gatehouse.errors import ActionError
from gatehouse.storage.limits import retried
from gatehouse.storage.parts import (
    COPY_BYTES,
    SINGLE_BYTES,
    Part,
    StoredPart,
    StoredSum,
    composite_sha256,
    parts_of,
)
from gatehouse.storage.port import ArtifactUploads, Bucket, bytes_body
from gatehouse.upload.check import CheckedArtifact, CheckedFile
from gatehouse.upload.folder_store import FolderStore
from gatehouse.upload.plan import FolderComparison, Plan, compare, extra_objects, plan_upload

__all__ = ["SentDiffers", "Summing", "Upload", "UploadOptions", "UploadProgress", "UploadResult"]

_BEGINNINGS: Final = 3
_UNFINISHED_COMPARED: Final = 8
_COPIES: Final = 3


class SentDiffers(ActionError):
    """The store has other bytes under a name than were sent, or lost an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOptions:
    """``parallel`` requests with a body at once. ``overwrite`` replaces objects, ``prune`` deletes extra ones."""

    parallel: int = 8
    overwrite: bool = False
    prune: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadProgress:
    """Files and bytes so far. ``bytes_kept`` of ``bytes_done`` were already in the store, from an interrupted upload.

    ``summing`` is the number of objects whose SHA-256 the store computes now.
    """

    files_done: int = 0
    files: int = 0
    bytes_done: int = 0
    bytes_kept: int = 0
    bytes: int = 0
    summing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """The files and bytes that were sent, and the objects that were deleted.

    ``unsummed`` are paths of large files without a SHA-256 of the whole in the store: the operator must read them.
    """

    sent: tuple[str, ...]
    sent_bytes: int
    kept_bytes: int
    deleted: tuple[str, ...]
    unsummed: tuple[str, ...]


class Upload:
    """One upload of a checked folder to ``prefix``, which ends with a slash."""

    def __init__(
        self, bucket: Bucket, prefix: str, *, folder: FolderStore, artifact: CheckedArtifact, options: UploadOptions
    ) -> None:
        self._bucket = bucket
        self._uploads = bucket.uploads
        self._prefix = prefix
        self._folder = folder
        self._artifact = artifact
        self._options = options
        self._sending = asyncio.Semaphore(options.parallel)
        self._progress = UploadProgress()
        self._unsummed: list[str] = []
        self._sums = Summing(bucket.uploads)
        text = artifact.manifest.encode()
        self._manifest = CheckedFile(path=MANIFEST, size=len(text), sha256=hashlib.sha256(text).hexdigest())

    @property
    def progress(self) -> UploadProgress:
        """Files and bytes so far."""
        return self._progress

    async def plan(self) -> Plan:
        """The plan of the upload. Raises ObjectsInTheWay and the errors of the store."""
        comparison = await compare(self._bucket, self._prefix, self._artifact, self._manifest)
        plan = plan_upload(self._artifact, comparison, overwrite=self._options.overwrite, prune=self._options.prune)
        self._unsummed = _kept_in_parts(self._artifact, comparison, plan)
        return plan

    async def run(self, plan: Plan) -> UploadResult:
        """Carries out the plan. Raises FileChanged, SentDiffers, OSError and the errors of the store."""
        self._progress = UploadProgress(files=len(plan.files), bytes=plan.bytes)
        await self._each(plan.data)
        await each(plan.unsummed, self._sum, at_once=self._options.parallel)
        await self._each(plan.config)
        for path in plan.delete:
            await self._uploads.delete(self._prefix + path)
        await self._check_sent()
        if plan.manifest:
            await self._uploads.put(self._prefix + MANIFEST, bytes_body(self._artifact.manifest.encode()))
        done = self._progress
        return UploadResult(
            sent=tuple(file.path for file in plan.files),
            sent_bytes=done.bytes_done - done.bytes_kept,
            kept_bytes=done.bytes_kept,
            deleted=plan.delete,
            unsummed=tuple(sorted(self._unsummed)),
        )

    async def _each(self, files: Sequence[CheckedFile]) -> None:
        await each(sorted(files, key=lambda file: -file.size), self._file, at_once=self._options.parallel)

    async def _file(self, file: CheckedFile) -> None:
        try:
            if file.size > SINGLE_BYTES:
                await self._in_parts(file)
                await self._sum(file)
            else:
                await self._whole(file)
        except ReconcileError:
            # Refused bytes and a short body usually mean that the file changed.
            self._folder.check_unchanged(file.path)
            raise
        self._folder.check_unchanged(file.path)
        self._progress = replace(self._progress, files_done=self._progress.files_done + 1)

    async def _whole(self, file: CheckedFile) -> None:
        async with self._sending:
            body = self._folder.body(file.path, part=None, sha256=file.sha256, progress=self._advance)
            await self._uploads.put(self._prefix + file.path, body)

    async def _in_parts(self, file: CheckedFile) -> None:
        for left in reversed(range(_BEGINNINGS)):
            gone: Transient | None = None
            try:
                upload, kept = await self._unfinished(file)
                await self._parts(file, upload, kept)
            except Transient as error:
                if error.reason != "UploadGone":
                    raise
                # An attempt whose answer was lost completed the upload, or another person who uploads the same file.
                gone = error
            known = await self._uploads.head(self._prefix + file.path)
            if _is_sent(file, known, completed=gone is None):
                return
            if left == 0:
                raise gone or _differs(file.path, "other parts")

    async def _unfinished(self, file: CheckedFile) -> tuple[str, dict[int, StoredPart]]:
        """The unfinished upload with the most parts of the file, and these parts; or a new upload."""
        key = self._prefix + file.path
        best: tuple[str, dict[int, StoredPart]] | None = None
        for upload in (await self._uploads.unfinished(key))[:_UNFINISHED_COMPARED]:
            kept = _same_parts(file, await self._uploads.parts(key, upload))
            if kept and (best is None or len(kept) > len(best[1])):
                best = upload, kept
        return best or (await self._uploads.begin(key), {})

    async def _parts(self, file: CheckedFile, upload: str, kept: dict[int, StoredPart]) -> None:
        key = self._prefix + file.path
        self._advance(size := sum(part.size for part in kept.values()), kept=size)

        async def send(part: Part) -> None:
            async with self._sending:
                body = self._folder.body(
                    file.path, part=part, sha256=file.parts[part.number - 1], progress=self._advance
                )
                kept[part.number] = await self._uploads.put_part(key, upload, part.number, body)

        missing = [part for part in parts_of(file.size) if part.number not in kept]
        await each(missing, send, at_once=self._options.parallel)
        await self._uploads.complete(key, upload, list(kept.values()))

    async def _sum(self, file: CheckedFile) -> None:
        """Lets the store compute the SHA-256 of an object that was sent in parts, if the store can.

        Raises SentDiffers when the object is not the file.
        """
        async with self._sending:
            with self._summing():
                known = await self._sums.ask(self._prefix + file.path)
        if known is None or known.size != file.size:
            raise _differs(file.path, "no object" if known is None else f"{known.size} bytes")
        if known.sha256 not in {None, file.sha256}:
            raise _differs(file.path, f"the SHA-256 {known.sha256}")
        if known.sha256 is None:
            self._unsummed.append(file.path)

    async def _check_sent(self) -> None:
        """Checks that the prefix holds exactly the files that the manifest names."""
        for file in self._artifact.objects:
            self._folder.check_unchanged(file.path)
        listing = await self._bucket.store.list(self._prefix, limit=MAX_FILES)
        sizes = {} if listing is None else {stored.path: stored.size for stored in listing.objects}
        for file in self._artifact.objects:
            if sizes.get(file.path) != file.size:
                raise _differs(file.path, f"{sizes[file.path]} bytes" if file.path in sizes else "no object")
        for extra in () if listing is None else extra_objects(listing, self._artifact):
            raise _differs(extra.path, f"{extra.size} bytes that another writer sent")

    @contextmanager
    def _summing(self) -> Iterator[None]:
        self._progress = replace(self._progress, summing=self._progress.summing + 1)
        try:
            yield
        finally:
            self._progress = replace(self._progress, summing=self._progress.summing - 1)

    def _advance(self, size: int, *, kept: int = 0) -> None:
        now = self._progress
        self._progress = replace(now, bytes_done=now.bytes_done + size, bytes_kept=now.bytes_kept + kept)


def _kept_in_parts(artifact: CheckedArtifact, comparison: FolderComparison, plan: Plan) -> list[str]:
    """Large files that stay in the store without a SHA-256 of the whole."""
    tried = {file.path for file in plan.unsummed}
    return [
        file.path
        for file in artifact.files
        if comparison.states[file.path] == "same-in-parts" and file.size > SINGLE_BYTES and file.path not in tried
    ]


def _is_sent(file: CheckedFile, known: StoredSum | None, *, completed: bool) -> bool:
    """Whether the object is the file. A store without checksums is trusted if it confirmed the upload."""
    if known is None or known.size != file.size:
        return False
    if known.sha256 is None and known.composite is None:
        return completed
    return known.sha256 == file.sha256 or known.composite == composite_sha256(file.parts)


def _same_parts(file: CheckedFile, stored: Sequence[StoredPart]) -> dict[int, StoredPart]:
    own = {part.number: (part.size, file.parts[part.number - 1]) for part in parts_of(file.size)}
    return {part.number: part for part in stored if own.get(part.number) == (part.size, part.sha256)}


def _differs(path: str, held: str) -> SentDiffers:
    return SentDiffers(
        f"the store has {held} as {shown(path)}, but the file has other bytes; the manifest was not written. "
        "Run the command again; if that does not help, check the disks of the store and its other writers."
    )


class Summing:
    """Lets a store compute the SHA-256 of objects that were sent in parts, until a copy shows that it computes none.

    Another upload may replace the object while the store copies it. Stores report this in several ways: 412 for the
    ETag, or 503 SlowDownRead with a Retry-After of a minute (MinIO, when the source disappears during the copy). The
    object is therefore checked before each further copy: in most cases it has its SHA-256 by then.
    """

    def __init__(self, uploads: ArtifactUploads) -> None:
        self._uploads = uploads
        self._copies_sum = True

    async def ask(self, key: str) -> StoredSum | None:
        """The checksums of an object after a copy in place; None when the object does not exist.

        Raises the errors of the store.
        """
        return await retried(self._uploads.limits.content, lambda: self._attempt(key))

    async def _attempt(self, key: str) -> StoredSum | None:
        known = await self._uploads.head(key)
        for _ in range(_COPIES):
            if known is None or known.sha256 is not None or known.size > COPY_BYTES or not self._copies_sum:
                return known
            made = await self._copy(key, known)
            known = await self._uploads.head(key)
            if made is not None and known is not None and known.etag.strip('"') == made.strip('"'):
                self._copies_sum = known.sha256 is not None
        return known

    async def _copy(self, key: str, known: StoredSum) -> str | None:
        """The ETag of the copy; None when another writer has replaced the object."""
        try:
            return await self._uploads.copy_in_place(key, etag=known.etag)
        except Waiting as error:
            if error.reason != "StoreLacksOperation":
                raise
            self._copies_sum = False
            return None
        except Transient as error:
            now = await self._uploads.head(key)
            if error.reason == "ObjectChanged" or now is None or now.sha256 is not None:
                return None
            # A busy store throttles the head request too, and that request waits for the Retry-After.
            raise Transient(reason=error.reason, message=error.message, remedy=error.remedy) from error
