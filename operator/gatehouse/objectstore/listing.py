"""One page of ListObjectsV2, read without losing or altering a name.

Names come escaped (``encoding-type=url``) where the store supports it, so that any byte survives. A store that does
not must write them as XML text; what XML cannot carry then makes the page invalid, or arrives as U+FFFD, which
:mod:`gatehouse.domain.layout` refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

__all__ = ["ListedKey", "ListingPage", "PageError", "error_code", "parse_page"]

_MAX_DEPTH = 16
_MAX_TEXT = 16_384
_MAX_KEY_BYTES = 1_024
_ETAG = re.compile(r"[\x21-\x7e]{1,256}")
_SIZE = re.compile(r"[0-9]{1,19}")
_ERROR_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9]{1,64})\s*</Code>")

_ROOT = "ListBucketResult"
_PAGE_FIELDS = frozenset({"EncodingType", "IsTruncated", "NextContinuationToken"})
_KEY_FIELDS = frozenset({"Key", "Size", "ETag"})


class PageError(ValueError):
    """The answer is not a page of ListObjectsV2; its text says why, quoting nothing of the answer."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One object: its whole key (bytes that are not UTF-8 as lone surrogates), size in bytes, ETag for If-Match."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Up to 1,000 keys, and the token of the next page if there is one."""

    keys: tuple[ListedKey, ...]
    next_token: str | None


def error_code(body: bytes) -> str:
    """S3's code in the body of a refusal, or an empty string."""
    found = _ERROR_CODE.search(body)
    return found[1].decode("ascii") if found else ""


def parse_page(body: bytes) -> ListingPage:
    """Read a page. Raises PageError."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    # Entities are declared in a DOCTYPE: no DOCTYPE, no entity expansion and no external reference.
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise PageError(f"XML that is not well-formed at line {error.lineno}, column {error.offset}") from None
    return reader.page()


@dataclass(slots=True)
class _Reader:
    """The state of one parse: names of the open elements and the fields collected so far."""

    open: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    contents: list[dict[str, str]] = field(default_factory=list)
    parts: list[str] | None = None
    length: int = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if not self.open and local != _ROOT:
            raise PageError("XML that is not a ListBucketResult")
        if len(self.open) >= _MAX_DEPTH:
            raise PageError(f"XML nested deeper than {_MAX_DEPTH} levels")
        if self.parts is not None:
            raise PageError("an element inside a value")
        self.open.append(local)
        match self.open:
            case [_, "Contents"]:
                self.contents.append({})
            case [_, "Contents", wanted] if wanted in _KEY_FIELDS:
                self.parts, self.length = [], 0
            case [_, wanted] if wanted in _PAGE_FIELDS:
                self.parts, self.length = [], 0

    def text(self, data: str) -> None:
        if self.parts is not None:
            self.length += len(data)
            if self.length > _MAX_TEXT:
                raise PageError(f"a value of more than {_MAX_TEXT} characters")
            self.parts.append(data)

    def end(self, _name: str) -> None:
        local = self.open.pop()
        if self.parts is None:
            return
        holder = self.contents[-1] if len(self.open) == 2 else self.fields
        if local in holder:
            raise PageError(f"an entry with {local} twice")
        holder[local] = "".join(self.parts)
        self.parts = None

    def refuse_doctype(self, *_: object) -> None:
        raise PageError("XML with a DOCTYPE")

    def page(self) -> ListingPage:
        escaped = self.fields.get("EncodingType") == "url"
        truncated = self.fields.get("IsTruncated") == "true"
        token = self.fields.get("NextContinuationToken")
        if truncated and not token:
            raise PageError("a truncated listing without NextContinuationToken")
        return ListingPage(
            keys=tuple(_listed(entry, escaped=escaped) for entry in self.contents),
            next_token=token if truncated else None,
        )


def _listed(entry: dict[str, str], *, escaped: bool) -> ListedKey:
    key, size, etag = entry.get("Key"), entry.get("Size"), entry.get("ETag")
    if not key:
        raise PageError("an object without Key")
    if escaped:
        key = unquote_to_bytes(key.replace("+", " ")).decode("utf-8", "surrogateescape")
    if len(key.encode("utf-8", "surrogateescape")) > _MAX_KEY_BYTES:
        raise PageError(f"a key of more than {_MAX_KEY_BYTES} bytes")
    if size is None or not _SIZE.fullmatch(size):
        raise PageError("an object without a whole number as Size")
    if etag is None or not _ETAG.fullmatch(etag):
        raise PageError("an object without a plain ETag, so that a change while it is read could not be noticed")
    return ListedKey(key, int(size), etag)
