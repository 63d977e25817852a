"""The part of each object below an artifact's prefix, from names and sizes alone, and the problems of these names.

Rules for every format: at most 10,000 files; names that are safe in a manifest, a terminal and a file system; no empty
file, because KServe's storage initializer skips empty files silently; no name that is both a file and a folder; no file
that can run code when it is loaded, or that hides its content. Consoles show folders as empty objects whose name ends
with a slash: KServe ignores these as well.

The manifest covers every file but ``OWN_FILES``, which are added beside a model after its verification. Each of those
has one exact form. Each object below the prefix is therefore in the digest, of one exact form, or a problem.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gatehouse.domain.artifact import manifest
from gatehouse.domain.artifact.foreign import ForeignFiles, foreign_layout, left_by, model_folders, notes_on, remedy_for
from gatehouse.domain.artifact.side_files import SENTENCE_FILES
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.artifact.unsafe_files import danger_of, named_as
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.artifact.weight_sets import choice, named_sets, weight_sets
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, listed, shown

__all__ = [
    "CONFIG",
    "INDEX",
    "MANIFEST",
    "MAX_FILES",
    "OWN_FILES",
    "SINGLE",
    "Layout",
    "lay_out",
    "single_and_index",
    "unsafe_files",
]

MAX_FILES = 10_000
MANIFEST = "gatehouse.manifest"
OWN_FILES = (MANIFEST, SIGNATURE)
"""The manifest as a file and the signature over it. Neither can be part of its own content;
:mod:`gatehouse.domain.artifact.own_files` checks their form."""

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
        "quant_config.json",
        "quantize_config.json",
        *SENTENCE_FILES,
        "tokenizer_config.json",
        "video_preprocessor_config.json",
    }
)
"""Files that transformers, PEFT and vLLM read as a configuration, in any folder: JSON objects whose ``auto_map`` may
name code."""
_VERSIONED_CONFIG = re.compile(r"config\.[0-9.]+\.json")
"""Files that ``configuration_files`` of a config.json makes transformers read instead, as in config.4.0.0.json."""
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_FORMATS = ("safetensors", "gguf", "onnx")
_OTHER = "For weights of another kind set spec.artifact.format to other (--format other), which a policy has to allow."
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of an artifact by their part in it.

    ``files`` are all files that the manifest covers. ``weights`` are the files that hold the parameters, or may hold
    them: an ``index`` says which of them do. ``others`` have the format of weights and are checked like weights, but do
    not count. ``configurations`` are the JSON files that loaders read as configurations. ``searched`` are JSON files
    that only resemble configurations. ``own`` are the ``OWN_FILES`` that exist. ``unsafe`` names files that can run
    code, or hide code, escaped where a name is hostile. ``suspects`` are unsafe by their name unless the weights
    declare them as their plain data.
    """

    files: tuple[StoredObject, ...]
    weights: tuple[StoredObject, ...] = ()
    others: tuple[StoredObject, ...] = ()
    config: StoredObject | None = None
    index: StoredObject | None = None
    configurations: tuple[StoredObject, ...] = ()
    searched: tuple[StoredObject, ...] = ()
    own: tuple[StoredObject, ...] = ()
    suspects: tuple[StoredObject, ...] = ()
    unsafe: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(stored.size for stored in self.files)


