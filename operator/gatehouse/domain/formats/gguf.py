"""The format GGUF: the files of an artifact that make its model, from the metadata of each.

A model is one file, or all splits of one, as llama.cpp's gguf-split and gguf-py write them: NAME-00001-of-00003.gguf
with ``split.no``, ``split.count`` and ``split.tensors.count``. Only the first split must describe the model. llama.cpp
finds the others by the name of the first, so names and metadata must agree.

Other files may lie beside a model: projectors for images (by their name, by ``general.type`` or by the architecture
clip), importance matrices and adapters. These are checked like models and ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar, Final

from gatehouse.domain.artifact.layout import Layout
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.artifact.weight_sets import WeightSet, choice, named_sets, weight_sets
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats import gguf_header
from gatehouse.domain.formats.format import VLLM, Format, Inspection, InspectionStep, RuntimeSupport, WeightFacts
from gatehouse.domain.formats.gguf_header import GgufHeader, NeedMore
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.formats.parsers import Parser, Task, Walk, Want, opening
from gatehouse.domain.formats.shards import check_once

__all__ = ["FORMAT", "HEADER", "GgufSet", "gguf_set"]

_SPLIT: Final = re.compile(r"(?P<model>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
_ROLES: Final[Mapping[str, str]] = {
    "adapter": "a LoRA adapter",
    "imatrix": "an importance matrix",
    "mmproj": "a projector for images",
}
_EXPECTED: Final = "one model in one *.gguf file, or in all of its splits"
_SHOWN: Final = 3
_MOST_NOTES: Final = 16
_SPLIT_NOTE: Final = (
    "the model is split into {count} files: releases of vLLM that load a single GGUF file do not start with it. "
    "llama-gguf-split --merge makes one file of them"
)


def _header(task: Task) -> Walk[GgufHeader]:
    key = task.arguments.get("key")
    marking = None if key is None else bytes.fromhex(key)
    data = yield opening(task)
    while isinstance(header := gguf_header.parse(data, object_size=task.size, key=marking), NeedMore):
        data += yield Want(len(data), header.bytes_wanted - len(data))
    return header


HEADER: Final = Parser(name="gguf", walk=_header, result=GgufHeader, holds=gguf_header.MAX_HEADER, grows=True)


class Gguf(Format):
    """Weights and metadata in one file, or in splits of one."""

    name: ClassVar[ArtifactFormat] = "gguf"
    title: ClassVar = "GGUF"
    ending: ClassVar = ".gguf"
    expects: ClassVar = "one *.gguf file, or all of its splits"
    fit: ClassVar = "Weights"
    runtimes: ClassVar = {VLLM: RuntimeSupport(what="File", method="gguf", plugin="vllm-gguf-plugin")}
    parsers: ClassVar = (HEADER,)

    def inspect(self, layout: Layout, config: ModelConfig | None, *, key: str) -> Inspection:  # noqa: ARG002
        """Read every header, and sum up those of the model. The configuration is in the first of them."""
        # Only splits are compared with each other.
        headers: Mapping[str, GgufHeader] = yield InspectionStep(
            parser=HEADER,
            files=layout.weights,
            arguments={"key": key} if len(layout.weights) > 1 else {},
            tensors=lambda header: int(header.tensors),
        )
        if not headers or len(headers) < len(layout.weights):
            return WeightFacts()
        files = gguf_set(headers, key=bytes.fromhex(key))
        notes = tuple(f"ignored: {shown(path)}, {role}" for path, role in files.passed_over.items())[:_MOST_NOTES]
        if files.problem is not None:
            return WeightFacts(problems=(files.problem,), notes=notes)
        model = [headers[path] for path in files.model]
        split = (_SPLIT_NOTE.format(count=len(model)),) if len(model) > 1 else ()
        return replace(
            WeightFacts.summed(header.types for header in model),
            config=model[0].config,
            model_file=files.model[0],
            notes=(*notes, *split),
        )

    def loaded_bytes(self, summary: ArtifactSummary) -> int:
        """The bytes of the files, but 32-bit floats in half of their bytes."""
        return max(0, (summary.weights_bytes or 0) - 2 * summary.dtypes.get("F32", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufSet:
    """``model`` are the paths of the model's files, first the one that a server loads; empty with a ``problem``.

    ``passed_over`` describes each other file.
    """

    model: tuple[str, ...] = ()
    passed_over: Mapping[str, str] = field(default_factory=dict)
    problem: Finding | None = None


def gguf_set(headers: Mapping[str, GgufHeader], *, key: bytes) -> GgufSet:
    """Sort the files. ``headers`` has each header by its path, with marks by ``key``.

    Rules of the problem: WeightsMissing, AdapterOnly, AmbiguousWeights, SplitMismatch, ShardMissing, DuplicateTensor.
    """
    others = {path: role for path, header in headers.items() if (role := _role(path, header)) is not None}
    models = {path: header for path, header in headers.items() if path not in others}
    if not models:
        return GgufSet(passed_over=others, problem=_no_model(others))
    splits = {path: header for path, header in models.items() if header.split is not None or _SPLIT.fullmatch(path)}
    if len(models) == 1 and not splits:
        return GgufSet(model=tuple(models), passed_over=others)
    sets = weight_sets(models)
    if len(sets) > 1:  # the names of one set are all splits
        return GgufSet(passed_over=others, problem=_ambiguous(sets))
    problem = next((wrong for path, header in splits.items() if (wrong := _misnamed(path, header))), None)
    problem = problem or _incomplete(splits, key=key)
    return GgufSet(model=() if problem else tuple(sorted(splits)), passed_over=others, problem=problem)


def _role(path: str, header: GgufHeader) -> str | None:
    """The kind of a file that is no model."""
    architecture = header.config.model_type if header.config else None
    if "mmproj" in path.rpartition("/")[2].lower() or architecture == "clip":
        return _ROLES["mmproj"]
    return None if header.kind is None else _ROLES[header.kind]


def _misnamed(path: str, header: GgufHeader) -> Finding | None:
    named, split = _SPLIT.fullmatch(path), header.split
    says = f"split {split.number + 1} of {split.count}" if split else "a whole model"
    if named and split and (int(named["number"]), int(named["count"])) == (split.number + 1, split.count):
        return None
    if split is None and named and int(named["count"]) == 1 == int(named["number"]):
        return None
    return Finding(
        reason="SplitMismatch",
        found=f"{shown(path)}, whose metadata say that it is {says}",
        expected="splits that are named after their number, as NAME-00001-of-00003.gguf",
        remedy="Upload the splits under the names that llama-gguf-split gave them.",
    )


def _incomplete(splits: Mapping[str, GgufHeader], *, key: bytes) -> Finding | None:
    """Check well-named splits of one set: whether all exist, with all tensors, each tensor once."""
    first = next(iter(splits.values()))
    count = first.split.count if first.split else 1
    remedy = "Upload every split of the model."
    if len(splits) != count:
        # The names are well formed and of one set, so no name occurs twice.
        return Finding(
            reason="ShardMissing",
            found=f"{len(splits)} of {count} splits",
            expected=f"splits 00001 to {count:05}",
            remedy=remedy,
        )
    tensors = sum(header.tensors for header in splits.values())
    for path, header in splits.items():
        if header.split is not None and header.split.tensors != tensors:
            return Finding(
                reason="SplitMismatch",
                found=f"{tensors} tensors in all splits; {shown(path)} says {header.split.tensors}",
                expected="the splits of one model, from one run of llama-gguf-split",
                remedy=remedy,
            )
    try:
        check_once({path: header.marks for path, header in splits.items()}, key=key, remedy=remedy)
    except FormatError as error:
        return error.finding
    return None


def _no_model(others: Mapping[str, str]) -> Finding:
    roles = "; ".join(f"{shown(path)} is {role}" for path, role in islice(others.items(), _SHOWN))
    if _ROLES["adapter"] in others.values():
        return Finding(
            reason="AdapterOnly",
            found=f"no model: {roles}",
            expected="a whole model",
            remedy="Merge the adapter into its base model (llama-export-lora) and register the result.",
        )
    return Finding(
        reason="WeightsMissing",
        found=f"no model among the *.gguf files: {roles}" if others else "no *.gguf files",
        expected=_EXPECTED,
        remedy="Upload the model itself beside them.",
    )


def _ambiguous(sets: Sequence[WeightSet]) -> Finding:
    return Finding(
        reason="AmbiguousWeights",
        found=f"{len(sets)} models in {sum(len(members.paths) for members in sets)} *.gguf files: {named_sets(sets)}",
        expected=_EXPECTED,
        remedy=choice(sets),
    )


FORMAT: Final[Format] = Gguf()
