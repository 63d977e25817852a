"""The GGUF files of an artifact that make its model, from the metadata of each.

A model is one file, or all splits of one, as llama.cpp's gguf-split and gguf-py write them: NAME-00001-of-00003.gguf
with ``split.no``, ``split.count`` and ``split.tensors.count``. Only the first split must describe the model. llama.cpp
finds the others by the name of the first, so names and metadata must agree.

Other files may lie beside a model: projectors for images (by their name, by ``general.type`` or by the architecture
clip), importance matrices and adapters. These are checked like models and ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from gatehouse.domain.artifact.weight_sets import WeightSet, choice, named_sets, weight_sets
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.formats.gguf import GgufHeader
from gatehouse.domain.formats.shards import check_once

__all__ = ["GgufSet", "gguf_set"]

_SPLIT: Final = re.compile(r"(?P<model>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
_ROLES: Final[Mapping[str, str]] = {
    "adapter": "a LoRA adapter",
    "imatrix": "an importance matrix",
    "mmproj": "a projector for images",
}
_WANTED: Final = "one model in one *.gguf file, or in all of its splits"
_SHOWN: Final = 3


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
    problem = next((found for path, header in splits.items() if (found := _misnamed(path, header))), None)
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
        found=f"{shown(path)}, which says of itself that it is {says}",
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
        check_once({path: header.marks for path, header in splits.items()}, key=key)
    except FormatError as error:
        return Finding(
            reason=error.finding.reason, found=error.finding.found, expected=error.finding.expected, remedy=remedy
        )
    return None


def _no_model(others: Mapping[str, str]) -> Finding:
    found = "; ".join(f"{shown(path)} is {role}" for path, role in islice(others.items(), _SHOWN))
    if _ROLES["adapter"] in others.values():
        return Finding(
            reason="AdapterOnly",
            found=f"no model: {found}",
            expected="a whole model",
            remedy="Merge the adapter into its base model (llama-export-lora) and register the result.",
        )
    return Finding(
        reason="WeightsMissing",
        found=f"no model among the *.gguf files: {found}" if others else "no *.gguf files",
        expected=_WANTED,
        remedy="Upload the model itself beside them.",
    )


def _ambiguous(sets: Sequence[WeightSet]) -> Finding:
    return Finding(
        reason="AmbiguousWeights",
        found=f"{len(sets)} models in {sum(len(each.paths) for each in sets)} *.gguf files: {named_sets(sets)}",
        expected=_WANTED,
        remedy=choice(sets),
    )
