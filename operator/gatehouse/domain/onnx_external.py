"""The files beside an ONNX model that tensors lie in, by the names that they have in the artifact.

The ending of their names is free: a file that has the name of a pickle may be plain data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatehouse.domain.artifact import Problem
from gatehouse.domain.format_error import shown
from gatehouse.domain.onnx_facts import OnnxGraph

__all__ = ["files_of", "problems_of"]


def files_of(path: str, graph: OnnxGraph) -> Mapping[str, int]:
    """Each file that tensors of the model at ``path`` lie in, to the bytes that it must at least have."""
    folder = path[: path.rfind("/") + 1]
    return {folder + location: least for location, least in graph.external.items()}


def problems_of(path: str, external: Mapping[str, int], sizes: Mapping[str, int]) -> Iterator[Problem]:
    """What is wrong with the files of ``files_of``; ``sizes`` is each file of the artifact with its bytes.

    Rules: ExternalDataMissing, ExternalDataTruncated.
    """
    for beside, least in external.items():
        size = sizes.get(beside)
        if size is None or size < least:
            yield Problem(
                rule="ExternalDataMissing" if size is None else "ExternalDataTruncated",
                found=f"{shown(beside)}: " + ("no such file" if size is None else f"{size} bytes"),
                wanted=f"at least {least} bytes, as {shown(path)} says",
                remedy="Upload the file whole.",
            )
