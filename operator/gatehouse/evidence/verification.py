"""Verifies a bundle without network or database, from the file and the keys that the reader trusts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gatehouse.domain.audit.checkpoints import CheckpointUnreadable, read_checkpoint
from gatehouse.domain.audit.keys import PublicKeys
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

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        index = self.index
        about = ("registry", "namespace", "name", "uid", "model", "version", "digest", "found", "phase", "clearedFor")
        return {
            "intact": self.intact,
            "signedBy": self.key_id,
            "trusted": self.trusted,
            "madeAt": index.get("madeAt"),
            "tool": index.get("tool"),
            **{name: index.get(name) for name in about},
            "audit": {
                "records": self.audit.about,
                "proven": self.audit.proven,
                "checkpoints": self.audit.checkpoints,
            },
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


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
        return ["the bundle is not signed; expected: a signature by the given public key"]
    if sealed.key_id not in keys.ids:
        return [f"the bundle was signed with key {sealed.key_id}, not with {', '.join(keys.ids)}"]
    return []


def _manifest_problems(entries: Mapping[str, bytes], index: Mapping[str, Any]) -> list[str]:
    if index.get("format") != FORMAT:
        return [f"the bundle has format {index.get('format')!r}; expected: {FORMAT}; use a newer gatehouse"]
    digest = f"sha256:{hashlib.sha256(entries.get(MANIFEST, b'')).hexdigest()}"
    if digest != index.get("digest"):
        return [f"{MANIFEST} has the digest {digest}; expected: {index.get('digest')}, as the index says"]
    return []


def _excerpt(entries: Mapping[str, bytes]) -> AuditExcerpt:
    try:
        document = orjson.loads(entries[AUDIT])
        checkpoints = [read_checkpoint(orjson.dumps(body), where=AUDIT) for body in document["checkpoints"]]
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
        raise BundleBroken(f"the audit excerpt cannot be parsed: {type(error).__name__}: {error}") from None


def _position(line: str) -> int:
    return int(orjson.loads(line)["seq"])


def _notes(sealed: Seal, audit: ExcerptCheck, *, keys: PublicKeys | None, audit_keys: PublicKeys | None) -> list[str]:
    indexed = sealed.index.get("notes")
    notes = [str(note) for note in indexed] if isinstance(indexed, list) else []
    if sealed.key_id is None:
        notes.append("the bundle is not signed: anyone could have recreated it")
    elif keys is None:
        notes.append(f"signed with key {sealed.key_id}; the owner of the key was not checked: use --public-key")
    if audit_keys is None and audit.checkpoints:
        notes.append("signatures of audit checkpoints were not checked: use --audit-public-key")
    if audit.proven < audit.about:
        notes.append(
            f"{audit.about - audit.proven} audit records about the version have no checkpoint yet, only hashes"
        )
    return notes
