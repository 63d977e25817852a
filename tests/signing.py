"""Model signatures for tests, made by the reference tool, and by hand with certificates as Fulcio's."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from model_signing import hashing
from model_signing import signing as reference

__all__ = ["Authority", "hashes_of", "make_key", "private_pem", "public_pem", "sign_folder"]

BORN = datetime(2026, 11, 1, 12, tzinfo=UTC)
ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def make_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A private key, on P-256 unless told."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign_folder(
    folder: Path, key: ec.EllipticCurvePrivateKey, *, config: hashing.Config | None = None, into: Path | None = None
) -> bytes:
    """What the reference tool writes for the folder; the key goes through a file beside it."""
    file = folder.parent / f"{folder.name}.key"
    file.write_bytes(private_pem(key))
    target = into or folder.parent / f"{folder.name}.sig"
    chosen = reference.Config().use_elliptic_key_signer(private_key=file)
    (chosen.set_hashing_config(config) if config else chosen).sign(folder, target)
    return target.read_bytes()


def hashes_of(folder: Path) -> dict[str, str]:
    """Hex SHA-256 by path."""
    files = (each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): hashlib.sha256(each.read_bytes()).hexdigest() for each in files}


class Authority:
    """Signs short-lived certificates as Fulcio does."""

    def __init__(self, name: str = "fulcio.test") -> None:
        self._key = make_key(ec.SECP384R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = self._key.public_key()
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BORN - timedelta(days=1))
            .not_valid_after(BORN + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA384())
        )

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def sign(self, bundle: bytes, *, subject: str, issuer: str, purpose: x509.ObjectIdentifier | None = None) -> bytes:
        """The bundle with the same statement, signed with a certificate of the subject."""
        key = make_key()
        public = key.public_key()
        authority = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BORN)
            .not_valid_after(BORN + timedelta(minutes=10))
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose or ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
            .add_extension(x509.SubjectAlternativeName([_name(subject)]), critical=True)
            .add_extension(
                x509.UnrecognizedExtension(ISSUER_V2, bytes([0x0C, len(issuer)]) + issuer.encode()), critical=False
            )
            .sign(self._key, hashes.SHA384())
        )
        document: dict[str, Any] = json.loads(bundle)
        payload = base64.b64decode(document["dsseEnvelope"]["payload"])
        signed = key.sign(_encoding(payload), ec.ECDSA(hashes.SHA256()))
        document["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signed).decode()}]
        der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        document["verificationMaterial"] = {"certificate": {"rawBytes": der}}
        return json.dumps(document).encode()


def restated(bundle: bytes, key: ec.EllipticCurvePrivateKey, change: Mapping[str, Any]) -> bytes:
    """The bundle with members of its statement replaced, signed by the key again."""
    document: dict[str, Any] = json.loads(bundle)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload = json.dumps({**statement, **change}).encode()
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    signed = key.sign(_encoding(payload), ec.ECDSA(hashes.SHA256()))
    document["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signed).decode()}]
    return json.dumps(document).encode()


def _encoding(payload: bytes) -> bytes:
    return b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)


def _name(subject: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(subject) if "://" in subject else x509.RFC822Name(subject)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
