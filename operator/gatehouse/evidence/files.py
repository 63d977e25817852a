"""The files of evidence on the disk of the caller: the bundle, and the keys that sign bundles."""

from __future__ import annotations

import os
from pathlib import Path

from gatehouse.actions.audit_trails import read_bounded, read_pem
from gatehouse.domain.audit.keys import Signer, new_key_pem
from gatehouse.errors import InputInvalid
from gatehouse.evidence.archive import LARGEST_BUNDLE

__all__ = ["create_key", "read_bundle", "read_signer", "write_bundle"]


def read_signer(file: Path) -> Signer:
    """The signer of a private key in PEM. Raises AuditKeyError and OSError."""
    return Signer.from_pem(read_pem(file), where=str(file))


def create_key(file: Path) -> str:
    """Writes a new private key into the file and the public key into FILE.pub. Returns the id of the key.

    Raises InputInvalid for an existing file, and OSError.
    """
    private, public = new_key_pem()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputInvalid(f"{file} exists already; expected: the name of a new file") from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(private)
    file.with_name(f"{file.name}.pub").write_bytes(public)
    return Signer.from_pem(private, where=str(file)).key_id


def read_bundle(file: Path) -> bytes:
    """The bytes of a bundle, and at most one more byte than a bundle may have. Raises OSError."""
    return read_bounded(file, LARGEST_BUNDLE)


def write_bundle(file: Path, data: bytes) -> None:
    """Writes the whole file or none of it. Raises OSError."""
    beside = file.with_name(f"{file.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
