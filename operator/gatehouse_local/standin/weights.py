"""The files of a model: whole, and hashed as Gatehouse hashes them."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["LoadedModel", "NotWhole", "load_model"]

INDEX: Final = "model.safetensors.index.json"
_SINGLE: Final = "model.safetensors"
_MANIFEST: Final = "gatehouse.manifest"
_NOT_COVERED: Final = frozenset({_MANIFEST, "model.sig"})
"""Gatehouse's own files beside a model, which its manifest does not cover."""
_LENGTH_BYTES: Final = 8
_LONGEST_HEADER: Final = 100_000_000
_LARGEST_JSON: Final = 64 << 20
_BLOCK: Final = 1 << 20
_BITS: Final = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}


class NotWhole(Exception):
    """The folder has no whole model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What was loaded: the digest of Gatehouse's manifest, each file's SHA-256, and the number of tensors."""

    digest: str
    files: Mapping[str, str]
    tensors: int


def load_model(folder: Path) -> LoadedModel:
    """Reads every file of a model in safetensors once.

    Raises:
        NotWhole: a file is missing, cut off or does not fit the others.
    """
    _read_json(folder / "config.json")
    shards = _shards(folder)
    found: dict[str, str] = {}
    for shard in sorted(set(shards.values())) or [_SINGLE]:
        for name in _tensors(folder / shard):
            if found.setdefault(name, shard) != shard:
                raise NotWhole(f"the tensor {name} is in {found[name]} and in {shard}")
    misplaced = sorted(name for name in found.keys() | shards.keys() if shards and shards.get(name) != found.get(name))
    if misplaced:
        raise NotWhole(f"{INDEX} and the shards differ about {len(misplaced)} tensors, such as {misplaced[0]}")
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in _files(folder)}
    manifest = "".join(f"{files[name]}  {name}\n" for name in sorted(files, key=str.encode)).encode()
    if (folder / _MANIFEST).exists() and (folder / _MANIFEST).read_bytes() != manifest:
        raise NotWhole(f"{_MANIFEST} has other hashes than the files")
    return LoadedModel(digest=f"sha256:{hashlib.sha256(manifest).hexdigest()}", files=files, tensors=len(found))


def _shards(folder: Path) -> dict[str, str]:
    """The shard of each tensor; none for a model in one file."""
    if not (folder / INDEX).exists():
        return {}
    weight_map = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise NotWhole(f"{INDEX} has no weight_map")
    shards = {str(name): str(shard) for name, shard in weight_map.items()}
    outside = [shard for shard in shards.values() if Path(shard).name != shard]
    if outside:
        raise NotWhole(f"{INDEX} names {outside[0]}, which is no file of the folder")
    return shards


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in _NOT_COVERED:
            yield path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise NotWhole(f"{path.name} is larger than {_LARGEST_JSON} bytes")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotWhole(f"{path.name} is missing in {path.parent}") from None
    except ValueError as error:
        raise NotWhole(f"{path.name} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise NotWhole(f"{path.name} is no JSON object")
    return value


def _tensors(path: Path) -> list[str]:
    """The names of the tensors of a file whose header and data fit together."""
    try:
        with path.open("rb") as handle:
            size = path.stat().st_size
            prefix = handle.read(_LENGTH_BYTES)
            if len(prefix) < _LENGTH_BYTES:
                raise NotWhole(f"{path.name} has {size} bytes, which is no safetensors file")
            (length,) = struct.unpack("<Q", prefix)
            if not 0 < length <= min(size - _LENGTH_BYTES, _LONGEST_HEADER):
                raise NotWhole(f"{path.name} has {size} bytes and promises a header of {length}")
            header = json.loads(handle.read(length))
    except FileNotFoundError:
        raise NotWhole(f"{path.name} is missing in {path.parent}") from None
    except ValueError as error:
        raise NotWhole(f"the header of {path.name} is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise NotWhole(f"the header of {path.name} is no JSON object")
    header.pop("__metadata__", None)
    end = 0
    for name, begin, stop in sorted((_span(path, name, entry) for name, entry in header.items()), key=lambda at: at[1]):
        if begin != end:
            raise NotWhole(f"{path.name} has a gap or an overlap before {name}")
        end = stop
    if _LENGTH_BYTES + length + end != size:
        raise NotWhole(f"{path.name} has {size} bytes, and its header promises {_LENGTH_BYTES + length + end}")
    return list(header)


def _span(path: Path, name: str, entry: Any) -> tuple[str, int, int]:
    try:
        begin, stop = entry["data_offsets"]
        bits = _BITS[entry["dtype"]] * math.prod(entry["shape"])
    except (KeyError, TypeError, ValueError):
        raise NotWhole(f"{path.name} has no valid entry for {name}") from None
    if (stop - begin) * 8 != bits:
        raise NotWhole(f"{name} of {path.name} has {stop - begin} bytes, and its shape asks for {bits // 8}")
    return name, begin, stop


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
