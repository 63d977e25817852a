"""OpenSSF model signatures: the content of ``model.sig``, and whether it signs the files beside it.

A signature is a Sigstore bundle (v0.3) around a DSSE envelope around an in-toto statement. The statement names every
file with its SHA-256, as ``model_signing sign`` writes it. Reading a signature proves nothing yet:
:mod:`gatehouse.domain.governance.signature_trust` checks the signer against the signers that a policy names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["LARGEST_SIGNATURE", "SIGNATURE", "SignatureRecord", "check_bundle", "read_signature"]

SIGNATURE: Final = "model.sig"
LARGEST_SIGNATURE: Final = 4 * 1024 * 1024
"""Bytes of a bundle; one of 10,000 files takes less."""

_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_ANY_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_BUNDLE_MEMBERS: Final = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"})
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_LEFT_OUT: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""Paths that the tool leaves out by default; any other path that a signer left out is not signed."""
_NOT_COVERED: Final = (SIGNATURE, "gatehouse.manifest")
"""Files beside the model that no manifest covers: a statement's claims about them are ignored."""
_MAX_ITEMS: Final = 200_000
"""A statement describes each file with four items."""
_MOST_CERTIFICATES: Final = 8
_LARGEST_CERTIFICATE: Final = 16 * 1024
_LARGEST_SIGNATURE_BYTES: Final = 1024
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRecord:
    """A signature as the row keeps it: all fields that checking it against any policy needs, without the statement.

    ``problem`` says why the signature does not cover exactly these files, whoever the signer is. ``signature`` (base64)
    is over the DSSE pre-authentication encoding, whose hashes are ``sha256``, ``sha384`` and ``sha512`` in hex.
    ``certificates`` (base64 of DER) begin with the signer's; the list is empty when a bare key signed.
    """

    problem: str | None = None
    signature: str = ""
    sha256: str = ""
    sha384: str = ""
    sha512: str = ""
    certificates: tuple[str, ...] = ()


def check_bundle(bundle: bytes) -> None:
    """Check that a file has the form of a Sigstore bundle, of any version and over any content.

    Raises FormatError with the rule SignatureInvalid, and those of `bounded_json.loads`.
    """
    document = _loads(bundle, SIGNATURE)
    members = _Json(document, SIGNATURE)
    if not members.text("mediaType").startswith(_ANY_BUNDLE):
        raise _refusal(f"mediaType is {shown(members.text('mediaType'))}", f"{_ANY_BUNDLE} of some version")
    strange = sorted(members.names - _BUNDLE_MEMBERS)
    if strange:
        raise _refusal(f"the member {shown(strange[0])}", "the members of a Sigstore bundle and no other")
    members.object("verificationMaterial")
    members.object("dsseEnvelope" if members.has("dsseEnvelope") else "messageSignature")


def read_signature(bundle: bytes, files: Mapping[str, str]) -> SignatureRecord:
    """Read a bundle and compare its statement with the files: hex SHA-256 by path. Never raises."""
    try:
        return _read(bundle, files)
    except FormatError as error:
        return SignatureRecord(problem=f"{error.finding.found}; expected: {error.finding.expected}")


def _read(bundle: bytes, files: Mapping[str, str]) -> SignatureRecord:
    document = _Json(_loads(bundle, SIGNATURE), SIGNATURE)
    document.expect("mediaType", _BUNDLE)
    envelope = document.object("dsseEnvelope")
    envelope.expect("payloadType", _PAYLOAD)
    payload = envelope.base64("payload", most=LARGEST_SIGNATURE)
    signatures = envelope.objects("signatures")
    if len(signatures) != 1:
        raise _refusal(f"{len(signatures)} signatures", "one signature")
    signature = signatures[0].base64("sig", most=_LARGEST_SIGNATURE_BYTES)
    encoding = f"DSSEv1 {len(_PAYLOAD)} {_PAYLOAD} {len(payload)} ".encode() + payload
    return SignatureRecord(
        problem=_difference(_signed_files(payload), files),
        signature=base64.b64encode(signature).decode(),
        sha256=hashlib.sha256(encoding).hexdigest(),
        sha384=hashlib.sha384(encoding).hexdigest(),
        sha512=hashlib.sha512(encoding).hexdigest(),
        certificates=_certificates(document.object("verificationMaterial")),
    )


def _loads(data: bytes, what: str) -> JsonValue:
    return bounded_json.loads(data, what=what, max_bytes=LARGEST_SIGNATURE, max_depth=16, max_items=_MAX_ITEMS)


