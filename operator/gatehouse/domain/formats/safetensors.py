"""The format safetensors: a folder in the layout of Hugging Face, with config.json and all weights at the top.

A model is one file, or shards and an index that says which tensor is in which of them. vLLM reads the shards of the
index, and without an index every ``*.safetensors`` file at the top. transformers reads ``model.safetensors`` where this
file exists. Files that the index does not name, and files in folders, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from gatehouse.domain.artifact.foreign import left_by
from gatehouse.domain.artifact.layout import CONFIG, Layout, Parts
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.artifact.weight_sets import choice, named_sets, weight_sets
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, listed, shown
from gatehouse.domain.formats import safetensors_header as headers
from gatehouse.domain.formats.format import (
    OTHER_ADVICE,
    VLLM,
    Format,
    Inspection,
    InspectionStep,
    RuntimeSupport,
    WeightFacts,
)
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.formats.parsers import OPENING, DtypeTotal, Parser, Task, Walk, Want, opening, whole
from gatehouse.domain.formats.safetensors_header import ShardIndex
from gatehouse.domain.formats.safetensors_layouts import foreign_layout, model_folders
from gatehouse.domain.formats.shards import Marks, check_once, has_mark

__all__ = ["BESIDE", "FORMAT", "HEADER", "INDEX", "ShardSet", "TensorFile", "check_index", "single_and_index"]

INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
BESIDE: Final = ("consolidated", "adapter")
"""Beginnings of names: Mistral's own form of the weights, and adapters. Publishers put both beside a model."""
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_REMEDY: Final = "Write the model again with safetensors and upload every file whole."


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """A safetensors file. ``marks`` are those of its tensors' names, where the caller gave a key for them.

    :class:`gatehouse.domain.formats.safetensors_header.Roles` sums up the rest.
    """

    tensors: int
    parameters: int
    tensor_bytes: int
    dtypes: Mapping[str, DtypeTotal]
    marks: Marks
    head_bytes: int = 0
    unloaded_bytes: int = 0
    plain: int = 0
    packed_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """The shards that an index names."""

    shards: tuple[str, ...]


def _header(task: Task) -> Walk[TensorFile]:
    first = yield opening(task)
    start = headers.HEADER_LENGTH_BYTES
    length = headers.header_length(first[:start], task.size)
    data = first[start : start + length]
    if len(data) < length:
        data = yield Want(start, length)
    header = headers.parse_header(data, object_size=task.size, layers=task.arguments.get("layers", 0))
    key = task.arguments.get("key")
    return TensorFile(
        tensors=len(header.names),
        parameters=header.parameters,
        tensor_bytes=header.tensor_bytes,
        dtypes=header.dtypes,
        marks=Marks() if key is None else Marks.of(header.names, key=bytes.fromhex(key)),
        head_bytes=header.roles.head_bytes,
        unloaded_bytes=header.roles.unloaded_bytes,
        plain=header.roles.plain,
        packed_bits=header.roles.packed_bits,
    )


def _shards(task: Task) -> Walk[ShardSet]:
    """Check the index of shards (an object of 0 bytes where the artifact has none) against the ``marks`` of every
    shard.

    ``files`` are the paths that exist.
    """
    key = bytes.fromhex(task.arguments["key"])
    marks = {path: Marks(text) for path, text in task.arguments["marks"].items()}
    if not task.size:
        check_once(marks, key=key, remedy=_REMEDY)
        return ShardSet(shards=tuple(sorted(marks)))
    index = headers.parse_index((yield whole(task)))
    headers.check_there(index, frozenset(task.arguments["files"]))
    named = {shard: marks[shard] for shard in index.shards if shard in marks}
    if len(named) == len(index.shards):
        check_index(index, named, key=key)
        check_once(named, key=key, remedy=_REMEDY, named=index.weight_map)
    return ShardSet(shards=index.shards)


def check_index(index: ShardIndex, shards: Mapping[str, Marks], *, key: bytes) -> None:
    """Check that every tensor of the index is in the shard that the index names. ``shards`` has the marks of each
    shard.

    Raises FormatError with the rule TensorMissing.
    """
    placed: dict[str, list[str]] = {}
    for tensor, shard in index.weight_map.items():
        placed.setdefault(shard, []).append(tensor)
    absent: list[str] = []
    for shard, tensors in placed.items():
        marks = frozenset(shards[shard].all())
        absent += (tensor for tensor in tensors if not has_mark(tensor, marks, key=key))
    if absent:
        raise FormatError(
            "TensorMissing",
            f"{len(absent)} tensors not in the shard the index names, {shown(absent[0])} among them",
            f"{shown(absent[0])} in {shown(index.weight_map[absent[0]])}",
            _REMEDY,
        )


