"""Compares a checked folder with a prefix, by size and checksum. Reads objects only where the store has no checksum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gatehouse.controllers.verification.inspector import each
from gatehouse.domain.artifact.layout import CONFIG, MANIFEST, MAX_FILES
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.formats.layout import lay_out
from gatehouse.errors import ConditionNotMet
from gatehouse.storage.parts import COPY_BYTES, SINGLE_BYTES, composite_sha256
from gatehouse.storage.port import Bucket
from gatehouse.upload.check import CheckedArtifact, CheckedFile

__all__ = ["FileState", "FolderComparison", "ObjectsInTheWay", "Plan", "compare", "extra_objects", "plan_upload"]

FileState: TypeAlias = Literal["missing", "same", "same-in-parts", "different"]
"""``same-in-parts``: the bytes are the same, but the store has no checksum of the whole object."""

_AT_ONCE: Final = 16
_MOST_NAMED: Final = 10


class ObjectsInTheWay(ConditionNotMet):
    """Objects below the prefix differ from the files of the folder, or belong to no file; no file was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderComparison:
    """The state of each file, by path; ``extra`` are objects of the prefix that are no file of the folder."""

    states: dict[str, FileState]
    extra: tuple[StoredObject, ...]
    stored: dict[str, StoredObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps in their order: send ``data``, copy ``unsummed`` in place, send ``config``, delete, write the manifest.

    Without config.json, the operator calls the artifact incomplete, whichever other files exist.
    """

    data: tuple[CheckedFile, ...]
    unsummed: tuple[CheckedFile, ...]
    config: tuple[CheckedFile, ...]
    delete: tuple[str, ...]
    manifest: bool

    @property
    def files(self) -> tuple[CheckedFile, ...]:
        """Every file to be sent."""
        return (*self.data, *self.config)

    @property
    def bytes(self) -> int:
        """Bytes of every file to be sent."""
        return sum(file.size for file in self.files)


async def compare(bucket: Bucket, prefix: str, artifact: CheckedArtifact, manifest: CheckedFile) -> FolderComparison:
    """Compares every object below the prefix.

    Raises ObjectsInTheWay (no bucket, too many objects) and the store's errors.
    """
    listing = await bucket.store.list(prefix, limit=MAX_FILES)
    if listing is None:
        raise ObjectsInTheWay("there is no such bucket; expected: a bucket that exists. Create it, or correct the URI.")
    if len(listing.objects) > MAX_FILES:
        raise ObjectsInTheWay(
            f"there are more than {MAX_FILES} objects below {prefix}; expected: a prefix of this artifact alone"
        )
    stored = {held.path: held for held in listing.objects}
    files = (*artifact.objects, manifest)

    async def state(file: CheckedFile) -> FileState:
        return await _state(bucket, prefix, file, stored.get(file.path))

    states = await each(files, state, at_once=_AT_ONCE)
    return FolderComparison(
        states=dict(zip((file.path for file in files), states, strict=True)),
        extra=extra_objects(listing, artifact),
        stored=stored,
    )


def plan_upload(
    artifact: CheckedArtifact, comparison: FolderComparison, *, overwrite: bool = False, prune: bool = False
) -> Plan:
    """The steps for the differences. Raises ObjectsInTheWay when they need --overwrite or --prune."""
    different = [
        f"{shown(path)} of {comparison.stored[path].size} bytes"
        for path, state in comparison.states.items()
        if state == "different"
    ]
    if comparison.states.get(SIGNATURE) == "different" and len(different) == 1 and not overwrite:
        raise ObjectsInTheWay(
            f"another {SIGNATURE} exists already. Use --overwrite to replace it: the signature is not part of the "
            "artifact, so the digest stays."
        )
    if different and not overwrite:
        raise ObjectsInTheWay(
            f"other objects exist already: {_some(different)}. A new artifact is a new version: upload it to a new "
            "prefix. Or use --overwrite: versions that name this URI will be Artifact Changed."
        )
    if comparison.extra and not prune:
        raise ObjectsInTheWay(
            "objects below the prefix are not in the folder and would be part of the artifact: "
            f"{_some([f'{shown(extra.path)} of {extra.size} bytes' for extra in comparison.extra])}. "
            "Upload to a new prefix, or use --prune to delete them."
        )
    owed = [file for file in artifact.objects if comparison.states[file.path] in {"missing", "different"}]
    finished = comparison.states[MANIFEST] in {"same", "same-in-parts"}
    return Plan(
        data=tuple(file for file in owed if file.path != CONFIG),
        config=tuple(file for file in owed if file.path == CONFIG),
        # An existing manifest shows that an earlier upload tried, and that the store keeps checksums of parts only.
        unsummed=() if finished else tuple(_unsummed(artifact.files, comparison)),
        delete=tuple(extra.path for extra in comparison.extra),
        manifest=not finished,
    )


def extra_objects(listing: Listing, artifact: CheckedArtifact) -> tuple[StoredObject, ...]:
    """Objects that the operator would count as files of the artifact, and that the folder does not have."""
    paths = {file.path for file in artifact.files}
    counted = lay_out(listing, artifact_format=artifact.artifact_format).files
    return tuple(stored for stored in counted if stored.path not in paths)


def _unsummed(files: Sequence[CheckedFile], comparison: FolderComparison) -> Iterable[CheckedFile]:
    for file in files:
        if comparison.states[file.path] == "same-in-parts" and SINGLE_BYTES < file.size <= COPY_BYTES:
            yield file


async def _state(bucket: Bucket, prefix: str, file: CheckedFile, stored: StoredObject | None) -> FileState:
    if stored is None:
        return "missing"
    if stored.size != file.size:
        return "different"
    known = await bucket.uploads.head(prefix + file.path)
    if known is None:
        return "missing"
    if known.sha256 is not None:
        return "same" if known.sha256 == file.sha256 else "different"
    if known.composite is not None and file.parts and known.composite == composite_sha256(file.parts):
        return "same-in-parts"
    read = await bucket.store.sha256(prefix, stored, progress=lambda _: None)
    return "same-in-parts" if read == file.sha256 else "different"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
