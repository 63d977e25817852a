"""The XML that S3 answers with, read without losing or altering a value: fields of the root and one repeated element.

All other elements of the answer are ignored. Depth, entries and the length of each value are bounded; a DOCTYPE is
refused, which excludes entity expansion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

__all__ = ["Document", "DocumentError", "DocumentShape", "error_code", "error_field", "read_document"]

_MAX_DEPTH = 16
_MAX_TEXT = 16_384
_MAX_ENTRIES = 10_000
_MAX_SENTENCE = 2_048


class DocumentError(ValueError):
    """The answer is not the requested document; the text says why, without quoting the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentShape:
    """The values to read: the root's name and ``fields``, and ``entry_fields`` of each ``entry`` below it."""

    root: str
    fields: frozenset[str]
    entry: str = ""
    entry_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values found, as text, by name."""

    fields: Mapping[str, str]
    entries: tuple[Mapping[str, str], ...]


def read_document(body: bytes, shape: DocumentShape) -> Document:
    """Read an answer. Raises DocumentError."""
    reader = _Reader(shape)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    # A DOCTYPE declares entities: without it, no entity expansion and no external reference is possible.
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise DocumentError(f"XML that is not well-formed at line {error.lineno}, column {error.offset}") from None
    return Document(fields=reader.fields, entries=tuple(reader.entries))


def error_code(body: bytes) -> str:
    """S3's code in the body of a refusal, or an empty string: letters, digits and ``. _ -``."""
    return error_field(body, "Code", pattern=r"[A-Za-z0-9._-]{1,64}")


def error_field(body: bytes, name: str, *, pattern: str = r"[^<]{1,2048}") -> str:
    """One field of a refusal's body, bytes that are not UTF-8 replaced; empty where the field is missing or too long.

    A body that is no XML, such as a proxy's page or a line of text, is its own Message.
    """
    hit = re.search(rf"<{name}>\s*({pattern})\s*</{name}>".encode(), body)
    if hit is not None:
        return hit[1].decode("utf-8", "replace")
    if name == "Message" and b"<Error" not in body:
        return body[:_MAX_SENTENCE].decode("utf-8", "replace")
    return ""


@dataclass(slots=True)
class _Reader:
    """The state of one parse: names of the open elements and the fields collected so far."""

    shape: DocumentShape
    open: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    entries: list[dict[str, str]] = field(default_factory=list)
    parts: list[str] | None = None
    length: int = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        local, shape = name.rpartition(" ")[2], self.shape
        if not self.open and local != shape.root:
            raise DocumentError(f"XML that is not a {shape.root}")
        if len(self.open) >= _MAX_DEPTH:
            raise DocumentError(f"XML nested deeper than {_MAX_DEPTH} levels")
        if self.parts is not None:
            raise DocumentError("an element inside a value")
        self.open.append(local)
        match self.open:
            case [_, leaf] if leaf == shape.entry:
                if len(self.entries) >= _MAX_ENTRIES:
                    raise DocumentError(f"more than {_MAX_ENTRIES} entries")
                self.entries.append({})
            case [_, entry, leaf] if entry == shape.entry and leaf in shape.entry_fields:
                self.parts, self.length = [], 0
            case [_, leaf] if leaf in shape.fields:
                self.parts, self.length = [], 0

    def text(self, data: str) -> None:
        if self.parts is not None:
            self.length += len(data)
            if self.length > _MAX_TEXT:
                raise DocumentError(f"a value of more than {_MAX_TEXT} characters")
            self.parts.append(data)

    def end(self, _name: str) -> None:
        local = self.open.pop()
        if self.parts is None:
            return
        holder = self.entries[-1] if len(self.open) == 2 else self.fields
        if local in holder:
            raise DocumentError(f"an entry with {local} twice")
        holder[local] = "".join(self.parts)
        self.parts = None

    def refuse_doctype(self, *_: object) -> None:
        raise DocumentError("XML with a DOCTYPE")