HEADER: Final = Parser(
    name="safetensors",
    walk=_header,
    result=TensorFile,
    holds=OPENING + headers.HEADER_LENGTH_BYTES + headers.MAX_HEADER,
)
SHARDS: Final = Parser(name="shards", walk=_shards, result=ShardSet, holds=headers.MAX_INDEX, most=headers.MAX_INDEX)


class Safetensors(Format):
    """Weights in the layout of Hugging Face."""

    name: ClassVar[ArtifactFormat] = "safetensors"
    title: ClassVar = "safetensors"
    ending: ClassVar = ".safetensors"
    expects: ClassVar = f"{SINGLE}, or shards with {INDEX}"
    needs: ClassVar = frozenset({CONFIG})
    roles: ClassVar = {INDEX: "index of the weights"}
    twins: ClassVar = re.compile(
        r"(pytorch_model|model|consolidated|adapter_model|tf_model|flax_model)[^/]*\.(bin|pt|pth|h5|ckpt)"
    )
    keeps_marks: ClassVar = True
    fit: ClassVar = "Computed"
    runtimes: ClassVar = {VLLM: RuntimeSupport(what="Folder")}
    parsers: ClassVar = (HEADER, SHARDS)

    def holds_weights(self, path: str) -> bool:
        """Whether the file is at the top, where loaders search."""
        return path.endswith(self.ending) and "/" not in path

    def parts(self, files: Sequence[StoredObject]) -> Parts:
        """Select the files that vLLM's loader reads: those at the top, or those that the index names.

        Without an index the loader reads all of them, so that a model of several sets cannot be loaded. The inspection
        compares the files with the index.
        """
        by_path = {stored.path: stored for stored in files}
        weights = tuple(stored for stored in files if stored.path.endswith(self.ending) and not left_by(stored.path))
        foreign = foreign_layout(by_path.keys())
        if foreign is not None:
            return Parts(others=weights, foreign=foreign)
        # As in glob: a star at the beginning matches no dot.
        top = [stored for stored in weights if "/" not in stored.path and not stored.path.startswith(".")]
        index = by_path.get(INDEX)
        problems: list[Finding] = []
        if top and CONFIG not in by_path:
            problems.append(_no_config())
        if index is None and len(top) > 1:
            problems.append(_without_index([stored.path for stored in top]))
        counted = tuple(stored for stored in top if index is not None or len(top) == 1)
        counted_paths = {stored.path for stored in counted}
        sound = [path for path in by_path if not left_by(path)]
        return Parts(
            weights=counted,
            others=tuple(stored for stored in weights if stored.path not in counted_paths),
            index=index,
            missing=None if top else self.expects,
            folders=() if top else model_folders(sound),
            problems=tuple(problems),
            notes=() if any(name in by_path for name in _TOKENIZERS) else ("there are no tokenizer files",),
        )

    def inspect(self, layout: Layout, config: ModelConfig | None, *, key: str) -> Inspection:
        """Read every header, compare the shards with the index and each other, and sum up the model's."""
        counted: Collection[str] = {stored.path for stored in layout.weights}
        in_shards = layout.index is not None or len(counted) > 1
        # Only tensors that are compared with an index or with other shards need their names.
        arguments: dict[str, Any] = {"key": key} if in_shards else {}
        layers = _layers_before(config)
        arguments |= {"layers": layers} if layers else {}
        files: Mapping[str, TensorFile] = yield InspectionStep(
            parser=HEADER,
            files=(*layout.weights, *layout.others),
            arguments=arguments,
            tensors=lambda header: int(header.tensors),
        )
        facts = WeightFacts()
        if in_shards:
            shard_sets: Mapping[str, ShardSet] = yield _compare(layout, files, key=key)
            counted = frozenset(shard for shards in shard_sets.values() for shard in shards.shards)
            if layout.index is not None and counted:
                facts = _against_index([stored.path for stored in layout.weights], counted)
        model = [header for path, header in files.items() if path in counted]
        if not model or len(model) < len(counted):
            return facts
        return _summed(model, config, problems=facts.problems, notes=facts.notes)


