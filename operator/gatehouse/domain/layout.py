"""Which object below an artifact's prefix is what, from their names and sizes alone, and what is wrong with that.

Rules for every format: at most 10,000 files; names that are safe in a manifest, a terminal and a file system; no empty
file, because KServe's storage initializer leaves those out without a word; no name that is a file and a folder; nothing
that can run code when it is loaded, or that hides what is in it. Empty objects whose name ends with a slash are how
consoles show folders: KServe passes them over as well.

What the manifest covers is every file but ``OWN_FILES``, which come to lie beside a model after it was verified. Those
are held to what they must be. So each object below the prefix is in the digest, of one exact form, or a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gatehouse.domain import manifest
from gatehouse.domain.artifact import Listing, Problem, StoredObject
from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.signature import SIGNATURE
from gatehouse.domain.unsafe_files import danger_of

__all__ = ["CONFIG", "INDEX", "MANIFEST", "MAX_FILES", "OWN_FILES", "Layout", "lay_out"]

MAX_FILES = 10_000
MANIFEST = "gatehouse.manifest"
OWN_FILES = (MANIFEST, SIGNATURE)
"""The manifest as a file and the signature over it. Neither can be part of what they state; what they must be is for
:mod:`gatehouse.domain.own_files` to say."""

CONFIG = "config.json"
CONFIGURATIONS = frozenset(
    {
        CONFIG,
        "adapter_config.json",
        "feature_extractor_config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "image_processor_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "quantize_config.json",
        "tokenizer_config.json",
        "video_preprocessor_config.json",
    }
)
"""What transformers, PEFT and vLLM read as a configuration, in any folder: JSON objects, of which ``auto_map`` may name
code."""
_VERSIONED_CONFIG = re.compile(r"config\.[0-9.]+\.json")
"""What ``configuration_files`` of a config.json has transformers read in its place, as in config.4.0.0.json."""
INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_SPLIT_GGUF = re.compile(r"(?P<model>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of an artifact by their part in it.

    ``files`` is all that the manifest covers. ``weights`` are the files that hold the parameters, or may hold them:
    where there is an ``index`` it says which of them do. ``others`` have the format of weights and are checked like
    them, but do not count. ``configurations`` are the JSON files that loaders read as configurations, ``searched``
    those that only look like some. ``own`` are those of ``OWN_FILES`` that are there. ``unsafe`` names files that can
    run code, or hide some, escaped where a name is hostile.
    """

    files: tuple[StoredObject, ...]
    weights: tuple[StoredObject, ...] = ()
    others: tuple[StoredObject, ...] = ()
    config: StoredObject | None = None
    index: StoredObject | None = None
    configurations: tuple[StoredObject, ...] = ()
    searched: tuple[StoredObject, ...] = ()
    own: tuple[StoredObject, ...] = ()
    unsafe: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(stored.size for stored in self.files)


