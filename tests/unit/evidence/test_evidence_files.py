"""The files of evidence on the disk: keys that are never overwritten, and bundles that are whole or absent."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gatehouse.actions.audit_trails import read_keys
from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse.errors import InputInvalid
from gatehouse.evidence.files import create_key, read_bundle, read_signer, write_bundle


def test_a_key_is_private_and_its_public_key_is_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "evidence.key"
    key_id = create_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_signer(file).key_id == key_id
    assert read_keys(tmp_path / "evidence.key.pub").ids == (key_id,)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "evidence.key"
    file.write_text("mine")
    with pytest.raises(InputInvalid, match="exists already; expected: the name of a new file"):
        create_key(file)
    assert file.read_text() == "mine"


def test_a_large_file_of_keys_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_bytes(b"x" * 65_537)
    for read in (read_signer, read_keys):
        with pytest.raises(AuditKeyError, match="larger than 65536 bytes; expected: keys in PEM"):
            read(file)


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "granite.zip"
    for data in (b"first", b"second"):
        write_bundle(file, data)
        assert read_bundle(file) == data
    assert [path.name for path in tmp_path.iterdir()] == ["granite.zip"]
    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "none" / "granite.zip", b"data")
