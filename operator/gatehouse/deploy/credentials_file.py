"""The file that says which Secrets an installation needs. It holds no password and no key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from gatehouse.api.meta import DnsLabel
from gatehouse.deploy.errors import CredentialsInvalid

__all__ = ["CredentialsFile", "PublishedKey", "SecretCopy", "WantedSecret", "load_credentials_file"]

_LARGEST: Final = 262_144

Key = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]+$")]
Value = Annotated[str, StringConstraints(max_length=1024)]


class _Strict(BaseModel):
    """A misspelt field would mean a Secret without a password: unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SecretCopy(_Strict):
    """A Secret elsewhere that holds some keys of the source."""

    namespace: DnsLabel
    name: DnsLabel
    keys: dict[Key, Key]
    """Its keys, and for each the key of the source that it repeats."""
    values: dict[Key, Value] = Field(default_factory=dict)
    """What is in it besides: addresses, names; nothing secret."""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class PublishedKey(_Strict):
    """A ConfigMap for those who verify what was signed."""

    namespace: DnsLabel
    name: DnsLabel
    key: Key


class WantedSecret(_Strict):
    """A Secret that must be there."""

    namespace: DnsLabel
    name: DnsLabel
    values: dict[Key, Value] = Field(default_factory=dict)
    """Keys with values that are not secret, such as the name of a user."""
    generate: Annotated[list[Key], Field(min_length=1)] = Field(default_factory=list)
    """Keys that get a random password each."""
    signing: Key | None = None
    """Key that gets a private key, ed25519 in PEM."""
    published: PublishedKey | None = None
    """Where the public half of that is."""
    volume: DnsLabel | None = None
    """PersistentVolumeClaim of the database that is initialised with it."""
    copies: list[SecretCopy] = Field(default_factory=list)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that it must have."""
        return (*self.values, *self.generate, *([self.signing] if self.signing else ()))

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if not self.generate and self.signing is None:
            raise ValueError("wanted: generate, or signing; nothing in it would be secret")
        if self.published is not None and self.signing is None:
            raise ValueError("published is the public half of signing, which is not there")
        return self


class CredentialsFile(_Strict):
    """The whole file."""

    secrets: Annotated[list[WantedSecret], Field(min_length=1)]


def load_credentials_file(path: Path) -> CredentialsFile:
    """The file, checked.

    Raises:
        CredentialsInvalid: it cannot be read, or is not what it must be; with the field, the value and what is wanted.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise CredentialsInvalid(f"{path} has more than {_LARGEST} bytes; wanted: a list of Secrets")
        file = CredentialsFile.model_validate(yaml.safe_load(content))
    except OSError as error:
        raise CredentialsInvalid(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CredentialsInvalid(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        raise CredentialsInvalid(f"{path}: {_words(error)}") from error
    for wanted in file.secrets:
        for copy in wanted.copies:
            if unknown := sorted(set(copy.keys.values()) - set(wanted.keys)):
                raise CredentialsInvalid(
                    f"{path}: the copy {copy.namespace}/{copy.name} repeats {', '.join(unknown)}, "
                    f"which is no key of {wanted.namespace}/{wanted.name}; it has {', '.join(wanted.keys)}"
                )
    return file


def _words(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors())
