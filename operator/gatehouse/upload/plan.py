"""Compares a checked folder with a prefix, by size and checksum. Reads objects only where the store has no checksum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gatehouse.controllers.verification.inspector import each
from gatehouse.domain.artifact.layout import CONFIG, MANIFEST, MAX_FILES, lay_out
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.format_error import shown
from gatehouse.storage.s3.multipart import COPY_BYTES, SINGLE_BYTES, composite_sha256
from gatehouse.storage.s3.uploads import Bucket
from gatehouse.upload.check import CheckedArtifact, CheckedFile
from gatehouse.upload.errors import ObjectsInTheWay

__all__ = ["Comparison", "Plan", "Standing", "compare", "extra_objects", "plan_upload"]

Standing: TypeAlias = Literal["missing", "same", "same-in-parts", "different"]
"""``same-in-parts``: the bytes are the same, but the store has no checksum of the whole object."""

_AT_ONCE: Final = 16
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The state of each file, by path; ``extra`` are objects of the prefix that are no file of the folder."""

    standings: dict[str, Standing]
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


async def compare(bucket: Bucket, prefix: str, artifact: CheckedArtifact, manifest: CheckedFile) -> Comparison:
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
    stored = {each_object.path: each_object for each_object in listing.objects}
    files = (*artifact.objects, manifest)

    async def standing(file: CheckedFile) -> Standing:
        return await _standing(bucket, prefix, file, stored.get(file.path))

    found = await each(files, standing, at_once=_AT_ONCE)
    return Comparison(
        standings={file.path: each_standing for file, each_standing in zip(files, found, strict=True)},
        extra=extra_objects(listing, artifact),
        stored=stored,
    )


def plan_upload(artifact: CheckedArtifact, found: Comparison, *, overwrite: bool = False, prune: bool = False) -> Plan:
    """The steps for the differences. Raises ObjectsInTheWay when they need --overwrite or --prune."""
    different = [
        f"{shown(path)} of {found.stored[path].size} bytes"
        for path, standing in found.standings.items()
        if standing == "different"
    ]
    if found.standings.get(SIGNATURE) == "different" and len(different) == 1 and not overwrite:
        raise ObjectsInTheWay(
            f"there is another {SIGNATURE} already. Say --overwrite to replace it: the signature is not part of the "
            "artifact, so the digest stays."
        )
    if different and not overwrite:
        raise ObjectsInTheWay(
            f"other objects exist already: {_some(different)}. A new artifact is a new version: upload it to a new "
            "prefix. Or say --overwrite: versions that name this URI will be Artifact Changed."
        )
    if found.extra and not prune:
        raise ObjectsInTheWay(
            "objects are below the prefix that are not in the folder and would count to the artifact: "
            f"{_some([f'{shown(extra.path)} of {extra.size} bytes' for extra in found.extra])}. "
            "Upload to a new prefix, or say --prune to delete them."
        )
    owed = [file for file in artifact.objects if found.standings[file.path] in {"missing", "different"}]
    finished = found.standings[MANIFEST] in {"same", "same-in-parts"}
    return Plan(
        data=tuple(file for file in owed if file.path != CONFIG),
        config=tuple(file for file in owed if file.path == CONFIG),
        # An existing manifest shows that an earlier upload tried, and that the store keeps checksums of parts only.
        unsummed=() if finished else tuple(_unsummed(artifact.files, found)),
        delete=tuple(extra.path for extra in found.extra),
        manifest=not finished,
    )


def extra_objects(listing: Listing, artifact: CheckedArtifact) -> tuple[StoredObject, ...]:
    """Objects that the operator would count as files of the artifact, and that the folder does not have."""
    paths = {file.path for file in artifact.files}
    counted = lay_out(listing, artifact_format=artifact.artifact_format).files
    return tuple(stored for stored in counted if stored.path not in paths)


def _unsummed(files: Sequence[CheckedFile], found: Comparison) -> Iterable[CheckedFile]:
    for file in files:
        if found.standings[file.path] == "same-in-parts" and SINGLE_BYTES < file.size <= COPY_BYTES:
            yield file


async def _standing(bucket: Bucket, prefix: str, file: CheckedFile, stored: StoredObject | None) -> Standing:
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
