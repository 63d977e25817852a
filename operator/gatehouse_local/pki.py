"""Certificates and keys of one local cluster: made once, valid for ten years, trusted only by that cluster."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatehouse.domain.audit.keys import new_key_pem
from gatehouse.domain.common.certificates import Issued, Name, issue, private_pem
from gatehouse_local.files import make_private, write_private
from gatehouse_local.net import LOOPBACK

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
    """A client's certificate and key, and the certificate authority that signed only them (PEM files)."""

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

    Made once, and again when the certificate lacks one of these names. The authority's key is not kept, so that the
    authority can sign nothing else.
    """
    files = ServingCertificate(
        authority=folder / "ca.crt", certificate=folder / "public.crt", key=folder / "private.key"
    )
    names = (*(ipaddress.ip_address(each) for each in (LOOPBACK, *addresses)), *_NAMES)
    # The key is written last, so that its presence means a complete set.
    if not files.key.exists() or not _names_all(files.certificate, names):
        issued = issue(
            authority=authority,
            subject="localhost",
            usage="server",
            names=names,
            now=dt.datetime.now(dt.UTC),
            validity=_VALIDITY,
        )
        _write(files, issued)
    return files


def ensure_client_certificate(
    folder: Path, *, authority: str, common_name: str, organization: str
) -> ClientCertificate:
    """A certificate of the Kubernetes user `common_name` in the group `organization`; made once."""
    files = ClientCertificate(authority=folder / "ca.crt", certificate=folder / "client.crt", key=folder / "client.key")
    if not files.key.exists():
        issued = issue(
            authority=authority,
            subject=common_name,
            organization=organization,
            usage="client",
            names=(),
            now=dt.datetime.now(dt.UTC),
            validity=_VALIDITY,
        )
        _write(files, issued)
    return files


def ensure_key_pair(folder: Path, name: str) -> KeyPair:
    """An EC key pair for signing tokens; made once."""
    make_private(folder)
    pair = KeyPair(private=folder / f"{name}.key", public=folder / f"{name}.pub")
    if not pair.private.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(pair.public, public)
        write_private(pair.private, private_pem(key))
    return pair


def ensure_audit_key(folder: Path) -> KeyPair:
    """The operator's ed25519 key for checkpoints of audit trails; made once and never replaced."""
    make_private(folder)
    pair = KeyPair(private=folder / "audit.key", public=folder / "audit.pub")
    if not pair.private.exists():
        private, public = new_key_pem()
        write_private(pair.public, public)
        write_private(pair.private, private)
    return pair


def _write(files: ServingCertificate | ClientCertificate, issued: Issued) -> None:
    make_private(files.key.parent)
    write_private(files.authority, issued.authority)
    write_private(files.certificate, issued.certificate)
    write_private(files.key, issued.key)


def _names_all(certificate: Path, names: Sequence[Name]) -> bool:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    found = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {*found.get_values_for_type(x509.DNSName), *found.get_values_for_type(x509.IPAddress)}
    return set(names) <= known
