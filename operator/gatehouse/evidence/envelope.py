"""The seal of a bundle: an index with the hash of every entry, in a signed DSSE envelope.

The envelope is DSSE v1 (secure-systems-lab/dsse) with an ed25519 signature over the pre-authentication encoding. The
public key is in the bundle, so a change is detected without another file. Only the reader can know the key's owner.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse.domain.audit.keys import PublicKeys, Signer
from gatehouse.evidence.errors import BundleBroken

__all__ = ["ENVELOPE", "INDEX", "PAYLOAD_TYPE", "PUBLIC_KEY", "Seal", "break_seal", "json_bytes", "seal"]

INDEX: Final = "index.json"
ENVELOPE: Final = "evidence.dsse.json"
PUBLIC_KEY: Final = "evidence.pub"
PAYLOAD_TYPE: Final = "application/vnd.gatehouse.evidence+json"
_READABLE: Final = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The content of a bundle's seal. ``key_id`` is None for an unsigned seal."""

    index: Mapping[str, Any]
    key_id: str | None


def json_bytes(value: object) -> bytes:
    """JSON for people, with sorted keys: the same value is always the same bytes."""
    return orjson.dumps(value, option=_READABLE)


def seal(entries: Mapping[str, bytes], about: Mapping[str, Any], *, signer: Signer | None) -> dict[str, bytes]:
    """The entries with index and envelope. ``about`` has further values for the index."""
    whole = dict(entries)
    if signer is not None:
        whole[PUBLIC_KEY] = signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    listed = {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in sorted(whole.items())}
    index = json_bytes({**about, "entries": listed})
    signatures = [] if signer is None else [{"keyid": signer.key_id, "sig": signer.sign(_encoding(index))}]
    whole[INDEX] = index
    whole[ENVELOPE] = _envelope(index, signatures)
    return whole


def break_seal(entries: Mapping[str, bytes]) -> Seal:
    """The content of the seal, after every entry was verified.

    Raises:
        BundleBroken: an entry is missing, was added or changed, or the signature does not match the index.
    """
    try:
        index, envelope = entries[INDEX], entries[ENVELOPE]
    except KeyError as error:
        raise BundleBroken(f"the file has no {error.args[0]}") from None
    key_id = _check_envelope(index, envelope, entries.get(PUBLIC_KEY))
    document = _object(index, INDEX)
    listed = document.get("entries")
    if not isinstance(listed, dict):
        raise BundleBroken(f"{INDEX} lists no entries")
    there = entries.keys() - {INDEX, ENVELOPE}
    for name in sorted(there ^ listed.keys()):
        raise BundleBroken(f"the entry {name} was {'added' if name in there else 'removed'}")
    for name in sorted(there):
        if listed[name] != {"sha256": _sha256(entries[name]), "bytes": len(entries[name])}:
            raise BundleBroken(f"the entry {name} was changed")
    return Seal(index=document, key_id=key_id)


def _check_envelope(index: bytes, envelope: bytes, public_key: bytes | None) -> str | None:
    signatures = _object(envelope, ENVELOPE).get("signatures")
    if not isinstance(signatures, list) or _envelope(index, signatures) != envelope:
        raise BundleBroken(f"{ENVELOPE} is not the envelope of {INDEX}")
    if not signatures and public_key is None:
        return None
    if len(signatures) != 1 or public_key is None:
        raise BundleBroken(
            f"{ENVELOPE} has {len(signatures)} signatures, and the file has {'a' if public_key else 'no'} key"
        )
    try:
        keys = PublicKeys.from_pem(public_key, where=PUBLIC_KEY)
        key_id, signature = str(signatures[0]["keyid"]), str(signatures[0]["sig"])
        canonical = base64.b64encode(base64.b64decode(signature, validate=True)).decode() == signature
    except (AuditKeyError, KeyError, TypeError, binascii.Error, ValueError) as error:
        raise BundleBroken(f"the signature in {ENVELOPE} cannot be parsed: {error}") from None
    if keys.ids != (key_id,) or not canonical or not keys.made(key_id, signature, _encoding(index)):
        raise BundleBroken(f"the signature in {ENVELOPE} does not match {INDEX}")
    return key_id


def _envelope(index: bytes, signatures: list[Any]) -> bytes:
    payload = base64.b64encode(index).decode()
    return json_bytes({"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": signatures})


def _encoding(index: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(index)} ".encode() + index


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BundleBroken(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BundleBroken(f"{name} is not a JSON object")
    return value


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
