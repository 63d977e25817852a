"""Files that can run code when a model is loaded, and archives of unchecked files. Refused in every format.

Names decide, as they do for loaders: KServe's storage initializer unpacks a prefix that has one ``.zip`` or ``.tar``.
The first bytes decide too, because Python's readers of archives go by them: an archive under any other name is still an
archive. The first bytes also identify a pointer of Git LFS, which stands in the place of a file that was not fetched.

The endings are a deny-list. An allow-list is not possible: models have files of any name beside their weights, such as
``merges.txt``, ``dict.en`` and ``LICENSE``. ONNX has data under names that the exporter chooses, and the names of
format other are unknown. A missing ending must therefore not be enough to run code, and is not: loaders read only
weights of checked formats, configurations that name code are refused, and templates let no server load code of a model.
The list has the endings that a loader of models, or the language of that loader, runs by name: scripts, bytecode,
libraries, kernels of GPUs. The list omits files that a person must first compile or open, such as C, notebooks and
HTML.

Omitted on purpose: ``.npy`` and ``.npz``, whose readers refuse pickled objects by default; ``.model``, the vocabulary
of SentencePiece; ``.jinja``, chat templates, which servers render in a sandbox.
"""

from __future__ import annotations

import re
import tarfile
from typing import Final, Literal, TypeAlias

from gatehouse.domain.common.format_error import FormatError

__all__ = ["OPENING_BYTES", "Danger", "check_no_pickle", "check_opening", "danger_of", "ending_of", "named_as"]

Danger: TypeAlias = Literal["Pickle", "Code", "Archive"]

OPENING_BYTES: Final = 512
"""The number of bytes at a file's start that identify an archive."""

_KERAS = frozenset({"h5", "hdf5", "keras"})
"""Formats whose Lambda layers hold marshalled code."""
_PICKLE = _KERAS | frozenset(
    {"bin", "ckpt", "cloudpickle", "dill", "jit", "joblib", "mar", "nemo", "pickle", "pkl"}
    | {"pt", "pt2", "ptc", "pth", "ptl", "torchscript"}
)
"""Pickles, archives of pickles, and Keras files. Other tools also write files of their own that end in ``.bin``."""

_CODE = frozenset(
    {"bash", "bat", "cmd", "csh", "fish", "ksh", "ps1", "psm1", "sh", "vbs", "zsh"}
    | {"egg", "py", "pyc", "pyd", "pyo", "pyw", "pyx", "pyz", "whl"}
    | {"cjs", "cts", "js", "jsx", "mjs", "mts", "node", "ts", "tsx", "wasm"}
    | {"jl", "lua", "php", "pl", "pm", "r", "rb"}
    | {"class", "jar"}
    | {"dll", "dylib", "exe", "llamafile", "so"}
    | {"cubin", "fatbin", "hsaco", "ptx"}
)
"""Shells, Python, JavaScript and WebAssembly, other interpreters, Java, programs and libraries, kernels of GPUs."""
_ARCHIVE = frozenset(
    {"7z", "apk", "ar", "br", "bz", "bz2", "cab", "cpio", "crx", "deb", "ear", "gz", "iso", "lz", "lz4", "lzma", "lzo"}
    | {"oci", "rar", "rpm", "sar", "sif", "squashfs", "tar", "taz", "tb2", "tbz", "tbz2", "tgz", "tlz", "txz", "tz"}
    | {"tzst", "war", "xz", "z", "zip", "zipx", "zst", "zstd"}
)
"""Archives, and compressed files, whose content no check reads."""
_VERSIONED_LIBRARY = re.compile(r"\.so(\.[0-9]+)+$")

_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PK\x03\x04", "ZIP archive"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"PK\x07\x08", "ZIP archive"),
    (b"\x1f\x8b\x08", "gzip file"),
    (b"\xfd7zXZ\x00", "xz file"),
    (b"\x28\xb5\x2f\xfd", "Zstandard file"),
    (b"\x04\x22\x4d\x18", "LZ4 file"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"!<arch>\n", "ar archive"),
    (b"070701", "cpio archive"),
    (b"070702", "cpio archive"),
)
_PICKLE_OPENING = re.compile(rb"\x80[\x02-\x05]")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_LFS_POINTER: Final = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v1\n")
_LFS_SIZE: Final = re.compile(rb"^size ([0-9]{1,19})$", re.MULTILINE)
"""First and last line of https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md; a pointer has under 200 bytes."""


def danger_of(path: str) -> Danger | None:
    """Why the name of the file at ``path`` is unsafe, None if safe. Ignores case, and spaces and dots at the end."""
    ending = ending_of(path)
    if ending in _PICKLE:
        return "Pickle"
    if ending in _CODE or _VERSIONED_LIBRARY.search(_name(path)):
        return "Code"
    return "Archive" if ending in _ARCHIVE else None


def named_as(path: str) -> str | None:
    """The description of an unsafe file at ``path``; the name of a pickle alone does not prove that the file is one."""
    match danger_of(path):
        case "Pickle":
            kind = "Keras files" if ending_of(path) in _KERAS else "pickles"
            return f"with the ending of {kind}, which can run code"
        case "Code":
            return "which is code"
        case "Archive":
            return "which hides its content, and may be unpacked when a loader reads it"
    return None


def check_opening(path: str, opening: bytes) -> None:
    """Refuse a file whose first ``OPENING_BYTES`` are those of an archive, and a pointer to a file that is not here.

    A ``.npz`` is a ZIP and passes. Raises FormatError with the rules UnsafeFile and FileNotFetched.
    """
    if len(opening) < OPENING_BYTES and _LFS_POINTER.match(opening):
        size = _LFS_SIZE.search(opening)
        raise FormatError(
            "FileNotFetched",
            "a pointer of Git LFS" + (f" to {int(size[1])} bytes that are elsewhere" if size else ""),
            "the file itself",
            "Fetch the files, as with git lfs pull, and upload them again.",
        )
    kind = _archive(opening)
    if kind is not None and not (kind == "ZIP archive" and ending_of(path) == "npz"):
        raise FormatError(
            "UnsafeFile",
            f"the first bytes of a {kind}",
            "files that are only data: an archive hides its content",
            "Unpack it, remove it, and upload the files themselves.",
        )


def check_no_pickle(opening: bytes) -> None:
    """Refuse a file that begins like a pickle of protocol 2 or later, or an HDF5 file, as Keras writes.

    Checks data of a model under a name that pickles have. Raises FormatError with the rule UnsafeFile.
    """
    if _PICKLE_OPENING.match(opening) or opening.startswith(_HDF5):
        raise FormatError(
            "UnsafeFile",
            "the first bytes of a pickle or of an HDF5 file",
            "the data of a model's tensors",
            "Export the model again, with its data in a file of another name.",
        )


def _archive(opening: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if opening.startswith(magic):
            return kind
    if _BZIP2.match(opening):
        return "bzip2 file"
    return "tar archive" if _is_tar(opening[:OPENING_BYTES]) else None


def _is_tar(opening: bytes) -> bool:
    """Whether Python's reader, which KServe uses, accepts the bytes as the header of a tar; old tars have no magic."""
    try:
        tarfile.TarInfo.frombuf(opening, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _name(path: str) -> str:
    return path.rpartition("/")[2].lower().rstrip(" .")


def ending_of(path: str) -> str:
    """The text after the last dot of the name, in lower case, without spaces and dots at the end; empty if none."""
    _, dot, ending = _name(path).rpartition(".")
    return ending if dot else ""
