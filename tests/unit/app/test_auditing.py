"""The operator's key, and its count of audit records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gatehouse.app.auditing import RecordsWritten, load_signer
from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse_local.pki import ensure_audit_key
from registrycontract import Counts


def test_a_key_is_loaded_and_none_is_no_error(tmp_path: Path) -> None:
    key = ensure_audit_key(tmp_path)
    signer = load_signer(key.private)
    assert signer is not None
    assert repr(signer) == f"Signer({signer.key_id})"
    assert load_signer(None) is None


@pytest.mark.parametrize(
    "content", [b"", b"x" * 20_000, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "audit.key"
    file.write_bytes(content)
    with pytest.raises(AuditKeyError, match=str(file)):
        load_signer(file)


def test_an_operator_whose_key_is_none_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "audit.key"
    file.write_text("no key")
    command = [sys.executable, "-m", "gatehouse", "run", f"--audit-key={file}", "--health-address=0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert f"{file} holds no private key in PEM" in ended.stderr


def test_records_of_all_registries_are_counted_and_handed_on() -> None:
    counts = Counts()
    written = RecordsWritten(counts)
    written.committed(operations=2, rows={"audit_records": 3, "history": 1})
    written.committed(operations=1, rows={"model_versions": 1})
    written.queried(operations=1)
    written.retried(reason="DatabaseContention")
    assert written.records() == 3
    assert (counts.transactions, counts.queries, counts.rows["history"]) == (2, 1, 1)
    assert counts.retries == {"DatabaseContention": 1}
