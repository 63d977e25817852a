"""The file that names the Secrets of an installation. The file holds no password and no key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from gatehouse.api.meta import DnsLabel
from gatehouse.install.errors import CredentialsInvalid
from gatehouse.install.strict_file import Strict, load_strict

__all__ = [
    "CA_KEY",
    "CERTIFICATE_KEY",
    "CERTIFICATE_KEYS",
    "PRIVATE_KEY",
    "CredentialsFile",
    "PublishedKey",
    "SecretCopy",
    "WantedSecret",
    "load_credentials_file",
]

CERTIFICATE_KEY: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"
CA_KEY: Final = "ca.crt"
CERTIFICATE_KEYS: Final = (CERTIFICATE_KEY, PRIVATE_KEY, CA_KEY)
"""The keys of a Secret with a certificate, as cert-manager names them."""

Key = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]+$")]
Value = Annotated[str, StringConstraints(max_length=1024)]
DnsName = Annotated[
    str, StringConstraints(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
]


class SecretCopy(Strict):
    """A Secret in another place that holds some keys of the source."""

    namespace: DnsLabel
    name: DnsLabel
    keys: dict[Key, Key]
    """The copy's keys, each with the source's key that it copies."""
    values: dict[Key, Value] = Field(default_factory=dict)
    """Further values, such as addresses and names; nothing secret."""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class PublishedKey(Strict):
    """A ConfigMap with the public key for those who verify signatures."""

    namespace: DnsLabel
    name: DnsLabel
    key: Key


class WantedSecret(Strict):
    """A Secret that must exist."""

    namespace: DnsLabel
    name: DnsLabel
    values: dict[Key, Value] = Field(default_factory=dict)
    """Keys with values that are not secret, such as a user's name."""
    generate: Annotated[list[Key], Field(min_length=1)] = Field(default_factory=list)
    """Keys that get a random password each."""
    signing: Key | None = None
    """The key for a private key, ed25519 in PEM."""
    certificate: Annotated[list[DnsName], Field(min_length=1, max_length=16)] = Field(default_factory=list)
    """Names in a server's certificate: tls.crt with its key tls.key, and ca.crt for clients. The certificate is renewed
    before its expiry."""
    published: PublishedKey | None = None
    """The place of the signing key's public half."""
    volume: DnsLabel | None = None
    """PersistentVolumeClaim of the database that is initialised with this Secret."""
    copies: list[SecretCopy] = Field(default_factory=list)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that the Secret must have."""
        made = (*([self.signing] if self.signing else ()), *(CERTIFICATE_KEYS if self.certificate else ()))
        return (*self.values, *self.generate, *made)

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        others = (*self.values, *self.generate, *([self.signing] if self.signing else ()))
        if self.certificate:
            if others:
                raise ValueError(f"a certificate needs its own Secret; put {', '.join(others)} into another Secret")
            if any(origin != CA_KEY for copy in self.copies for origin in copy.keys.values()):
                raise ValueError(
                    f"only {CA_KEY} of a certificate may be copied: the other keys belong to the server alone"
                )
        elif not self.generate and self.signing is None:
            raise ValueError("expected: generate, signing or certificate; the Secret would hold nothing secret")
        if self.published is not None and self.signing is None:
            raise ValueError("published is the public half of signing, and signing is missing")
        return self


class CredentialsFile(Strict):
    """The whole file."""

    secrets: Annotated[list[WantedSecret], Field(min_length=1)]


def load_credentials_file(path: Path) -> CredentialsFile:
    """The file, checked.

    Raises:
        CredentialsInvalid: the file is unreadable or invalid; names the field, the value and the expected value.
    """
    file = load_strict(path, CredentialsFile)
    for secret in file.secrets:
        for copy in secret.copies:
            if unknown := sorted(set(copy.keys.values()) - set(secret.keys)):
                raise CredentialsInvalid(
                    f"{path}: the copy {copy.namespace}/{copy.name} repeats {', '.join(unknown)}, "
                    f"which is not a key of {secret.namespace}/{secret.name}; it has {', '.join(secret.keys)}"
                )
    return file
