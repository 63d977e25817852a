"""Which state of an object a write was computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from gatehouse.api.meta import ANNOTATION_WRITER

__all__ = ["Revision"]


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of one object, and which process wrote it; an empty name for one that left no mark."""

    uid: str
    resource_version: str
    writer: str = ""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """As the metadata of the object have it."""
        marks = metadata.get("annotations") or {}
        return cls(metadata.get("uid", ""), metadata.get("resourceVersion", ""), marks.get(ANNOTATION_WRITER, ""))