def lay_out(listing: Listing, *, artifact_format: str) -> Layout:
    """Sort the objects of a listing by their part in an artifact of a format.

    Rules of the problems: TooManyFiles, HostileName, EmptyFile, PathConflict, UnsafeFile, ConfigMissing,
    WeightsMissing, IndexMissing, AmbiguousWeights, and those of :func:`foreign_layout`.
    """
    files = tuple(stored for stored in listing.objects if not _is_nothing(stored) and stored.path not in OWN_FILES)
    own = tuple(stored for stored in listing.objects if stored.path in OWN_FILES)
    if len(listing.objects) > MAX_FILES:
        return Layout(files=files, own=own, problems=(_too_many(),))
    problems: list[Finding] = []
    sound = tuple(_soundly_named(files, problems))
    parts = _parts(tuple(stored for stored in sound if stored.size), artifact_format)
    suspects = _suspects(sound, parts) if artifact_format == "onnx" else ()
    suspected = frozenset(stored.path for stored in suspects)
    dangerous = [stored.path for stored in files if stored.path not in suspected and danger_of(stored.path)]
    # An unsafe file must be removed whatever its content is: no message advises a new upload of it.
    refused = frozenset(dangerous)
    problems += _empty(stored for stored in (*sound, *own) if stored.path not in refused)
    problems += _conflicts((*sound, *own))
    if parts.foreign is not None:
        problems.append(parts.foreign)
    problems += unsafe_files(dangerous, among=[stored.path for stored in files], artifact_format=artifact_format)
    return Layout(
        files=files,
        weights=parts.weights,
        others=parts.others,
        config=parts.config,
        index=parts.index,
        configurations=tuple(stored for stored in sound if stored.size and _is_configuration(stored.path)),
        searched=tuple(stored for stored in sound if stored.size and _looks_like_configuration(stored.path)),
        own=own,
        unsafe=tuple(shown(path)[1:-1] for path in dangerous),
        suspects=tuple(stored for stored in suspects if stored.size),
        problems=(*problems, *parts.problems),
        notes=(*parts.notes, *notes_on(stored.path for stored in sound)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """``foreign`` is the finding that the files are not of the format at all."""

    foreign: Finding | None = None
    weights: tuple[StoredObject, ...] = ()
    others: tuple[StoredObject, ...] = ()
    config: StoredObject | None = None
    index: StoredObject | None = None
    problems: tuple[Finding, ...] = ()
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
    """Select the files that vLLM's loader reads: the ``*.safetensors`` at the top, or those that the index names.

    Without an index the loader reads all of them, so that a model of several sets cannot be loaded.
    :mod:`gatehouse.domain.formats.shards` checks the files of the index. Files that the index does not name, and files
    in folders, are ignored.
    """
    by_path = {stored.path: stored for stored in files}
    weights = tuple(stored for stored in files if stored.path.endswith(".safetensors") and not left_by(stored.path))
    # As in glob: a star at the beginning matches no dot.
    top = [stored for stored in weights if "/" not in stored.path and not stored.path.startswith(".")]
    config, index = by_path.get(CONFIG), by_path.get(INDEX)
    foreign = foreign_layout(by_path.keys())
    if foreign is not None:
        return _Parts(others=weights, config=config, foreign=foreign)
    problems: list[Finding] = []
    if not top:
        problems.append(_no_weights(files, "safetensors", f"{SINGLE}, or shards with {INDEX}"))
    elif config is None:
        problems.append(_no_config())
    if index is None and len(top) > 1:
        problems.append(_without_index([stored.path for stored in top]))
    counted = tuple(stored for stored in top if index is not None or len(top) == 1)
    counted_paths = {stored.path for stored in counted}
    notes = () if any(name in by_path for name in _TOKENIZERS) else ("there are no tokenizer files",)
    return _Parts(
        weights=counted,
        others=tuple(stored for stored in weights if stored.path not in counted_paths),
        config=config,
        index=index,
        problems=tuple(problems),
        notes=notes,
    )


def _no_config() -> Finding:
    return Finding(
        reason="ConfigMissing",
        found=f"no {CONFIG}",
        expected=f"{CONFIG} beside the weights, as Hugging Face writes it",
        remedy=f"Upload {CONFIG} of the model. {_OTHER}",
    )


def _without_index(paths: Sequence[str]) -> Finding:
    """The finding for several files at the top without an index that says which of them are the model."""
    sets = weight_sets(paths)
    single = next((each for each in sets if SINGLE in each.paths), None)
    whole = sum(each.numbered for each in sets)
    if len(sets) > 1 and (single or whole > 1 or any(each.beside for each in sets)):
        models = [each for each in sets if not each.beside]
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


def single_and_index(named: Collection[str]) -> Finding:
    """The finding for both forms of one model: transformers loads the single file, vLLM the ``named`` shards of the
    index."""
    shards = f"the {len(named)} files that it names" if len(named) > 1 else "the file that it names"
    return Finding(
        reason="AmbiguousWeights",
        found=f"2 sets of weights: {SINGLE}, and {INDEX} with {shards}",
        expected="one set of weights: transformers takes the one, vLLM the other",
        remedy=f"Keep one of the 2: gatehouse upload --exclude {SINGLE} takes the shards; or leave out {INDEX} and "
        f"{shards}.",
    )


def _gguf(files: Sequence[StoredObject]) -> _Parts:
    """Every file may be part of the model; :mod:`gatehouse.domain.formats.gguf_set` decides by each file's metadata."""
    weights = tuple(stored for stored in files if stored.path.lower().endswith(".gguf") and not left_by(stored.path))
    problems = () if weights else (_no_weights(files, "gguf", "one *.gguf file, or all of its splits"),)
    return _Parts(weights=weights, problems=problems)


def _onnx(files: Sequence[StoredObject]) -> _Parts:
    models = tuple(stored for stored in files if stored.path.lower().endswith(".onnx") and not left_by(stored.path))
    config = next((stored for stored in files if stored.path == CONFIG), None)
    problems = () if models else (_no_weights(files, "onnx", "at least one *.onnx file"),)
    return _Parts(weights=models, config=config, problems=problems)


def _suspects(files: Sequence[StoredObject], parts: _Parts) -> tuple[StoredObject, ...]:
    """Data of an ONNX model may lie in files of any name, even the name of a pickle: the model names these files."""
    return tuple(stored for stored in files if parts.weights and danger_of(stored.path) == "Pickle")


def unsafe_files(paths: Sequence[str], *, among: Iterable[str], artifact_format: str) -> list[Finding]:
    """Why the files at ``paths`` are refused by their names alone; ``among`` are all files of the artifact."""
    every = frozenset(among) if paths else frozenset()
    foreign = ForeignFiles.among(every)
    holds = artifact_format if any(_holds_model(path, artifact_format) for path in every) else None
    return [
        Finding(
            reason="UnsafeFile",
            found=f"{shown(path)}, {named_as(path)}",
            expected="files that are only data",
            remedy=remedy_for(path, danger, foreign=foreign, holds=holds),
        )
        for path in paths
        if (danger := danger_of(path))
    ]


def _holds_model(path: str, artifact_format: str) -> bool:
    match artifact_format:
        case "safetensors":
            return path.endswith(".safetensors") and "/" not in path
        case "gguf" | "onnx":
            return path.lower().endswith(f".{artifact_format}") and not left_by(path)
    return False


def _is_nothing(stored: StoredObject) -> bool:
    """Whether KServe ignores the object and no loader needs it: folders, and empty files that a tool left."""
    if stored.size:
        return False
    left = left_by(stored.path) is not None and _sound(stored.path) is None
    return left or _is_folder(stored)


def _is_folder(stored: StoredObject) -> bool:
    return stored.size == 0 and (stored.path == "" or (stored.path.endswith("/") and _sound(stored.path[:-1]) is None))


def _sound(path: str) -> FormatError | None:
    try:
        manifest.check_path(path)
    except FormatError as error:
        return error
    if "\ufffd" in path:
        # A store writes this for a character that its listing cannot carry: it may stand for several names.
        return FormatError(
            "HostileName",
            f"the object name {shown(path)}",
            "a name that the store can list",
            "Rename or remove the object, then upload it again.",
        )
    return None


def _soundly_named(files: Iterable[StoredObject], problems: list[Finding]) -> Iterable[StoredObject]:
    for stored in files:
        error = _sound(stored.path)
        if error is None:
            yield stored
        else:
            problems.append(error.finding)


def _empty(files: Iterable[StoredObject]) -> list[Finding]:
    return [
        Finding(
            reason="EmptyFile",
            found=f"{shown(stored.path)} of 0 bytes",
            expected="files with content: KServe would leave an empty one out",
            remedy="Upload the file again, or remove it.",
        )
        for stored in files
        if stored.size == 0
    ]


def _conflicts(files: Sequence[StoredObject]) -> list[Finding]:
    paths = {stored.path for stored in files}
    conflicts = {parent for path in paths for parent in _parents(path) if parent in paths}
    return [
        Finding(
            reason="PathConflict",
            found=f"{shown(path)} is a file and a folder",
            expected="names that a file system can hold",
            remedy="Rename or remove the file.",
        )
        for path in sorted(conflicts)
    ]


def _parents(path: str) -> Iterator[str]:
    """The folders that contain a file. They are not kept: the folders of deep names are far longer than the names."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _is_configuration(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in CONFIGURATIONS or _VERSIONED_CONFIG.fullmatch(name) is not None


def _looks_like_configuration(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.endswith(".json") and "config" in name and not _is_configuration(path)


def _too_many() -> Finding:
    return Finding(
        reason="TooManyFiles",
        found=f"more than {MAX_FILES} objects",
        expected=f"at most {MAX_FILES}",
        remedy="Let the URI name the folder of one model, not one above it.",
    )


def _no_weights(files: Sequence[StoredObject], artifact_format: str, wanted: str) -> Finding:
    """The finding for an artifact without weights; the files that exist decide the remedy."""
    paths = [stored.path for stored in files if not left_by(stored.path)]
    there = [each for each in _FORMATS if any(path.lower().endswith(f".{each}") for path in paths)]
    instead = next((each for each in there if each != artifact_format), None)
    folders = model_folders(paths) if artifact_format == "safetensors" else ()
    found = f"no *.{artifact_format} files"
    if folders:
        remedy = f"Let the URI name the folder of the model, which is {listed(folders)} below this one."
    elif instead:
        remedy = f"There are *.{instead} files: set spec.artifact.format to {instead} (--format {instead})."
    elif there:
        remedy = f"Upload the weights to the top, with names that end in .{artifact_format}. {_OTHER}"
    else:
        found = "no *.safetensors, *.gguf or *.onnx files"
        wanted = "the weights in one of these formats"
        also = " It takes no unsafe files either." if any(danger_of(path) for path in paths) else ""
        remedy = f"Upload the weights. {_OTHER}{also}"
    if artifact_format in there:
        found += " at the top"
    return Finding(reason="WeightsMissing", found=found, expected=wanted, remedy=remedy)
