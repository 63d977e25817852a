"""Questions to the audit trails of a database: which registry, which records, and whether a trail is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Final

from gatehouse.domain.audit.chain import verify_chain
from gatehouse.domain.audit.checkpoints import AuditKeyError, Checkpoint
from gatehouse.domain.audit.keys import PublicKeys
from gatehouse.domain.audit.records import AuditRecord, StoredRecord, read_record
from gatehouse.domain.audit.trust import Verdict, trust
from gatehouse.errors import ActionError
from gatehouse.registry.readers import AuditReader

__all__ = [
    "Counter",
    "audited_registry",
    "matching_records",
    "read_bounded",
    "read_keys",
    "read_pem",
    "trail_verdict",
]

LARGEST_KEYS: Final = 64 * 1024
"""Bytes of a file of keys."""

Counter = Callable[[Iterable[StoredRecord], int | None], AbstractContextManager[Iterator[StoredRecord]]]
"""Passes records on and shows their progress; the number is the total, if it is known."""


def audited_registry(trails: AuditReader, asked: str | None) -> str:
    """The registry of the given name, or the only one. Raises ActionError, which lists the registries."""
    known = trails.registries()
    if asked is None and len(known) == 1:
        return known[0]
    if not known:
        raise ActionError("the database has no record of any registry yet; is --database the right database?")
    if asked is None:
        raise ActionError(f"the database has the trails of {', '.join(known)}; name one with --registry")
    if asked not in known:
        raise ActionError(f"the database has no trail of registry {asked}; it has those of: {', '.join(known)}")
    return asked


def matching_records(
    rows: Iterable[StoredRecord], having: Mapping[str, str], *, oldest: datetime | None
) -> Iterator[AuditRecord]:
    """The records whose facts have these values and are not older. Raises RecordUnreadable."""
    for stored in rows:
        record = read_record(stored)
        matches = all(getattr(record.fact, name) == value for name, value in having.items())
        if matches and (oldest is None or record.fact.at >= oldest):
            yield record


def trail_verdict(
    trails: AuditReader, registry: str, *, keys: PublicKeys | None, copies: Sequence[Checkpoint], counted: Counter
) -> Verdict:
    """Whether the trail of a registry is whole, with the keys and the copies of checkpoints that the caller trusts."""
    head = trails.head(registry)
    trusted = trust(registry, kept=trails.checkpoints(registry), copies=copies, head=head, keys=keys)
    with counted(trails.records(registry), head.seq if head else None) as rows:
        return verify_chain(rows, registry=registry, head=head, trusted=trusted, keys=keys)


def read_keys(file: Path) -> PublicKeys:
    """Public keys from a PEM file. Raises AuditKeyError and OSError."""
    return PublicKeys.from_pem(read_pem(file), where=str(file))


def read_pem(file: Path) -> bytes:
    """The bytes of a file of keys. Raises AuditKeyError for a large file, and OSError."""
    pem = read_bounded(file, LARGEST_KEYS)
    if len(pem) > LARGEST_KEYS:
        raise AuditKeyError(f"{file} is larger than {LARGEST_KEYS} bytes; expected: keys in PEM")
    return pem


def read_bounded(file: Path, most: int) -> bytes:
    """The bytes of a file, and of a larger file the first ``most`` bytes and one more. Raises OSError."""
    with file.open("rb") as stream:
        return stream.read(most + 1)