def _compare(layout: Layout, files: Mapping[str, TensorFile], *, key: str) -> InspectionStep:
    """The shards that make the model, compared with the index and each other."""
    weights = {stored.path for stored in layout.weights}
    marks = {path: header.marks.text for path, header in files.items() if path in weights}
    return InspectionStep(
        parser=SHARDS,
        files=(layout.index or layout.weights[0],),
        arguments={"key": key, "marks": marks, "files": [stored.path for stored in layout.files]},
        weight=sum(len(path) + len(text) for path, text in marks.items()),
        unread=layout.index is None,
    )


def _summed(
    files: Sequence[TensorFile], config: ModelConfig | None, *, problems: tuple[Finding, ...], notes: tuple[str, ...]
) -> WeightFacts:
    """Separate parameters from values stored beside quantized ones, and tensors that no model server loads."""
    sums = WeightFacts.summed(header.dtypes for header in files)
    quantization = config.quantization if config else None
    return replace(
        sums,
        parameters=headers.parameters_of(
            elements=sums.parameters or 0,
            plain=sum(header.plain for header in files),
            packed_bits=sum(header.packed_bits for header in files),
            bits=quantization.bits if quantization else None,
            quantized=quantization is not None,
        ),
        head_bytes=sum(header.head_bytes for header in files),
        unloaded_bytes=sum(header.unloaded_bytes for header in files),
        problems=problems,
        notes=notes,
    )


def _layers_before(config: ModelConfig | None) -> int:
    """The layers of a model whose files also hold layers that predict further ahead; 0 for every other model."""
    if config is None or not config.details.get("num_nextn_predict_layers"):
        return 0
    return config.num_hidden_layers or 0


def _no_config() -> Finding:
    return Finding(
        reason="ConfigMissing",
        found=f"no {CONFIG}",
        expected=f"{CONFIG} beside the weights, as Hugging Face writes it",
        remedy=f"Upload {CONFIG} of the model. {OTHER_ADVICE}",
    )


def _without_index(paths: Sequence[str]) -> Finding:
    """The finding for several files at the top without an index that says which of them are the model."""
    sets = weight_sets(paths, beside=BESIDE)
    single = next((members for members in sets if SINGLE in members.paths), None)
    numbered = sum(members.numbered for members in sets)
    if len(sets) > 1 and (single or numbered > 1 or any(members.beside for members in sets)):
        models = [members for members in sets if not members.beside]
        kept = single or (models[0] if len(models) == 1 else None)
        return Finding(
            reason="AmbiguousWeights",
            found=f"{len(sets)} sets of weights and no {INDEX}: {named_sets(sets)}",
            expected="one set of weights: vLLM reads every *.safetensors file",
            remedy=choice(sets, kept=kept),
        )
    return Finding(
        reason="IndexMissing",
        found=f"{len(paths)} *.safetensors files and no {INDEX}",
        expected=f"{INDEX}, which says which tensor is in which file",
        remedy=f"Upload {INDEX} of the model.",
    )


def _against_index(paths: Sequence[str], named: Collection[str]) -> WeightFacts:
    """vLLM reads what the index names, transformers ``model.safetensors`` if there is one: they have to be the same."""
    others = [path for path in paths if path not in named]
    if SINGLE in others:
        return WeightFacts(problems=(single_and_index(named),))
    if others:
        return WeightFacts(notes=(f"ignored, as the index does not name them: {listed(others)}",))
    return WeightFacts()


def single_and_index(named: Collection[str]) -> Finding:
    """The finding for both forms of one model: transformers loads the single file, vLLM the ``named`` shards of the
    index."""
    shards = f"the {len(named)} files that it names" if len(named) > 1 else "the file that it names"
    return Finding(
        reason="AmbiguousWeights",
        found=f"2 sets of weights: {SINGLE}, and {INDEX} with {shards}",
        expected="one set of weights: transformers loads the one, vLLM the other",
        remedy=f"Keep one of the 2: gatehouse upload --exclude {SINGLE} takes the shards; or leave out {INDEX} and "
        f"{shards}.",
    )


FORMAT: Final[Format] = Safetensors()
