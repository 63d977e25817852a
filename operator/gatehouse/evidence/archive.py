"""The file of a bundle: a zip whose every byte follows from its entries.

Entries are sorted, have one fixed time and are stored, not deflated, because zlib versions write different bytes.
The reader can therefore rewrite a bundle from its entries and detect every changed byte. No entry can expand.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Final

from gatehouse.domain.common.format_error import shown
from gatehouse.evidence.errors import BundleBroken

__all__ = ["LARGEST_BUNDLE", "MOST_ENTRIES", "pack", "unpack"]

LARGEST_BUNDLE: Final = 256 * 1024 * 1024
"""Bytes."""
MOST_ENTRIES: Final = 1_000
_NAME: Final = re.compile(r"[a-z0-9][A-Za-z0-9._-]{0,99}(/[a-z0-9][A-Za-z0-9._-]{0,299})?")
"""Names with at most one folder, and never outside the bundle."""
_END: Final = struct.Struct("<4s4H2LH")
"""The end of central directory record (APPNOTE.TXT, 4.3.16), without a comment."""
_LARGEST_ROW: Final = 46 + 401
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_FILE_MODE: Final = 0o100644 << 16


def pack(entries: Mapping[str, bytes]) -> bytes:
    """The zip. Raises ValueError for an invalid name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name} is no name of an entry")
            archive.writestr(_info(name), entries[name])
    return buffer.getvalue()


def unpack(data: bytes) -> Mapping[str, bytes]:
    """The entries of a zip that :func:`pack` wrote.

    Raises:
        BundleBroken: the data is not such a zip, byte for byte.
    """
    if len(data) > LARGEST_BUNDLE:
        raise BundleBroken(f"the file has more than {LARGEST_BUNDLE} bytes")
    try:
        entries = _read(data)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise BundleBroken(f"the file is no zip of evidence: {shown(str(error))}") from None
    if pack(entries) != data:
        raise BundleBroken(
            "the zip is not as Gatehouse writes it: something was added, or bytes around the entries changed"
        )
    return entries


def _read(data: bytes) -> dict[str, bytes]:
    _check_end(data)
    entries: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = archive.infolist()
        # Two entries cannot share bytes, so all entries together are no larger than the file.
        if sum(info.file_size for info in listed) > len(data):
            raise BundleBroken("the entries of the zip are larger than the file")
        for info in listed:
            if info.filename in entries or not _NAME.fullmatch(info.filename):
                raise BundleBroken(f"the zip has an entry {shown(info.filename)}, twice or with a name that none has")
            if info.compress_type != zipfile.ZIP_STORED:
                raise BundleBroken(f"the entry {info.filename} is compressed")
            entries[info.filename] = archive.read(info)
    return entries


def _check_end(data: bytes) -> None:
    """Checks the size of the table of entries before reading the table: the end of a zip states the size."""
    end = data[-_END.size :]
    if len(end) < _END.size:
        raise BundleBroken("the file is no zip of evidence: it is too short")
    signature, _, _, _, entries, table, _, comment = _END.unpack(end)
    if signature != b"PK\x05\x06" or comment or data[-_END.size - 20 :][:4] == b"PK\x06\x07":
        raise BundleBroken("the file is no zip of evidence: it does not end as one")
    if entries > MOST_ENTRIES or table > MOST_ENTRIES * _LARGEST_ROW:
        raise BundleBroken(f"the zip has {entries} entries in {table} bytes, expected at most {MOST_ENTRIES}")


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_TIME)
    info.create_system = _UNIX
    info.external_attr = _FILE_MODE
    return info