def lay_out(listing: Listing, *, artifact_format: str) -> Layout:
    """Sort the objects of a listing by their part in an artifact of a format.

    Rules of the problems: TooManyFiles, HostileName, EmptyFile, PathConflict, UnsafeFile, ConfigMissing,
    WeightsMissing, IndexMissing, AmbiguousWeights, ShardMissing.
    """
    files = tuple(stored for stored in listing.objects if not _is_folder(stored) and stored.path not in OWN_FILES)
    own = tuple(stored for stored in listing.objects if stored.path in OWN_FILES)
    if len(listing.objects) > MAX_FILES:
        return Layout(files=files, own=own, problems=(_too_many(),))
    problems: list[Problem] = []
    sound = tuple(_soundly_named(files, problems))
    problems += _empty((*sound, *own))
    problems += _conflicts((*sound, *own))
    unsafe = tuple(shown(stored.path)[1:-1] for stored in files if danger_of(stored.path))
    problems += _unsafe(files)
    parts = _parts(tuple(stored for stored in sound if stored.size), artifact_format)
    return Layout(
        files=files,
        weights=parts.weights,
        others=parts.others,
        config=parts.config,
        index=parts.index,
        configurations=tuple(stored for stored in sound if stored.size and _is_configuration(stored.path)),
        searched=tuple(stored for stored in sound if stored.size and _looks_like_configuration(stored.path)),
        own=own,
        unsafe=unsafe,
        problems=(*problems, *parts.problems),
        notes=parts.notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    weights: tuple[StoredObject, ...] = ()
    others: tuple[StoredObject, ...] = ()
    config: StoredObject | None = None
    index: StoredObject | None = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def _parts(files: Sequence[StoredObject], artifact_format: str) -> _Parts:
    match artifact_format:
        case "safetensors":
            return _safetensors(files)
        case "gguf":
            return _gguf(files)
        case "onnx":
            return _onnx(files)
        case _:
            return _Parts(notes=(f"the structure of format {artifact_format} is not known: files are only hashed",))


def _safetensors(files: Sequence[StoredObject]) -> _Parts:
    by_path = {stored.path: stored for stored in files}
    weights = tuple(stored for stored in files if stored.path.endswith(".safetensors"))
    beside = [stored for stored in weights if "/" not in stored.path]
    config, index = by_path.get(CONFIG), by_path.get(INDEX)
    problems: list[Problem] = []
    if config is None:
        problems.append(
            Problem(
                rule="ConfigMissing",
                found=f"no {CONFIG}",
                wanted=f"{CONFIG} beside the weights, as Hugging Face writes it",
                remedy=f"Upload {CONFIG} of the model.",
            )
        )
    if not beside:
        problems.append(_no_weights("*.safetensors files", f"{_SINGLE}, or shards with {INDEX}"))
    elif index is not None and _SINGLE in by_path and len(beside) > 1:
        problems.append(
            Problem(
                rule="AmbiguousWeights",
                found=f"{_SINGLE} and {INDEX} with other *.safetensors files",
                wanted="one set of weights: loaders differ in which they take",
                remedy=f"Remove {_SINGLE}, or {INDEX} and its shards.",
            )
        )
    elif index is None and _SINGLE not in by_path and len(beside) > 1:
        problems.append(
            Problem(
                rule="IndexMissing",
                found=f"{len(beside)} *.safetensors files and no {INDEX}",
                wanted=f"{INDEX}, which says which tensor is in which file",
                remedy=f"Upload {INDEX} of the model.",
            )
        )
    notes = () if any(name in by_path for name in _TOKENIZERS) else ("there are no tokenizer files",)
    if index is None:
        counted = tuple(stored for stored in beside if stored.path == _SINGLE or len(beside) == 1)
    else:
        counted = weights
    counted_paths = {stored.path for stored in counted}
    return _Parts(
        weights=counted,
        others=tuple(stored for stored in weights if stored.path not in counted_paths),
        config=config,
        index=index,
        problems=tuple(problems),
        notes=notes,
    )


def _gguf(files: Sequence[StoredObject]) -> _Parts:
    every = [stored for stored in files if stored.path.lower().endswith(".gguf")]
    # A projector for images goes with a model: it is no other choice of weights.
    others = tuple(stored for stored in every if _is_projector(stored))
    models = tuple(stored for stored in every if not _is_projector(stored))
    problem = _gguf_problem([stored.path for stored in models])
    return _Parts(weights=models, others=others, problems=() if problem is None else (problem,))


def _is_projector(stored: StoredObject) -> bool:
    return stored.path.rpartition("/")[2].lower().startswith("mmproj")


def _gguf_problem(paths: Sequence[str]) -> Problem | None:
    wanted = "one *.gguf file, or all of its splits"
    splits = [_SPLIT_GGUF.fullmatch(path) for path in paths]
    if not paths:
        return _no_weights("*.gguf files", wanted)
    if len(paths) == 1 and splits[0] is None:
        return None
    sets = {(split["model"], split["count"]) if split else None for split in splits}
    if len(sets) > 1 or None in splits:
        return Problem(
            rule="AmbiguousWeights",
            found=f"{len(paths)} *.gguf files that are not the splits of one model",
            wanted=wanted,
            remedy="Keep each model in a folder of its own.",
        )
    count = max(int(split["count"]) for split in splits if split)
    missing = set(range(1, count + 1)) - {int(split["number"]) for split in splits if split}
    if missing or len(paths) != count:
        return Problem(
            rule="ShardMissing",
            found=f"{len(paths)} splits of {count}",
            wanted=f"splits 00001 to {count:05}",
            remedy="Upload every split of the model.",
        )
    return None


def _onnx(files: Sequence[StoredObject]) -> _Parts:
    models = tuple(stored for stored in files if stored.path.lower().endswith(".onnx"))
    config = next((stored for stored in files if stored.path == CONFIG), None)
    problems = () if models else (_no_weights("*.onnx files", "at least one *.onnx file"),)
    return _Parts(weights=models, config=config, problems=problems)


def _is_folder(stored: StoredObject) -> bool:
    return stored.size == 0 and (stored.path == "" or (stored.path.endswith("/") and _sound(stored.path[:-1]) is None))


def _sound(path: str) -> FormatError | None:
    try:
        manifest.check_path(path)
    except FormatError as error:
        return error
    if "\ufffd" in path:
        # What a store writes for a character that its listing cannot carry: it may stand for more than one name.
        return FormatError(
            "HostileName",
            f"the object name {shown(path)}",
            "a name that the store can list",
            "Rename or remove the object, then upload it again.",
        )
    return None


def _soundly_named(files: Iterable[StoredObject], problems: list[Problem]) -> Iterable[StoredObject]:
    for stored in files:
        error = _sound(stored.path)
        if error is None:
            yield stored
        else:
            problems.append(Problem(rule=error.rule, found=error.found, wanted=error.wanted, remedy=error.remedy))


def _empty(files: Iterable[StoredObject]) -> list[Problem]:
    return [
        Problem(
            rule="EmptyFile",
            found=f"{shown(stored.path)} of 0 bytes",
            wanted="files with content: KServe would leave an empty one out",
            remedy="Upload the file again, or remove it.",
        )
        for stored in files
        if stored.size == 0
    ]


def _conflicts(files: Sequence[StoredObject]) -> list[Problem]:
    paths = {stored.path for stored in files}
    conflicts = {parent for path in paths for parent in _parents(path) if parent in paths}
    return [
        Problem(
            rule="PathConflict",
            found=f"{shown(path)} is a file and a folder",
            wanted="names that a file system can hold",
            remedy="Rename or remove the file.",
        )
        for path in sorted(conflicts)
    ]


def _parents(path: str) -> Iterator[str]:
    """The folders that a file lies in. They are not kept: those of many deep names are far longer than the names."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _unsafe(files: Iterable[StoredObject]) -> list[Problem]:
    found = {
        "Pickle": "whose format can run code when it is loaded",
        "Code": "which is code",
        "Archive": "which hides what is in it, and may be unpacked when it is loaded",
    }
    remedies = {"Archive": "Unpack it, remove it, and upload the files themselves."}
    return [
        Problem(
            rule="UnsafeFile",
            found=f"{shown(stored.path)}, {found[danger]}",
            wanted="files that are only data",
            remedy=remedies.get(danger, "Convert the weights to safetensors and remove the file."),
        )
        for stored in files
        if (danger := danger_of(stored.path))
    ]


def _is_configuration(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in CONFIGURATIONS or _VERSIONED_CONFIG.fullmatch(name) is not None


def _looks_like_configuration(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.endswith(".json") and "config" in name and not _is_configuration(path)


def _too_many() -> Problem:
    return Problem(
        rule="TooManyFiles",
        found=f"more than {MAX_FILES} objects",
        wanted=f"at most {MAX_FILES}",
        remedy="Let the URI name the folder of one model, not one above it.",
    )


def _no_weights(found: str, wanted: str) -> Problem:
    return Problem(
        rule="WeightsMissing",
        found=f"no {found}",
        wanted=wanted,
        remedy="Upload the weights, or set spec.artifact.format to the format they have.",
    )
