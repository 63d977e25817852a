"""The state of an object that a write was computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from gatehouse.api.meta import ANNOTATION_WRITER

__all__ = ["Revision"]


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of one object, and the process that wrote it; an empty name for a process without a mark."""

    uid: str
    resource_version: str
    writer: str = ""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """The revision in an object's metadata."""
        marks = metadata.get("annotations") or {}
        return cls(metadata.get("uid", ""), metadata.get("resourceVersion", ""), marks.get(ANNOTATION_WRITER, ""))
