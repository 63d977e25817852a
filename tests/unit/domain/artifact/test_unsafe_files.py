"""Archives by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES, check_opening
from gatehouse.domain.common.format_error import FormatError
from modelfiles import gguf_file, safetensors_file


def zipped(content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.py", content)
    return buffer.getvalue()


def tarred(format_: int = tarfile.GNU_FORMAT, *, name: str = "evil.py") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def old_tar() -> bytes:
    """A header of Unix V7, which has no magic number, only its checksum."""
    header = bytearray(tarred(tarfile.USTAR_FORMAT)[:OPENING_BYTES])
    header[257:] = bytes(OPENING_BYTES - 257)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + bytes(1024)


def nameless_tar() -> bytes:
    """Its first entry has no name and a checksum in base 256."""
    header = bytearray(tarred()[:OPENING_BYTES])
    header[:100] = bytes(100)
    header[148:156] = b" " * 8
    header[148:156] = b"\x80" + sum(header).to_bytes(7, "big")
    return bytes(header) + tarred()


def empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


ARCHIVES = {
    "zip": zipped(),
    "empty zip": empty_zip(),
    "gnu tar": tarred(),
    "pax tar": tarred(tarfile.PAX_FORMAT),
    "ustar": tarred(tarfile.USTAR_FORMAT),
    "v7 tar": old_tar(),
    "tar without a first name": nameless_tar(),
    "gzip": gzip.compress(b"x"),
    "bzip2": bz2.compress(b"x"),
    "empty bzip2": bz2.compress(b""),
    "xz": lzma.compress(b"x"),
    "zstd": bytes.fromhex("28b52ffd"),
}


@pytest.mark.parametrize("kind", sorted(ARCHIVES))
def test_an_archive_is_refused_whatever_its_name(kind: str) -> None:
    for path in ("model.safetensors", "weights", "sub/notes.txt"):
        with pytest.raises(FormatError) as raised:
            check_opening(path, ARCHIVES[kind][:OPENING_BYTES])
        assert raised.value.finding.reason == "UnsafeFile"


def test_the_old_tar_is_one() -> None:
    with tarfile.open(fileobj=io.BytesIO(old_tar())) as archive:
        assert archive.getnames() == ["evil.py"]


def test_arrays_of_numpy_are_zip_archives_by_right() -> None:
    check_opening("arrays.npz", zipped()[:OPENING_BYTES])
    with pytest.raises(FormatError):
        check_opening("arrays.npz", tarred()[:OPENING_BYTES])


def test_models_are_no_archives() -> None:
    for data in (safetensors_file({"a": ("BF16", (4, 4))}), gguf_file(), b"", b"{}", bytes(4096), b"P", b"BZh9"):
        check_opening("model.safetensors", data[:OPENING_BYTES])


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4a" * 32 + b"\nsize 117979485\n"


@pytest.mark.parametrize("path", ["model.safetensors", "onnx/model.onnx", "tokenizer.json"])
def test_a_file_that_git_lfs_did_not_fetch_is_told_as_that(path: str) -> None:
    with pytest.raises(FormatError, match="Git LFS to 117979485 bytes that are elsewhere") as raised:
        check_opening(path, POINTER)
    assert raised.value.finding.reason == "FileNotFetched"
    assert "git lfs pull" in raised.value.finding.remedy


@given(end=st.binary(max_size=100))
def test_a_pointer_of_any_ending_is_told(end: bytes) -> None:
    """Extensions have lines of their own, and an old client may have written no size."""
    with pytest.raises(FormatError) as raised:
        check_opening("model.safetensors", POINTER.split(b"oid")[0] + end)
    assert raised.value.finding.reason == "FileNotFetched"


def test_a_text_about_pointers_is_none() -> None:
    check_opening("README.md", b"# Pointers\n" + POINTER)
    check_opening("README.md", (POINTER + bytes(OPENING_BYTES))[:OPENING_BYTES])


NAMES = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="/"), min_size=1, max_size=60
)


@given(name=NAMES, format_=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_whatever_tarfile_writes_is_refused(name: str, format_: int) -> None:
    with pytest.raises(FormatError):
        check_opening("weights", tarred(format_, name=name)[:OPENING_BYTES])


@given(data=st.binary(min_size=OPENING_BYTES, max_size=OPENING_BYTES))
def test_what_no_reader_of_archives_opens_is_let_through(data: bytes) -> None:
    try:
        check_opening("weights", data)
    except FormatError:
        pytest.fail("random bytes are an archive with a chance of one in millions")
