"""Certificates that an installation makes for itself: each has its own authority, whose key is not kept. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Issued", "Name", "Usage", "authorities", "fault_of", "issue", "new_authority_name", "private_pem"]

Name = str | IPv4Address | IPv6Address
"""A DNS name or an address for which a certificate is valid."""
Usage = Literal["server", "client"]

_CLOCK_SKEW: Final = timedelta(minutes=5)
_MOST_AUTHORITIES: Final = 3
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_USAGES: Final = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate, its key, and the authority that signed it, in PEM."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)


def issue(
    *,
    authority: str,
    subject: str,
    usage: Usage,
    names: Sequence[Name],
    now: datetime,
    validity: timedelta,
    organization: str | None = None,
) -> Issued:
    """A certificate for ``names``, signed by an authority of its own, with keys on the curve P-256.

    The authority's key is discarded at the end, so that the authority signs nothing else. ``subject`` and ``authority``
    are common names, of at most 64 characters.
    """
    until = now + validity
    authority_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name(authority)
    authority_certificate = (
        _template(issuer, issuer, authority_key.public_key(), now=now, until=until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    template = (
        _template(_name(subject, organization=organization), issuer, key.public_key(), now=now, until=until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[usage]]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if names:
        template = template.add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
    return Issued(
        authority=authority_certificate.public_bytes(Encoding.PEM),
        certificate=template.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM),
        key=private_pem(key),
    )


def new_authority_name(prefix: str) -> str:
    """A common name that no other authority has, so that clients that trust several authorities tell them apart."""
    return f"{prefix[:47]}-{secrets.token_hex(8)}"


def fault_of(
    *, certificate: bytes, key: bytes, authority: bytes, names: Sequence[Name], now: datetime, margin: timedelta
) -> str | None:
    """Why the certificate must be replaced, in words without a value; None when it serves for ``margin`` longer."""
    try:
        return _fault(certificate, key, authority, names, now=now, margin=margin)
    except _UNREADABLE:
        return "it cannot be read"


def _fault(
    certificate: bytes, key: bytes, authority: bytes, names: Sequence[Name], *, now: datetime, margin: timedelta
) -> str | None:
    """Values that are parsed only when they are read raise the same errors."""
    served = x509.load_pem_x509_certificate(certificate)
    known = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if _public(load_pem_private_key(key, password=None).public_key()) != _public(served.public_key()):
        return "the key belongs to another certificate"
    # An authority signs itself: the signature of an altered one is wrong.
    trusted = x509.load_pem_x509_certificates(authority)
    if not any(_signed(served, each) and _signed(each, each) for each in trusted):
        return "its authority is missing"
    if lacking := [each.value for each in _general(names) if each not in known]:
        return f"it is not for {', '.join(map(str, lacking))}"
    if served.not_valid_before_utc > now:
        return f"it becomes valid on {served.not_valid_before_utc:%Y-%m-%d}"
    if served.not_valid_after_utc <= now + margin:
        return f"it expires on {served.not_valid_after_utc:%Y-%m-%d}"
    return None


def authorities(newest: bytes, earlier: bytes, *, now: datetime) -> bytes:
    """The authorities to trust: the newest, and earlier ones whose certificates may still be served, three at most.

    Clients may learn of a new certificate before or after the server that uses it.
    """
    try:
        found = x509.load_pem_x509_certificates(earlier)
    except _UNREADABLE:
        found = []
    kept = [each.public_bytes(Encoding.PEM) for each in found if each.not_valid_after_utc > now]
    return b"".join(dict.fromkeys([newest, *kept][:_MOST_AUTHORITIES]))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key in PKCS 8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _general(names: Sequence[Name]) -> list[x509.GeneralName]:
    return [x509.DNSName(each) if isinstance(each, str) else x509.IPAddress(each) for each in names]


def _name(common_name: str, *, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _template(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, *, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
