"""Who made a model signature, compared with the keys and identities that a policy names.

A key is an ECDSA key on P-256, P-384 or P-521: the kinds that model signatures are made with. An identity is the
subject and the issuer in a certificate of Fulcio, Sigstore's authority, that chains to an authority of the policy. The
chain is verified for the time when the certificate became valid, as such certificates are valid for minutes. The
transparency log is not checked: a person who obtained the key of an expired certificate could still sign with it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from gatehouse.api.governance_policy import SignatureIdentity, SignatureRequirements
from gatehouse.domain.artifact.signature import SignatureRecord
from gatehouse.domain.common.finding import Finding

__all__ = ["SignatureCheck", "judge_signature"]

_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_BEFORE: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""The issuer as a DER string, and in Fulcio's earlier form: bare."""
_UTF8_STRING: Final = 0x0C
_MALFORMED: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""The parser's errors for a malformed certificate."""
_USABLE_KEY: Final = "an ECDSA public key on P-256, P-384 or P-521 in PEM"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """The signer's name in the policy, or why the signature does not suffice.

    Reasons: SignatureMissing, SignatureInvalid, SignerNotTrusted, SignersUnusable (the policy names a malformed key).
    """

    signed_by: str | None = None
    problem: Finding | None = None


def judge_signature(record: SignatureRecord | None, requirements: SignatureRequirements) -> SignatureCheck:
    """Checks that one of the signers signed exactly the found files. ``record`` is None without ``model.sig``."""
    signers = ", ".join(
        [*(key.name for key in requirements.keys), *(signer.name for signer in requirements.identities)]
    )
    whole = f"model.sig over exactly these files, signed by one of: {signers}"
    sign = (
        f"ask one of them to sign the folder with `model_signing sign`, and put model.sig beside the files: {signers}"
    )
    if record is None:
        return _problem("SignatureMissing", "no model.sig is beside the files", whole, sign)
    if record.problem is not None:
        return _problem("SignatureInvalid", f"model.sig: {record.problem}", whole, sign)
    try:
        for name, matches in _matching(record, requirements):
            if matches:
                return SignatureCheck(signed_by=name)
    except _UnusableError as error:
        return _problem(
            "SignersUnusable", f"the policy's signer {error.name}: {error.why}", _USABLE_KEY, "fix the policy"
        )
    return _problem("SignerNotTrusted", f"model.sig is signed by {_who(record)}", whole, sign)


def _problem(reason: str, problem: str, whole: str, remedy: str) -> SignatureCheck:
    return SignatureCheck(problem=Finding(reason=reason, found=problem, expected=whole, remedy=remedy))


class _UnusableError(Exception):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why


def _matching(record: SignatureRecord, requirements: SignatureRequirements) -> Iterator[tuple[str, bool]]:
    for key in requirements.keys:
        yield key.name, _made_with(_key(key.name, key.public_key), record)
    if requirements.identities and record.certificates:
        leaf = _trusted(record.certificates, _authorities(requirements))
        signed = leaf is not None and _made_with_certificate(leaf, record)
        for identity in requirements.identities:
            yield identity.name, signed and leaf is not None and _is(leaf, identity)


def _key(name: str, pem: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _UnusableError(name, "the key is no public key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or _hash_of(key) is None:
        raise _UnusableError(name, "the key is of another kind")
    return key


def _hash_of(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm | None:
    """Sigstore's table of curves and hashes."""
    match key.curve.name:
        case "secp256r1":
            return hashes.SHA256()
        case "secp384r1":
            return hashes.SHA384()
        case "secp521r1":
            return hashes.SHA512()
        case _:
            return None


def _made_with(key: ec.EllipticCurvePublicKey, record: SignatureRecord) -> bool:
    algorithm = _hash_of(key)
    if algorithm is None:
        return False
    digest = {"sha256": record.sha256, "sha384": record.sha384, "sha512": record.sha512}[algorithm.name]
    try:
        key.verify(base64.b64decode(record.signature), bytes.fromhex(digest), ec.ECDSA(Prehashed(algorithm)))
    except (InvalidSignature, ValueError):
        return False
    return True


def _made_with_certificate(leaf: x509.Certificate, record: SignatureRecord) -> bool:
    try:
        key = leaf.public_key()
    except _MALFORMED:
        return False
    return isinstance(key, ec.EllipticCurvePublicKey) and _made_with(key, record)


def _authorities(requirements: SignatureRequirements) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates((requirements.certificate_authorities or "").encode())
    except _MALFORMED:
        raise _UnusableError(
            requirements.identities[0].name, "certificateAuthorities has no certificate in PEM"
        ) from None


def _trusted(chain: Sequence[str], authorities: list[x509.Certificate]) -> x509.Certificate | None:
    """The signer's certificate, if it may sign and chains to an authority."""
    try:
        leaf, *between = (x509.load_der_x509_certificate(base64.b64decode(encoded)) for encoded in chain)
        verifier = (
            PolicyBuilder()
            .store(Store(authorities))
            .time(leaf.not_valid_before_utc)
            .extension_policies(
                ca_policy=_any_purpose(ExtensionPolicy.webpki_defaults_ca()),
                ee_policy=_any_purpose(ExtensionPolicy.webpki_defaults_ee()),
            )
            .build_client_verifier()
        )
        verifier.verify(leaf, between)
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (*_MALFORMED, VerificationError):
        return None
    return leaf if ExtendedKeyUsageOID.CODE_SIGNING in purposes else None


def _any_purpose(policy: ExtensionPolicy) -> ExtensionPolicy:
    """Accepts every purpose: web rules require certificates of servers and clients, but these are for signing code."""
    return policy.may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)


def _is(leaf: x509.Certificate, identity: SignatureIdentity) -> bool:
    subjects, issuer = _subjects(leaf), _issuer(leaf)
    return identity.subject in subjects and identity.issuer == issuer


def _subjects(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _MALFORMED:
        return []
    return [*names.get_values_for_type(x509.RFC822Name), *names.get_values_for_type(x509.UniformResourceIdentifier)]


def _issuer(leaf: x509.Certificate) -> str | None:
    for oid in (_ISSUER, _ISSUER_BEFORE):
        try:
            extension = leaf.extensions.get_extension_for_oid(oid).value
        except _MALFORMED:
            continue
        if isinstance(extension, x509.UnrecognizedExtension):
            value = extension.value
            return _utf8_string(value) if oid == _ISSUER else value.decode("utf-8", "replace")
    return None


def _utf8_string(der: bytes) -> str | None:
    """A DER UTF8String: its tag, its length in one or two bytes, its text."""
    if len(der) < 2 or der[0] != _UTF8_STRING:
        return None
    start, length = (3, der[2]) if der[1] == 0x81 and len(der) > 2 else (2, der[1])
    text = der[start:]
    return text.decode("utf-8", "replace") if len(text) == length else None


def _who(record: SignatureRecord) -> str:
    if not record.certificates:
        return "another key"
    try:
        leaf = x509.load_der_x509_certificate(base64.b64decode(record.certificates[0]))
    except _MALFORMED:
        return "a certificate that cannot be parsed"
    named = ", ".join(_subjects(leaf)[:3]) or "a certificate without a name"
    issuer = _issuer(leaf)
    signer = f"{named} (issuer: {issuer})" if issuer else named
    return f"{signer[:500]}, whose certificate is not from the policy's authorities, or names another signer"
