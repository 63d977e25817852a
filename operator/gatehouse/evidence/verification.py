"""Verifies a bundle without network or database, from the file and the keys that the reader trusts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gatehouse.domain.audit.checkpoints import CheckpointUnreadable, PublicKeys, read_checkpoint
from gatehouse.domain.audit.records import StoredRecord, digest_of
from gatehouse.evidence.archive import unpack
from gatehouse.evidence.documents import AUDIT, FORMAT, MANIFEST, RECORDS
from gatehouse.evidence.envelope import Seal, break_seal
from gatehouse.evidence.errors import BundleBroken
from gatehouse.evidence.excerpt import MOST_RECORDS, ExcerptCheck, verify_excerpt
from gatehouse.evidence.model import AuditExcerpt

__all__ = ["Verified", "verify_bundle"]

_NO_EXCERPT: Final = ExcerptCheck(about=0, proven=0, checkpoints=0, problems=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result for a bundle. ``index`` describes the version; ``problems`` invalidate it, ``notes`` do not."""

    index: Mapping[str, Any]
    key_id: str | None
    trusted: bool
    audit: ExcerptCheck
    problems: Sequence[str]
    notes: Sequence[str]

    @property
    def intact(self) -> bool:
        """Whether the bundle is unchanged and sealed by an expected key."""
        return not self.problems


def verify_bundle(data: bytes, *, keys: PublicKeys | None, audit_keys: PublicKeys | None) -> Verified:
    """Verifies every byte. One of ``keys`` must have sealed the bundle; ``audit_keys`` are the operator's.

    Never raises because of the file's content, but reports a problem.
    """
    try:
        entries = unpack(data)
        sealed = break_seal(entries)
    except BundleBroken as error:
        return Verified(index={}, key_id=None, trusted=False, audit=_NO_EXCERPT, problems=(str(error),), notes=())
    trusted = keys is not None and sealed.key_id in keys.ids
    problems = [*_signer_problems(sealed, keys), *_manifest_problems(entries, sealed.index)]
    audit = _NO_EXCERPT
    try:
        audit = verify_excerpt(_excerpt(entries), keys=audit_keys)
    except BundleBroken as error:
        problems.append(str(error))
    return Verified(
        index=sealed.index,
        key_id=sealed.key_id,
        trusted=trusted,
        audit=audit,
        problems=[*problems, *(f"audit excerpt: {problem}" for problem in audit.problems)],
        notes=[*_notes(sealed, audit, keys=keys, audit_keys=audit_keys)],
    )


def _signer_problems(sealed: Seal, keys: PublicKeys | None) -> list[str]:
    if keys is None:
        return []
    if sealed.key_id is None:
        return ["nobody signed the bundle, and a public key was given"]
    if sealed.key_id not in keys.ids:
        return [f"the bundle was signed with key {sealed.key_id}, not with {', '.join(keys.ids)}"]
    return []


def _manifest_problems(entries: Mapping[str, bytes], index: Mapping[str, Any]) -> list[str]:
    if index.get("format") != FORMAT:
        return [f"the bundle has format {index.get('format')!r}, expected {FORMAT}: use a newer gatehouse"]
    found = f"sha256:{hashlib.sha256(entries.get(MANIFEST, b'')).hexdigest()}"
    if found != index.get("digest"):
        return [f"{MANIFEST} has the digest {found}, the bundle is of {index.get('digest')}"]
    return []


def _excerpt(entries: Mapping[str, bytes]) -> AuditExcerpt:
    try:
        document = orjson.loads(entries[AUDIT])
        checkpoints = [read_checkpoint(orjson.dumps(each), where=AUDIT) for each in document["checkpoints"]]
        lines = entries[RECORDS].decode("utf-8", "surrogatepass").split("\n")
        if lines.pop() or len(lines) > MOST_RECORDS:
            raise BundleBroken(f"{RECORDS} is cut off, or has more than {MOST_RECORDS} records")
        return AuditExcerpt(
            registry=str(document["registry"]),
            about=[int(seq) for seq in document["about"]],
            records=[StoredRecord(_position(line), line, digest_of(line)) for line in lines],
            checkpoints=checkpoints,
            head=int(document["head"]),
        )
    except (KeyError, TypeError, ValueError, CheckpointUnreadable) as error:
        raise BundleBroken(f"the audit excerpt does not read: {type(error).__name__}: {error}") from None


def _position(line: str) -> int:
    return int(orjson.loads(line)["seq"])


def _notes(sealed: Seal, audit: ExcerptCheck, *, keys: PublicKeys | None, audit_keys: PublicKeys | None) -> list[str]:
    told = sealed.index.get("notes")
    notes = [str(note) for note in told] if isinstance(told, list) else []
    if sealed.key_id is None:
        notes.append("nobody signed the bundle: anyone who had it could have recreated it")
    elif keys is None:
        notes.append(f"signed with key {sealed.key_id}; nobody checked whose key that is: give --public-key")
    if audit_keys is None and audit.checkpoints:
        notes.append("signatures of audit checkpoints were not checked: give --audit-public-key")
    if audit.proven < audit.about:
        notes.append(
            f"{audit.about - audit.proven} audit records about the version have no checkpoint yet, only hashes"
        )
    return notes
