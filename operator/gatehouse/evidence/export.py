"""Exports the evidence about a version: the objects of the cluster and the rows of the registry as one sealed file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gatehouse.actions.objects import ObjectSource, parsed
from gatehouse.actions.registry_rows import trails_of
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.artifact import manifest
from gatehouse.domain.audit.keys import Signer
from gatehouse.domain.common.format_error import FormatError
from gatehouse.evidence.archive import pack
from gatehouse.evidence.cluster_objects import read_declared, read_version
from gatehouse.evidence.documents import about, entries
from gatehouse.evidence.envelope import seal
from gatehouse.evidence.errors import EvidenceError
from gatehouse.evidence.model import EvidenceRows, Subject
from gatehouse.evidence.rows import read_rows, recall

__all__ = ["ExportRequest", "bundle", "export"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The version, and the database of its registry. ``tool`` is the program that makes the evidence."""

    namespace: str
    name: str
    database: str
    database_ca: Path | None
    at: datetime
    tool: str


async def export(objects: ObjectSource, request: ExportRequest, *, signer: Signer | None) -> bytes:
    """The zip with the evidence about a version, or about the row of a version whose object was deleted.

    Raises:
        NoEvidence: no registry keeps the version, or no digest is recorded yet.
        EvidenceError: the rows are not the version's, or do not match the recorded digest.
        ClusterError, DatabaseUrlError, OSError, ReconcileError: the cluster or the database cannot be read.
    """
    body = await read_version(objects, request.namespace, request.name)
    version, kept = await asyncio.to_thread(_rows, request, body)
    subject = Subject(
        at=request.at,
        tool=request.tool,
        registry=kept.excerpt.registry,
        declared=await read_declared(objects, version, body),
        kept=kept,
    )
    return bundle(subject, signer=signer)


def _rows(request: ExportRequest, body: Mapping[str, Any] | None) -> tuple[ModelVersion, EvidenceRows]:
    with trails_of(request.database, ca=request.database_ca) as trails:
        version = recall(trails, request.namespace, request.name) if body is None else parsed(ModelVersion, body)
        return version, read_rows(trails, version)


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
        digest = manifest.digest(files)
    except FormatError as error:
        raise EvidenceError(f"the rows of the files make no manifest: {error.finding.found}") from None
    if digest != subject.digest:
        raise EvidenceError(
            f"the rows of the {len(files)} files have the digest {digest}; expected: the recorded {subject.digest}; "
            "gatehouse audit verify reports whether the rows were changed or are those of an older backup"
        )
