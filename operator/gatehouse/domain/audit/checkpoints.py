"""Checkpoints: signed statements that a chain had a hash at a position. They show changes that hashes alone cannot.

A person who can write to the database can compute every hash anew, but cannot sign. :mod:`gatehouse.domain.audit.keys`
signs the canonical JSON of a statement, and verifies the signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from gatehouse.domain.audit.records import FORMAT, AuditHead, canonical, time_text

__all__ = [
    "LARGEST_CHECKPOINT",
    "AuditKeyError",
    "AuditStanding",
    "Checkpoint",
    "CheckpointUnreadable",
    "Summary",
    "checkpoint_json",
    "read_checkpoint",
    "statement",
    "summary_text",
]

LARGEST_CHECKPOINT: Final = 16 * 1024
"""Bytes of a checkpoint's copy."""
_CHECKPOINT: Final = "gatehouse audit checkpoint"
_SUMMARY: Final = "gatehouse audit summary"


class AuditKeyError(ValueError):
    """A file holds no key for signing or verifying checkpoints."""


class CheckpointUnreadable(ValueError):
    """A copy of a checkpoint is not in the format that Gatehouse writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The chain of ``registry`` had ``hash`` at ``seq``; the checkpoint before this one was of ``previous_seq``.

    ``previous_seq`` is 0 and ``previous_hash`` 64 zeros for the first. ``signature`` is in base64.
    """

    registry: str
    seq: int
    hash: str
    at: datetime
    key_id: str
    previous_seq: int
    previous_hash: str
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStanding:
    """The newest record of a trail, its newest checkpoint, and the first record that exists (0 for none)."""

    head: AuditHead | None
    checkpoint: Checkpoint | None
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Replaces the records up to ``to``, which were older than the retention and deleted; the last had ``hash``."""

    registry: str
    to: int
    hash: str


def checkpoint_json(checkpoint: Checkpoint) -> str:
    """A checkpoint in the form of its copies: canonical JSON, the signature included."""
    return canonical(_document(checkpoint) | {"signature": checkpoint.signature})


def read_checkpoint(text: bytes | str, *, where: str) -> Checkpoint:
    """Reads the text of :func:`checkpoint_json`; does not verify the signature.

    Raises:
        CheckpointUnreadable: naming ``where``.
    """
    if len(text) > LARGEST_CHECKPOINT:
        raise CheckpointUnreadable(f"{where} is larger than {LARGEST_CHECKPOINT} bytes, expected a checkpoint")
    try:
        kept: dict[str, Any] = orjson.loads(text)
        checkpoint = Checkpoint(
            registry=str(kept["registry"]),
            seq=int(kept["seq"]),
            hash=str(kept["hash"]),
            at=datetime.fromisoformat(kept["at"]),
            key_id=str(kept["keyId"]),
            previous_seq=int(kept["previousSeq"]),
            previous_hash=str(kept["previousHash"]),
            signature=str(kept["signature"]),
        )
        time_text(checkpoint.at)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointUnreadable(f"{where} is not a checkpoint: {type(error).__name__}: {error}") from None
    return checkpoint


def summary_text(summary: Summary) -> bytes:
    """The statement that the signature of a summary covers."""
    return canonical(
        {"type": _SUMMARY, "v": FORMAT, "registry": summary.registry, "to": summary.to, "hash": summary.hash}
    ).encode()


def statement(checkpoint: Checkpoint) -> bytes:
    """The statement that the signature of a checkpoint covers."""
    return canonical(_document(checkpoint)).encode()


def _document(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "type": _CHECKPOINT,
        "v": FORMAT,
        "registry": checkpoint.registry,
        "seq": checkpoint.seq,
        "hash": checkpoint.hash,
        "at": time_text(checkpoint.at),
        "keyId": checkpoint.key_id,
        "previousSeq": checkpoint.previous_seq,
        "previousHash": checkpoint.previous_hash,
    }
