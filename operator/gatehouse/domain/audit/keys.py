"""Keys that sign and verify statements. Signatures are ed25519 (RFC 8032).

The operator imports this module only with a key: the library of the keys takes 8 MiB.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

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

from gatehouse.domain.audit.checkpoints import AuditKeyError, Checkpoint, Summary, statement, summary_text
from gatehouse.domain.audit.records import GENESIS, AuditHead

__all__ = ["PublicKeys", "Signer", "new_key_pem"]

_END: Final = "-----END PUBLIC KEY-----"
_WANTED: Final = "expected an ed25519 key as `openssl genpkey -algorithm ed25519` writes it"
_WANTED_PUBLIC: Final = "expected ed25519 keys as `openssl pkey -in audit.key -pubout` writes them"


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
    def public_keys(self) -> PublicKeys:
        """This key as the only key whose signatures count."""
        return PublicKeys([self.public_key])

    @property
    def public_pem(self) -> bytes:
        """The public key in PEM, as :meth:`PublicKeys.from_pem` reads it."""
        return self.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, content: bytes) -> str:
        """The signature of any bytes, in base64."""
        return base64.b64encode(self._key.sign(content)).decode()

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
        return replace(unsigned, signature=self.sign(statement(unsigned)))

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
        return self.made(checkpoint.key_id, checkpoint.signature, statement(checkpoint))

    def signed_summary(self, summary: Summary, *, key_id: str, signature: str) -> bool:
        """Whether one of the keys signed the summary."""
        return self.made(key_id, signature, summary_text(summary))

    def made(self, key_id: str, signature: str, content: bytes) -> bool:
        """Whether the key with that id made the signature of the bytes."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(base64.b64decode(signature, validate=True), content)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def new_key_pem() -> tuple[bytes, bytes]:
    """A new private key and its public half, both in PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), Signer(key).public_pem


def _key_id(key: Ed25519PublicKey) -> str:
    """The first 16 bytes of the SHA-256 of the raw public key, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]
