"""The operator's part in audit trails: its key, and the number of records that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import structlog

from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse.registry.metrics import RowMetrics
from gatehouse.registry.tables import audit_records

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import Signer

__all__ = ["AUDIT_SWEEP", "POLICY_SWEEP", "RecordsWritten", "load_signer"]

AUDIT_SWEEP: Final = 5.0
"""Seconds between two checks whether a checkpoint is due. A check that finds none queries no database."""
POLICY_SWEEP: Final = 1.0
"""Seconds between two checks for changed policies: edits that are further apart get separate records."""
_LARGEST_KEY: Final = 16 * 1024

_log = structlog.get_logger(__name__)


def load_signer(file: Path | None) -> Signer | None:
    """The key in a file; logs and returns None without a file.

    Raises:
        AuditKeyError: the file holds no key that can sign.
        OSError: the file cannot be read.
    """
    if file is None:
        _log.warning("no --audit-key: the audit trails get no signed checkpoints")
        return None
    with file.open("rb") as stream:
        pem = stream.read(_LARGEST_KEY + 1)
    if len(pem) > _LARGEST_KEY:
        raise AuditKeyError(f"{file} is larger than {_LARGEST_KEY} bytes; expected: a private key in PEM")
    from gatehouse.domain.audit.keys import Signer  # noqa: PLC0415 - 8 MiB that only an operator with a key needs

    return Signer.from_pem(pem, where=str(file))


class RecordsWritten:
    """Forwards the registry's metrics and counts the audit records. Called from the databases' threads."""

    def __init__(self, metrics: RowMetrics) -> None:
        self._metrics = metrics
        self._lock = Lock()
        self._records = 0

    def records(self) -> int:
        """The audit records of all registries since the start of the process."""
        return self._records

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:
        """One transaction was committed."""
        with self._lock:
            self._records += rows.get(audit_records.name, 0)
        self._metrics.committed(operations=operations, rows=rows)

    def queried(self, *, operations: int) -> None:
        """One round of reads was answered."""
        self._metrics.queried(operations=operations)

    def retried(self, *, reason: str) -> None:
        """A round is retried."""
        self._metrics.retried(reason=reason)
