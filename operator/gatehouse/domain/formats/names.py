"""The names of the formats of artifacts: one line for each format, whose module in this package has the same name.

The enumeration of the kinds, the choices of the commands and the table of formats come from this list. The module
imports nothing, so that the kinds and the help of the commands may import it.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["DEFAULT_FORMAT", "ArtifactFormat"]

ArtifactFormat = Literal[
    "safetensors",
    "gguf",
    "onnx",
    "other",
]
"""In the order in which a folder with weights of several formats is read."""

DEFAULT_FORMAT: Final[ArtifactFormat] = "safetensors"
"""The format of artifacts that name none, and the one that messages advise to convert weights to."""
