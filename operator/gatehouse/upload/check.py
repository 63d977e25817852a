"""The check of a folder before the upload: the same check that the operator makes of the objects afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, Verifier
from gatehouse.domain.artifact import manifest
from gatehouse.domain.artifact.layout import MAX_FILES
from gatehouse.domain.artifact.signature import LARGEST_SIGNATURE, SIGNATURE
from gatehouse.domain.artifact.values import ArtifactSummary, CheckProgress
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.formats.format import Format
from gatehouse.domain.formats.names import DEFAULT_FORMAT, ArtifactFormat
from gatehouse.domain.formats.table import CHECKED_FORMATS
from gatehouse.domain.runtimes.formats import check_config
from gatehouse.domain.runtimes.refusals import FormatNotServed
from gatehouse.errors import ConditionNotMet
from gatehouse.storage.parts import MAX_OBJECT_BYTES
from gatehouse.upload.folder import FolderFiles
from gatehouse.upload.folder_store import FolderStore

__all__ = [
    "CheckedArtifact",
    "CheckedFile",
    "FolderCheck",
    "FolderRefused",
    "check_names",
    "guess_format",
    "look_at",
    "told_format",
    "unserved_note",
]

_UNCHECKED: Final = (
    "a version of it is Artifact Invalid until an enforced GovernancePolicy that applies to it names {format} in "
    "spec.artifact.formats"
)
_NOTED: Final = "{problem}; a policy that requires a signature will not accept it. Sign the folder again as it is sent"


class FolderRefused(ConditionNotMet):
    """The operator would reject the artifact because of these problems; no file was sent."""

    def __init__(self, problems: Sequence[Finding]) -> None:
        lines = (
            f"{problem.reason}: found {problem.found}; expected {problem.expected}. {problem.remedy}"
            for problem in problems
        )
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """One file and its SHA-256 in hex; ``parts`` are the hashes of its parts if it is sent in parts."""

    path: str
    size: int
    sha256: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedArtifact:
    """A folder that the operator would accept. ``manifest`` is a text, ``digest`` is its digest.

    ``signature`` is ``model.sig``, which is not one of the ``files``.
    """

    artifact_format: ArtifactFormat
    digest: str
    manifest: str
    files: tuple[CheckedFile, ...]
    notes: tuple[str, ...]
    signature: CheckedFile | None = None

    @property
    def objects(self) -> tuple[CheckedFile, ...]:
        """The files and the signature, each of which becomes an object."""
        return self.files if self.signature is None else (*self.files, self.signature)

    @property
    def total_bytes(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(file.size for file in self.files)


def told_format(folder: FolderFiles) -> ArtifactFormat | None:
    """The format of the weights from the names in the folder, else from those in its folders; None if no name tells.

    Weights of several formats are one model that was exported more than once. The first format of the table counts
    whose loaders accept the weights with the files that are beside them.
    """
    names = [file.path.lower() for file in folder.files]
    beside = [name for name in names if "/" not in name]
    top = _formats_of(beside)
    complete = [known for known in top if known.needs.issubset(beside)]
    return next((known.name for known in complete or top or _formats_of(names)), None)


def guess_format(folder: FolderFiles) -> ArtifactFormat:
    """The format of the weights from the names in the folder; the default if no name tells."""
    return told_format(folder) or DEFAULT_FORMAT


def _formats_of(names: Sequence[str]) -> list[Format]:
    return [known for known in CHECKED_FORMATS.values() if any(name.endswith(known.ending) for name in names)]


class FolderCheck:
    """One check of a folder while it runs."""

    def __init__(self, store: FolderStore, *, artifact_format: ArtifactFormat) -> None:
        request = CheckRequest(
            store=store, prefix="", artifact_format=artifact_format, content=True, trust_store_checksums=False
        )
        self._store = store
        self._format = artifact_format
        self._verification = Verifier(request, clock=_WallClock(), slots=CheckSlots())

    @property
    def progress(self) -> CheckProgress:
        """Files and bytes so far."""
        return self._verification.progress

    async def run(self) -> CheckedArtifact:
        """Check and hash every file. Raises FolderRefused, FileChanged, OSError."""
        result = await self._verification.run()
        record = result.record
        if record.outcome != "Verified" or record.digest is None or result.files is None:
            raise FolderRefused(record.problems or (_nothing(),))
        signature, noted = await self._signature(), record.signature and record.signature.problem
        entries = [manifest.ManifestEntry(file.path, file.size, file.sha256) for file in result.files]
        return CheckedArtifact(
            artifact_format=self._format,
            digest=record.digest,
            manifest=manifest.render(entries),
            files=tuple(
                CheckedFile(
                    path=file.path, size=file.size, sha256=file.sha256, parts=self._store.part_sums.get(file.path, ())
                )
                for file in result.files
            ),
            notes=(
                *(record.summary.notes if record.summary else ()),
                *(_unserved(record.summary) if record.summary else ()),
                *([] if self._format in CHECKED_FORMATS else [_UNCHECKED.format(format=self._format)]),
                *([_NOTED.format(problem=f"{SIGNATURE}: {noted}")] if noted else []),
            ),
            signature=signature,
        )

    async def _signature(self) -> CheckedFile | None:
        listing = await self._store.list("", limit=MAX_FILES)
        stored = next((stored for stored in listing.objects if stored.path == SIGNATURE), None)
        if stored is None:
            return None
        sha256 = await self._store.sha256("", stored, progress=lambda _: None)
        return CheckedFile(path=SIGNATURE, size=stored.size, sha256=sha256)


def _unserved(summary: ArtifactSummary) -> Sequence[str]:
    try:
        check_config(summary)
    except FormatNotServed as refused:
        return (unserved_note(refused.finding),)
    return ()


def unserved_note(problem: Finding) -> str:
    """Why a version of a valid folder gets no serving template, in the words of its gate TemplateEmitted."""
    return f"a version of it gets no serving template: {problem.found}; expected: {problem.expected}; {problem.remedy}"


async def look_at(store: FolderStore, *, artifact_format: ArtifactFormat) -> ArtifactSummary:
    """What the headers of the files say. Reads no whole file.

    Raises FolderRefused, FileChanged, OSError.
    """
    request = CheckRequest(
        store=store, prefix="", artifact_format=artifact_format, content=False, trust_store_checksums=False
    )
    result = await Verifier(request, clock=_WallClock(), slots=CheckSlots()).run()
    summary, problems = result.record.summary, result.record.problems
    if problems or summary is None:
        raise FolderRefused(problems or (_nothing(),))
    return summary


def check_names(folder: FolderFiles, *, prefix: str) -> None:
    """Refuses a folder for problems that need no reading: those of the scan, long keys, objects too large for a store.

    Raises FolderRefused.
    """
    problems = [*folder.problems, *_too_long(folder, prefix), *_too_large(folder)]
    if problems:
        raise FolderRefused(problems)


def _too_long(folder: FolderFiles, prefix: str) -> Sequence[Finding]:
    return [
        Finding(
            reason="KeyTooLong",
            found=f"{shown(file.path)}, a key of {length} bytes below {prefix}",
            expected=f"at most {manifest.MAX_PATH_BYTES} bytes",
            remedy="Choose a shorter prefix, or rename the file.",
        )
        for file in folder.files
        if (length := len((prefix + file.path).encode("utf-8", "surrogateescape"))) > manifest.MAX_PATH_BYTES
    ]


def _too_large(folder: FolderFiles) -> Sequence[Finding]:
    large = [
        Finding(
            reason="FileTooLarge",
            found=f"{shown(file.path)} of {file.size} bytes",
            expected=f"at most {MAX_OBJECT_BYTES} bytes, the largest object of a store",
            remedy="Split the weights into shards.",
        )
        for file in folder.files
        if file.size > MAX_OBJECT_BYTES
    ]
    signatures = [
        Finding(
            reason="FileTooLarge",
            found=f"{SIGNATURE} of {file.size} bytes",
            expected=f"at most {LARGEST_SIGNATURE} bytes, the largest signature that is read",
            remedy=f"Sign the folder again, or leave it out: --exclude {SIGNATURE}.",
        )
        for file in folder.files
        if file.path == SIGNATURE and file.size > LARGEST_SIGNATURE
    ]
    return [*large, *signatures]


def _nothing() -> Finding:
    return Finding(
        reason="NoFiles",
        found="no files",
        expected="the files of one model",
        remedy="Name the folder that holds the files; names that begin with a dot are ignored.",
    )


class _WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)
