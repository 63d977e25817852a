"""The manifest of an artifact: text that `sha256sum -c` reads, and whose own SHA-256 is the artifact's digest."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["MAX_PATH_BYTES", "MAX_PATH_DEPTH", "ManifestEntry", "check_path", "digest", "parse", "render"]

MAX_PATH_BYTES = 1024
"""The longest key of an S3 object, in bytes of UTF-8."""
MAX_PATH_DEPTH = 32
"""The most folders and files that one path nests."""

_HEX = re.compile(r"[0-9a-f]{64}")
_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HOSTILE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file: its path below the artifact's prefix, its size in bytes, and its SHA-256 in lower-case hex."""

    path: str
    size: int
    sha256: str


def check_path(name: str | bytes) -> str:
    """Return `name` unchanged if it is safe in a manifest, a terminal and a file system.

    Raises FormatError with the rule HostileName.
    """
    path = _decoded(name)
    encoded = path.encode(errors="surrogatepass")
    if len(encoded) > MAX_PATH_BYTES:
        raise _hostile(name, f"at most {MAX_PATH_BYTES} bytes, not {len(encoded)}")
    if not path.isprintable():
        if any(unicodedata.category(character) in _HOSTILE_CATEGORIES for character in path):
            raise _hostile(name, "no control characters, line breaks or lone surrogates")
        if not _REORDERING.isdisjoint(path):
            raise _hostile(name, "no characters that reverse the reading direction")
    if "\\" in path:
        raise _hostile(name, "no backslash")
    if path == "-":
        raise _hostile(name, "a name that sha256sum does not take for its standard input")
    if path.count("/") >= MAX_PATH_DEPTH:
        raise _hostile(name, f"at most {MAX_PATH_DEPTH} levels, not {path.count('/') + 1}")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise _hostile(name, "a relative path without empty, `.` or `..` segments")
    return path


def render(entries: Iterable[ManifestEntry]) -> str:
    """Return the manifest: one line `<hex> <path>` for each file, sorted by path as UTF-8 bytes.

    Raises FormatError with the rules HostileName, ManifestInvalid (a path twice, or no SHA-256).
    """
    lines: dict[bytes, str] = {}
    for entry in entries:
        key = check_path(entry.path).encode()
        if key in lines:
            raise _refusal(f"the path {shown(entry.path)} twice", "each path once")
        if not _HEX.fullmatch(entry.sha256):
            raise _refusal(f"{shown(entry.sha256)} as SHA-256 of {shown(entry.path)}", "64 lower-case hex digits")
        lines[key] = f"{entry.sha256}  {entry.path}\n"
    return "".join(lines[key] for key in sorted(lines))


def digest(entries: Iterable[ManifestEntry]) -> str:
    """Return `sha256:` and the SHA-256 of the manifest's text. Raises what `render` raises."""
    return f"sha256:{hashlib.sha256(render(entries).encode()).hexdigest()}"


def parse(text: str) -> Mapping[str, str]:
    """Return the SHA-256 of each path of a manifest that `render` wrote.

    Raises FormatError with the rules HostileName, ManifestInvalid.
    """
    if text and not text.endswith("\n"):
        raise _refusal(f"a last line {shown(text.rpartition(chr(10))[2])} without its end", "the whole manifest")
    files: dict[str, str] = {}
    previous = b""
    for line in text.split("\n")[:-1]:
        sha256, separator, path = line[:64], line[64:66], line[66:]
        if not _HEX.fullmatch(sha256) or separator != "  ":
            raise _refusal(f"the line {shown(line)}", "`<64 hex digits>  <path>`")
        key = check_path(path).encode()
        if key <= previous:
            raise _refusal(f"{shown(path)} after {shown(previous)}", "each path once, sorted by its bytes")
        files[path], previous = sha256, key
    return files


def _decoded(name: str | bytes) -> str:
    if isinstance(name, str):
        return name
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise _hostile(name, "valid UTF-8") from None


def _hostile(name: str | bytes, allowed: str) -> FormatError:
    return FormatError(
        "HostileName",
        f"the object name {shown(name)}",
        allowed,
        "Rename or remove the object, then upload it again.",
    )


def _refusal(contents: str, allowed: str) -> FormatError:
    return FormatError("ManifestInvalid", contents, allowed, "Let Gatehouse write the manifest again.")