def _certificates(material: _Json) -> tuple[str, ...]:
    if material.has("certificate"):
        found: Sequence[_Json] = [material.object("certificate")]
    elif material.has("x509CertificateChain"):
        found = material.object("x509CertificateChain").objects("certificates")
    else:
        return ()
    if not 1 <= len(found) <= _MOST_CERTIFICATES:
        raise _refusal(f"{len(found)} certificates", f"1 to {_MOST_CERTIFICATES} certificates")
    return tuple(base64.b64encode(each.base64("rawBytes", most=_LARGEST_CERTIFICATE)).decode() for each in found)


def _signed_files(payload: bytes) -> Mapping[str, str]:
    """The files that a statement names. The subject's digest must be the digest of their digests in order."""
    what = f"the statement in {SIGNATURE}"
    statement = _Json(_loads(payload, what), what)
    statement.expect("_type", _STATEMENT)
    statement.expect("predicateType", _PREDICATE)
    predicate = statement.object("predicate")
    serialization = predicate.object("serialization")
    if (method := serialization.text("method")) != "files":
        raise _refusal(f"hashes of {shown(method)}", "hashes of whole files: sign without --shard-size")
    files: dict[str, str] = {}
    root = hashlib.sha256()
    for resource in predicate.objects("resources"):
        if (algorithm := resource.text("algorithm")) != "sha256":
            raise _refusal(f"hashes made with {shown(algorithm)}", "sha256, which the tool takes by default")
        name, digest = resource.text("name"), resource.text("digest")
        if name in files:
            raise _refusal(f"the file {shown(name)} twice", "each file once")
        files[name] = digest
        root.update(_hex(digest))
    subjects = statement.objects("subject")
    stated = subjects[0].object("digest").text("sha256") if len(subjects) == 1 else None
    if stated != root.hexdigest():
        raise _refusal("a subject that is not the sum of the files", "a statement as model_signing writes it")
    return files


def _hex(digest: str) -> bytes:
    try:
        return bytes.fromhex(digest)
    except ValueError:
        raise _refusal(f"the digest {shown(digest)}", "64 hex digits") from None


def _difference(signed: Mapping[str, str], files: Mapping[str, str]) -> str | None:
    """The finding where the statement does not name exactly these files."""
    expected = {path: digest for path, digest in signed.items() if path not in _NOT_COVERED}
    there = {path: sha256 for path, sha256 in files.items() if path in expected or not _left_out(path)}
    kinds = (
        ("other bytes in", [path for path in there if path in expected and expected[path] != there[path]]),
        ("not signed:", [path for path in there if path not in expected]),
        ("signed, but not there:", [path for path in expected if path not in there]),
    )
    told = [f"{kind} {_some(paths)}" for kind, paths in kinds if paths]
    return f"the signature is not of these files: {'; '.join(told)}" if told else None


def _left_out(path: str) -> bool:
    return path.partition("/")[0] in _LEFT_OUT


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(shown(path) for path in sorted(paths)[:_SHOWN]) + more


class _Json:
    """A JSON object from an untrusted source. Every method reads one member or raises FormatError naming the member."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _refusal(f"{where} is no JSON object", "a Sigstore bundle as model_signing writes it")
        self._members: dict[str, Any] = value
        self._where = where

    @property
    def names(self) -> frozenset[str]:
        """Names of all members."""
        return frozenset(self._members)

    def has(self, name: str) -> bool:
        """Whether the object has such a member."""
        return self._members.get(name) is not None

    def expect(self, name: str, wanted: str) -> None:
        """Check that the member is this text."""
        if (found := self.text(name)) != wanted:
            raise _refusal(f"{name} is {shown(found)}", wanted)

    def text(self, name: str) -> str:
        """A text member."""
        value = self._members.get(name)
        if not isinstance(value, str):
            raise self._lacks(name, "text")
        return value

    def object(self, name: str) -> _Json:
        """A member that is an object."""
        return _Json(self._members.get(name), f"{self._where}: {name}")

    def objects(self, name: str) -> list[_Json]:
        """A member that is a list of objects."""
        value = self._members.get(name)
        if not isinstance(value, list):
            raise self._lacks(name, "a list")
        return [_Json(member, f"{self._where}: {name}") for member in value]

    def base64(self, name: str, *, most: int) -> bytes:
        """A member that is base64 of at most ``most`` bytes."""
        text = self.text(name)
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._lacks(name, "base64") from None
        if not value or len(value) > most:
            raise self._lacks(name, f"1 to {most} bytes")
        return value

    def _lacks(self, name: str, wanted: str) -> FormatError:
        return _refusal(f"{self._where}: {name} is not {wanted}", "a Sigstore bundle as model_signing writes it")


def _refusal(found: str, wanted: str) -> FormatError:
    return FormatError("SignatureInvalid", found, wanted, "Sign the files again: model_signing sign")
