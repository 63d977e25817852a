"""One page of ListObjectsV2 or ListObjectVersions, read without losing or altering a name.

Names come escaped (``encoding-type=url``) where the store supports it, so that any byte survives. A store that does
not must write them as XML text; what XML cannot carry then makes the page invalid, or arrives as U+FFFD, which
:mod:`gatehouse.domain.artifact.layout` refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from gatehouse.storage.s3.xml import DocumentError, DocumentShape, read_document

__all__ = ["ListedKey", "ListingPage", "parse_page", "parse_versions_page"]

_MAX_KEY_BYTES = 1_024
_ETAG = re.compile(r"[\x21-\x7e]{1,256}")
_VERSION = re.compile(r"[\x21-\x7e]{1,1024}")
_MODIFIED = re.compile(r"[0-9TZ:.+-]{1,64}")
_SIZE = re.compile(r"[0-9]{1,19}")

_PAGE: Final = DocumentShape(
    root="ListBucketResult",
    fields=frozenset({"EncodingType", "IsTruncated", "NextContinuationToken"}),
    entry="Contents",
    entry_fields=frozenset({"Key", "Size", "ETag", "LastModified", "StorageClass"}),
)

_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE", "ARCHIVE", "Archive", "ColdArchive", "DeepColdArchive"})
"""Classes of AWS, Tencent COS and Alibaba OSS whose objects may need a restore first: only the store knows whether they
do. GLACIER_IR is readable at once, and so is the ARCHIVE of Google."""

_VERSIONS_PAGE: Final = DocumentShape(
    root="ListVersionsResult",
    fields=frozenset({"EncodingType", "IsTruncated", "NextKeyMarker", "NextVersionIdMarker"}),
    entry="Version",
    entry_fields=frozenset({"Key", "Size", "ETag", "LastModified", "StorageClass", "VersionId", "IsLatest"}),
)


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One object: its whole key (bytes that are not UTF-8 as lone surrogates), size in bytes, ETag for If-Match, and
    LastModified as the store writes it. ``version_id`` is empty in a listing without versions. ``archive`` is the
    storage class if its objects must be restored before a read, and empty otherwise."""

    key: str
    size: int
    etag: str
    modified: str
    version_id: str = ""
    archive: str = ""


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Up to 1,000 keys, and the parameters of the next page, if any."""

    keys: tuple[ListedKey, ...]
    following: Mapping[str, str] | None


def parse_page(body: bytes) -> ListingPage:
    """Read a page. Raises DocumentError."""
    page = read_document(body, _PAGE)
    escaped = page.fields.get("EncodingType") == "url"
    truncated = page.fields.get("IsTruncated") == "true"
    token = page.fields.get("NextContinuationToken")
    if truncated and not token:
        raise DocumentError("a truncated listing without NextContinuationToken")
    return ListingPage(
        keys=tuple(_listed(entry, escaped=escaped) for entry in page.entries),
        following={"continuation-token": token} if truncated and token else None,
    )


def parse_versions_page(body: bytes) -> ListingPage:
    """Read a page of ListObjectVersions: for each object, the version that a read without a version returns.

    Raises DocumentError.
    """
    page = read_document(body, _VERSIONS_PAGE)
    escaped = page.fields.get("EncodingType") == "url"
    truncated = page.fields.get("IsTruncated") == "true"
    marker, version = page.fields.get("NextKeyMarker"), page.fields.get("NextVersionIdMarker")
    if truncated and not marker:
        raise DocumentError("a truncated listing without NextKeyMarker")
    following = {
        "key-marker": _key(marker or "", escaped=escaped),
        **({"version-id-marker": version} if version else {}),
    }
    return ListingPage(
        keys=tuple(_version(entry, escaped=escaped) for entry in page.entries if entry.get("IsLatest") == "true"),
        following=following if truncated else None,
    )


def _version(entry: Mapping[str, str], *, escaped: bool) -> ListedKey:
    version = entry.get("VersionId")
    if version is None or not _VERSION.fullmatch(version):
        raise DocumentError("an object without a plain VersionId")
    return replace(_listed(entry, escaped=escaped), version_id=version)


def _key(key: str, *, escaped: bool) -> str:
    """The key itself; bytes that are not UTF-8 as lone surrogates."""
    return unquote_to_bytes(key.replace("+", " ")).decode("utf-8", "surrogateescape") if escaped else key


def _listed(entry: Mapping[str, str], *, escaped: bool) -> ListedKey:
    key, size, etag = entry.get("Key"), entry.get("Size"), entry.get("ETag")
    if not key:
        raise DocumentError("an object without Key")
    key = _key(key, escaped=escaped)
    if len(key.encode("utf-8", "surrogateescape")) > _MAX_KEY_BYTES:
        raise DocumentError(f"a key of more than {_MAX_KEY_BYTES} bytes")
    if size is None or not _SIZE.fullmatch(size):
        raise DocumentError("an object without a whole number as Size")
    if etag is None or not _ETAG.fullmatch(etag):
        raise DocumentError("an object without a plain ETag, so that a change while it is read could not be noticed")
    modified = entry.get("LastModified")
    if modified is None or not _MODIFIED.fullmatch(modified):
        raise DocumentError("an object without LastModified, so that a change with the same ETag could not be noticed")
    stored_in = entry.get("StorageClass", "")
    return ListedKey(key, int(size), etag, modified, archive=stored_in if stored_in in _ARCHIVES else "")
