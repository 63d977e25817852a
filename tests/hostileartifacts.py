"""Whole artifacts of which one file is hostile, each once the cause of seconds or days of work."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from hostile import SHAPES

__all__ = ["hostile_artifacts"]

_SIZE = 2_000_000
_UNENDED = b'{"a":{"b":' + b'\\"' * (_SIZE // 2)


def hostile_artifacts(good: Mapping[str, bytes]) -> dict[str, tuple[str, dict[str, bytes]]]:
    """Format and files of each by its name: those of a good artifact of safetensors with one put in their place."""
    without = {path: content for path, content in good.items() if "safetensors" not in path}
    return {
        "strings-that-do-not-end": ("safetensors", {**good, "config.json": b"[" * 65 + _UNENDED}),
        "a-header-that-does-not-end": ("safetensors", {**without, "model.safetensors": _framed(_UNENDED)}),
        "brackets": ("safetensors", {**good, "config.json": b'{"a":' + b"[]," * (_SIZE // 3)}),
        "an-index-of-many-shards": (
            "safetensors",
            {**good, "model.safetensors.index.json": _shaped("shards", "shards")},
        ),
        "external-entries": ("onnx", {**without, "model.onnx": _shaped("onnx", "external entries")}),
        "nodes": ("onnx", {**without, "model.onnx": _shaped("onnx", "numbers")}),
        "words": ("gguf", {**without, "model.gguf": _shaped("gguf", "words")[:-1]}),
        "deep-names": ("safetensors", {**good, **{f"{number}/{'a/' * 40}b.txt": b"x" for number in range(200)}}),
    }


def _shaped(parser: str, name: str) -> bytes:
    return next(shape for shape in SHAPES[parser] if shape.name == name).of(_SIZE)


def _framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header
