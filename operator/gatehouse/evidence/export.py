"""Writes the known facts of a version as one file."""

from __future__ import annotations

from gatehouse.domain.artifact import manifest
from gatehouse.domain.audit.checkpoints import Signer
from gatehouse.domain.common.format_error import FormatError
from gatehouse.evidence.archive import pack
from gatehouse.evidence.documents import about, entries
from gatehouse.evidence.envelope import seal
from gatehouse.evidence.errors import EvidenceError
from gatehouse.evidence.model import Subject

__all__ = ["bundle"]


def bundle(subject: Subject, *, signer: Signer | None) -> bytes:
    """The zip. The same facts, time and key give the same bytes.

    Raises:
        EvidenceError: the rows of the files do not match the recorded digest.
    """
    _check_files(subject)
    return pack(seal(entries(subject), about(subject), signer=signer))


def _check_files(subject: Subject) -> None:
    files = [manifest.ManifestEntry(file.path, file.size, file.sha256) for file in subject.kept.files]
    try:
        found = manifest.digest(files)
    except FormatError as error:
        raise EvidenceError(f"the rows of the files make no manifest: {error.finding.found}") from None
    if found != subject.digest:
        raise EvidenceError(
            f"the rows of the {len(files)} files have the digest {found}, expected the recorded {subject.digest}; are "
            "they those of an older backup? gatehouse audit verify tells what was changed"
        )
