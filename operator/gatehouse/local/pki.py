"""Certificates and keys of one local cluster: made once, valid for ten years, trusted by nobody else."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatehouse.domain.audit.checkpoints import new_key_pem
from gatehouse.local.files import make_private, write_private
from gatehouse.local.net import LOOPBACK

__all__ = [
    "ClientCertificate",
    "KeyPair",
    "ServingCertificate",
    "ensure_audit_key",
    "ensure_certificate",
    "ensure_client_certificate",
    "ensure_key_pair",
]

_VALIDITY = dt.timedelta(days=3650)
_CLOCK_SKEW = dt.timedelta(minutes=5)
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCertificate:
    """A server's certificate and key, and the certificate authority that signed it (PEM files)."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A client's certificate and key, and the certificate authority that signed nothing else (PEM files)."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A signing key and its public half (PEM files)."""

    private: Path
    public: Path


def ensure_certificate(folder: Path, *, authority: str, addresses: Sequence[str] = ()) -> ServingCertificate:
    """A certificate for localhost, 127.0.0.1 and `addresses`, signed by an authority of its own.

    Made once, and anew when it does not name all of these. The key of the authority is not kept: nothing else can be
    signed by it.
    """
    files = ServingCertificate(
        authority=folder / "ca.crt", certificate=folder / "public.crt", key=folder / "private.key"
    )
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(each)) for each in (LOOPBACK, *addresses)]
    names.extend(x509.DNSName(name) for name in _NAMES)
    # The key is written last, so that its presence means the set is whole.
    if not files.key.exists() or not _names_all(files.certificate, names):
        _issue(
            files, authority=authority, subject=_name("localhost"), usage=ExtendedKeyUsageOID.SERVER_AUTH, names=names
        )
    return files


def ensure_client_certificate(
    folder: Path, *, authority: str, common_name: str, organization: str
) -> ClientCertificate:
    """A certificate that Kubernetes takes for the user `common_name` of the group `organization`; made once."""
    files = ClientCertificate(authority=folder / "ca.crt", certificate=folder / "client.crt", key=folder / "client.key")
    if not files.key.exists():
        subject = _name(common_name, organization=organization)
        _issue(files, authority=authority, subject=subject, usage=ExtendedKeyUsageOID.CLIENT_AUTH, names=[])
    return files


def ensure_key_pair(folder: Path, name: str) -> KeyPair:
    """An EC key pair for signing tokens; made once."""
    make_private(folder)
    pair = KeyPair(private=folder / f"{name}.key", public=folder / f"{name}.pub")
    if not pair.private.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(pair.public, public)
        write_private(pair.private, _private_pem(key))
    return pair


def ensure_audit_key(folder: Path) -> KeyPair:
    """The ed25519 key that the operator signs checkpoints of audit trails with; made once, and never another."""
    make_private(folder)
    pair = KeyPair(private=folder / "audit.key", public=folder / "audit.pub")
    if not pair.private.exists():
        private, public = new_key_pem()
        write_private(pair.public, public)
        write_private(pair.private, private)
    return pair


def _issue(
    files: ServingCertificate | ClientCertificate,
    *,
    authority: str,
    subject: x509.Name,
    usage: x509.ObjectIdentifier,
    names: Sequence[x509.GeneralName],
) -> None:
    make_private(files.key.parent)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name(authority)
    authority_certificate = (
        _template(issuer, issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    template = (
        _template(subject, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if names:
        template = template.add_extension(x509.SubjectAlternativeName(names), critical=False)
    write_private(files.authority, authority_certificate.public_bytes(Encoding.PEM))
    write_private(files.certificate, template.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    write_private(files.key, _private_pem(key))


def _names_all(certificate: Path, names: Sequence[x509.GeneralName]) -> bool:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    found = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= set(found)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common_name: str, *, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _template(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALIDITY)
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
