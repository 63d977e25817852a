"""Rows and audit trails of a registry, read from its database by URL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.errors import ActionError
from gatehouse.registry.address import DatabaseUrlError, Target, target_of_url
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.readers import AuditReader, VersionSnapshot, load_version_rows, open_trails

__all__ = ["artifact_records", "rows_of", "trails_of"]


def rows_of(keys: Sequence[VersionKey], *, database: str, ca: Path | None) -> list[VersionSnapshot]:
    """The rows of each key, in the order of the keys. Raises ActionError for a wrong URL, and ReconcileError."""
    try:
        with _target(database, ca) as target:
            return load_version_rows(target, keys)
    except (DatabaseUrlError, OSError) as error:
        raise ActionError(str(error)) from error


def artifact_records(
    versions: Sequence[ModelVersion], *, database: str, ca: Path | None
) -> Mapping[str, ArtifactRecord]:
    """The recorded artifacts of versions, by uid of the version. Raises as :func:`rows_of`."""
    keys = {
        version.metadata.uid: VersionKey(version.status.registry, version.spec.model_ref.name, version.spec.version)
        for version in versions
        if version.status.registry
    }
    rows = zip(keys, rows_of(list(keys.values()), database=database, ca=ca), strict=True)
    return {uid: row.record.artifact for uid, row in rows if row.record and row.record.artifact}


@contextmanager
def trails_of(database: str, *, ca: Path | None) -> Iterator[AuditReader]:
    """The audit trails at one moment. Raises DatabaseUrlError, OSError and ReconcileError."""
    with _target(database, ca) as target, open_trails(target) as trails:
        yield trails


@contextmanager
def _target(database: str, ca: Path | None) -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-rows-") as folder:
        yield target_of_url(database, ca=ca, data_dir=Path(folder))
