"""Files that nothing checks: they are only hashed. A policy has to permit the format, and answers for the files."""

from __future__ import annotations

from typing import ClassVar, Final

from gatehouse.domain.artifact.layout import Layout
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.formats.format import VLLM, Format, Inspection, RuntimeSupport, WeightFacts
from gatehouse.domain.formats.names import ArtifactFormat

__all__ = ["FORMAT"]


class OtherFormat(Format):
    """Weights of any format without a module of its own."""

    name: ClassVar[ArtifactFormat] = "other"
    title: ClassVar = "other"
    runtimes: ClassVar = {VLLM: RuntimeSupport(what="Folder")}

    def inspect(self, layout: Layout, config: ModelConfig | None, *, key: str) -> Inspection:  # noqa: ARG002
        """Nothing is read."""
        yield from ()
        return WeightFacts()


FORMAT: Final[Format] = OtherFormat()
