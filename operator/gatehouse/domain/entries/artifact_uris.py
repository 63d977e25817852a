"""URIs of artifacts in S3 as the Kubeflow dashboards write them, and as Gatehouse records them.

The dashboards fill the form of a deployment from ``s3://bucket/path?endpoint=https://..&defaultRegion=..``, and take a
URI without ``endpoint`` for an address of another kind. The location of the artifact is the part before the question
mark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.common.locations import store_for
from gatehouse.storage.providers.table import PROVIDERS, with_own_scheme

__all__ = ["ArtifactAddress", "outward", "read_artifact_uri", "write_artifact_uri"]

_SCHEMES: Final = tuple(f"{scheme}://" for scheme in PROVIDERS)
_ENDPOINT: Final = "endpoint"
_REGION: Final = "defaultRegion"
_MOST_WORDS: Final = 8
_KEPT: Final = ":/[]"
"""Characters of an address that the clients leave as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactAddress:
    """A URI without the words about its server, and these words, each empty if the URI does not have it."""

    uri: str
    endpoint: str = ""
    region: str = ""


def outward(registry: ModelRegistry) -> Callable[[str], str]:
    """The URI of an artifact as clients of a registry get it: with the endpoint and region of its store."""

    def written(uri: str) -> str:
        store = store_for(registry, uri)
        if store is None:
            return uri
        return write_artifact_uri(ArtifactAddress(uri=uri, endpoint=store.endpoint or "", region=store.region or ""))

    return written


def read_artifact_uri(text: str) -> ArtifactAddress:
    """The location that a client's URI names.

    ``minio://`` is another name of ``s3://``. A URI of another scheme, or one with other words after the question mark,
    is returned as it is. Never raises.
    """
    text = with_own_scheme(text)
    uri, mark, query = text.partition("?")
    if not mark or not text.startswith(_SCHEMES):
        return ArtifactAddress(uri=text)
    try:
        words = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=_MOST_WORDS))
    except ValueError:
        return ArtifactAddress(uri=text)
    if not words.keys() <= {_ENDPOINT, _REGION}:
        return ArtifactAddress(uri=text)
    return ArtifactAddress(uri=uri, endpoint=words.get(_ENDPOINT, ""), region=words.get(_REGION, ""))


def write_artifact_uri(address: ArtifactAddress) -> str:
    """The URI for clients: with its endpoint and region, if the address has them."""
    words = [(_ENDPOINT, address.endpoint), (_REGION, address.region)]
    query = "&".join(f"{word}={quote(value, safe=_KEPT)}" for word, value in words if value)
    return f"{address.uri}?{query}" if query else address.uri
