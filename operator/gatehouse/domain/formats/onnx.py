"""The format ONNX: one or more models, each in a ``*.onnx`` file, with data beside it that the model names.

The data of a model may lie in files of any name, even the name of a pickle.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Final

from gatehouse.domain.artifact.layout import Layout
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES, check_no_pickle
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.formats.format import Format, Inspection, InspectionStep, WeightFacts
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.formats.onnx_graph import OnnxGraph, OnnxScan
from gatehouse.domain.formats.parsers import Parser, Sound, Task, Walk, Want, opening

__all__ = ["FORMAT", "GRAPH"]


def _graph(task: Task) -> Walk[OnnxGraph]:
    scan = OnnxScan(task.size)
    first = yield opening(task)
    answer = scan.step()
    while isinstance(answer, Want):
        end = min(answer.offset + answer.length, task.size)
        if end <= len(first):
            data = first[answer.offset : end]
        else:
            data = yield Want(answer.offset, end - answer.offset)
        answer = scan.step(data)
    return answer


def _data(task: Task) -> Walk[Sound]:
    check_no_pickle((yield Want(0, min(OPENING_BYTES, task.size))))
    return Sound()


GRAPH: Final = Parser(name="onnx", walk=_graph, result=OnnxGraph, inline=16_384, holds=4 * 1_048_576, grows=True)
DATA: Final = Parser(name="onnx-data", walk=_data, result=Sound, inline=sys.maxsize, holds=OPENING_BYTES)
"""Of data of any size, the walk reads only the first bytes."""


class Onnx(Format):
    """Graphs with weights, inside and beside them."""

    name: ClassVar[ArtifactFormat] = "onnx"
    title: ClassVar = "ONNX"
    ending: ClassVar = ".onnx"
    expects: ClassVar = "at least one *.onnx file"
    names_its_data: ClassVar = True
    parsers: ClassVar = (GRAPH, DATA)

    def inspect(self, layout: Layout, config: ModelConfig | None, *, key: str) -> Inspection:  # noqa: ARG002
        """Read every graph, check the files that the graphs name as their data, and sum up the weights."""
        graphs: Mapping[str, OnnxGraph] = yield InspectionStep(parser=GRAPH, files=layout.weights)
        sizes = {stored.path: stored.size for stored in layout.files}
        problems: list[Finding] = []
        beside: set[str] = set()
        for path, graph in graphs.items():
            external = _external(path, graph)
            beside |= external.keys()
            problems.extend(_problems(path, external, sizes))
        yield InspectionStep(parser=DATA, files=[stored for stored in layout.suspects if stored.path in beside])
        told = [graph.dtypes for graph in graphs.values() if graph.parameters is not None]
        complete = told and len(told) == len(layout.weights)
        return replace(
            WeightFacts.summed(told) if complete else WeightFacts(),
            problems=tuple(problems),
            suspects=tuple(stored.path for stored in layout.suspects if stored.path not in beside),
        )


def _external(path: str, graph: OnnxGraph) -> Mapping[str, int]:
    """Each file that holds tensors of the model at ``path``, with the least size in bytes that it must have."""
    folder = path[: path.rfind("/") + 1]
    return {folder + location: least for location, least in graph.external.items()}


def _problems(path: str, external: Mapping[str, int], sizes: Mapping[str, int]) -> Iterator[Finding]:
    """The problems of the data of one model; ``sizes`` has the size of each file of the artifact in bytes.

    Rules: ExternalDataMissing, ExternalDataTruncated.
    """
    for beside, least in external.items():
        size = sizes.get(beside)
        if size is None or size < least:
            yield Finding(
                reason="ExternalDataMissing" if size is None else "ExternalDataTruncated",
                found=f"{shown(beside)}: " + ("no such file" if size is None else f"{size} bytes"),
                expected=f"at least {least} bytes, as {shown(path)} says",
                remedy="Upload the file whole.",
            )


FORMAT: Final[Format] = Onnx()
