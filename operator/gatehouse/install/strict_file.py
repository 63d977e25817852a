"""Small YAML files that describe an installation. Unknown fields are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gatehouse.install.errors import CredentialsInvalid

__all__ = ["Strict", "load_strict", "read_bounded"]

_LARGEST: Final = 262_144

File = TypeVar("File", bound="Strict")


class Strict(BaseModel):
    """Refuses unknown fields: a misspelt field would cause a Secret without a password, or a user with other rights."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load_strict(path: Path, kind: type[File]) -> File:
    """The file, checked.

    Raises:
        CredentialsInvalid: the file is unreadable or invalid; names the field, the value and the expected value.
    """
    content = read_bounded(path)
    try:
        return kind.model_validate(yaml.safe_load(content))
    except yaml.YAMLError as error:
        raise CredentialsInvalid(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        raise CredentialsInvalid(f"{path}: {_words(error)}") from error


def read_bounded(path: Path) -> bytes:
    """The content of a file of at most 256 KiB.

    Raises:
        CredentialsInvalid: the file is unreadable or larger.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(_LARGEST + 1)
    except OSError as error:
        raise CredentialsInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise CredentialsInvalid(f"{path} has more than {_LARGEST} bytes; expected: a small file")
    return content


def _words(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors())
