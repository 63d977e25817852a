"""Checkpoints: signed statements that a chain had a hash at a position. They show changes that hashes alone cannot.

A person who can write to the database can compute every hash anew, but cannot sign. Signatures are ed25519 (RFC 8032)
over the canonical JSON of the statement.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gatehouse.domain.audit.records import FORMAT, GENESIS, AuditHead, canonical, time_text

__all__ = [
    "LARGEST_CHECKPOINT",
    "AuditKeyError",
    "AuditStanding",
    "Checkpoint",
    "CheckpointUnreadable",
    "PublicKeys",
    "Signer",
    "Summary",
    "checkpoint_json",
    "new_key_pem",
    "read_checkpoint",
    "summary_text",
]

LARGEST_CHECKPOINT: Final = 16 * 1024
"""Bytes of a checkpoint's copy."""
_CHECKPOINT: Final = "gatehouse audit checkpoint"
_SUMMARY: Final = "gatehouse audit summary"
_END: Final = "-----END PUBLIC KEY-----"


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


class Signer:
    """Signs with one key, and does not expose the key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key()
        self.key_id = _key_id(self.public_key)

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str) -> Signer:
        """Raises AuditKeyError naming ``where``."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise AuditKeyError(f"{where} holds no private key in PEM without a password, {_WANTED}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditKeyError(f"{where} holds another kind of key, {_WANTED}")
        return cls(key)

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    @property
    def public_pem(self) -> bytes:
        """The public key in PEM, as :meth:`PublicKeys.from_pem` reads it."""
        return self.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, statement: bytes) -> str:
        """The signature of any bytes, in base64."""
        return base64.b64encode(self._key.sign(statement)).decode()

    def checkpoint(self, registry: str, head: AuditHead, *, at: datetime, previous: Checkpoint | None) -> Checkpoint:
        """The signed statement that the chain has this head."""
        unsigned = Checkpoint(
            registry=registry,
            seq=head.seq,
            hash=head.hash,
            at=at,
            key_id=self.key_id,
            previous_seq=previous.seq if previous else 0,
            previous_hash=previous.hash if previous else GENESIS,
        )
        return replace(unsigned, signature=self.sign(_statement(unsigned)))

    def summary(self, summary: Summary) -> Mapping[str, Any]:
        """The signed content of a summary's record: write access to rows must not suffice to explain a gap away."""
        signature = self.sign(summary_text(summary))
        return {
            "from": 1,
            "to": summary.to,
            "count": summary.to,
            "hash": summary.hash,
            "keyId": self.key_id,
            "signature": signature,
        }


class PublicKeys:
    """The keys whose signatures count: the operator's key, and its earlier keys."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {_key_id(key): key for key in keys}

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str) -> PublicKeys:
        """The public keys of a file, one after the other. Raises AuditKeyError naming ``where``."""
        blocks = [block + _END for block in pem.decode("ascii", "replace").split(_END) if block.strip()]
        keys = []
        for block in blocks:
            try:
                key = load_pem_public_key(block.strip().encode("ascii", "replace"))
            except (ValueError, UnsupportedAlgorithm):
                raise AuditKeyError(f"{where} holds no public key in PEM, {_WANTED_PUBLIC}") from None
            if not isinstance(key, Ed25519PublicKey):
                raise AuditKeyError(f"{where} holds another kind of key, {_WANTED_PUBLIC}")
            keys.append(key)
        if not keys:
            raise AuditKeyError(f"{where} holds no key, {_WANTED_PUBLIC}")
        return cls(keys)

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of every key."""
        return tuple(self._keys)

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether one of the keys signed the checkpoint."""
        return self.made(checkpoint.key_id, checkpoint.signature, _statement(checkpoint))

    def signed_summary(self, summary: Summary, *, key_id: str, signature: str) -> bool:
        """Whether one of the keys signed the summary."""
        return self.made(key_id, signature, summary_text(summary))

    def made(self, key_id: str, signature: str, statement: bytes) -> bool:
        """Whether the key with that id made the signature of the bytes."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(base64.b64decode(signature, validate=True), statement)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


_WANTED: Final = "expected an ed25519 key as `openssl genpkey -algorithm ed25519` writes it"
_WANTED_PUBLIC: Final = "expected ed25519 keys as `openssl pkey -in audit.key -pubout` writes them"


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


def new_key_pem() -> tuple[bytes, bytes]:
    """A new private key and its public half, both in PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), Signer(key).public_pem


def _statement(checkpoint: Checkpoint) -> bytes:
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


def _key_id(key: Ed25519PublicKey) -> str:
    """The first 16 bytes of the SHA-256 of the raw public key, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]
