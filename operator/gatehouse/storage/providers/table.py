"""The stores that Gatehouse supports, by the scheme of their URIs, and the form of URIs that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gatehouse.storage.providers.provider import Provider
from gatehouse.storage.providers.s3 import S3

__all__ = [
    "ALIASES",
    "ARTIFACT_URI",
    "FOLDER_TEXT",
    "PREFIX_URI",
    "PROVIDERS",
    "examples",
    "schemes",
    "with_own_scheme",
]

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "s3": S3,
    }
)
"""One line for each kind of store."""
ALIASES: Final[Mapping[str, str]] = MappingProxyType({"minio": "s3"})
"""Schemes that clients write for a scheme of the table. Objects and rows of what is governed have the table's."""


def with_own_scheme(uri: str) -> str:
    """The URI of a client with the scheme of its provider, where the client wrote another name of that."""
    scheme, separator, path = uri.partition("://")
    return f"{ALIASES[scheme]}{separator}{path}" if separator and scheme in ALIASES else uri


def schemes() -> str:
    """The schemes for messages, as in ``s3://``."""
    return " or ".join(f"{scheme}://" for scheme in PROVIDERS)


def examples() -> str:
    """A URI of each provider, for messages."""
    return " or ".join(provider.example for provider in PROVIDERS.values())


def _any(path: Callable[[Provider], str]) -> str:
    patterns = [provider.pattern(path(provider)) for provider in PROVIDERS.values()]
    return patterns[0] if len(patterns) == 1 else f"({'|'.join(patterns)})"


ARTIFACT_URI: Final = f"^{_any(lambda provider: f'(/[{provider.characters}]+)+/?')}$"
"""The URI of an artifact: a folder below a bucket."""
PREFIX_URI: Final = f"^{_any(lambda provider: f'(/[{provider.characters}]+)*/')}$"
"""A prefix of URIs: a bucket or a folder, with a slash at its end."""
FOLDER_TEXT: Final = _any(lambda provider: f"/[/{provider.characters}]{{0,1024}}")
"""A text that names a bucket, and below it only characters of URIs, in any order."""
