"""Files that belong to no model that Gatehouse checks: left-overs of tools, and files of other loaders.

Names alone decide what a file or folder is: the names that the tools themselves write.

Left-overs of tools: no loader reads such a file. The check hashes the file like every other, names the file in a note,
and never takes it for weights. The check ignores an empty left-over, as KServe's storage initializer does.

Files of other loaders stay refused, because nothing checks them. Files that can run code stay refused whichever tool
wrote them (:mod:`gatehouse.domain.artifact.unsafe_files`). The tool that wrote a file decides only the advice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gatehouse.domain.artifact.manifest import MAX_PATH_DEPTH
from gatehouse.domain.artifact.unsafe_files import Danger, danger_of, ending_of
from gatehouse.domain.common.format_error import listed, shown

__all__ = ["ForeignFile", "ForeignFiles", "WeightNames", "left_by", "notes_on", "remedy_for"]

_FOLDERS: Final = {
    ".cache": "a downloader's cache",
    ".git": "git",
    ".ipynb_checkpoints": "Jupyter",
    ".trash": "a file browser",
    "__macosx": "macOS",
    "__pycache__": "Python",
}
_NAMES: Final = {
    ".ds_store": "macOS",
    ".gitkeep": "git",
    ".keep": "git",
    "_success": "Hadoop",
    "desktop.ini": "Windows",
    "thumbs.db": "Windows",
}
_MARKER: Final = "_$folder$"
"""Hadoop and EMR write a folder as an empty object with this suffix beside the folder."""
_APPLE_DOUBLE: Final = "._"

_TRAINING: Final = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|trainer_state|global_step)[^/]*", re.IGNORECASE
)


def left_by(path: str) -> str | None:
    """The tool that left the file at ``path``, None if no known tool did; case does not matter."""
    *folders, name = path.lower().split("/")
    if "huggingface" in folders and ".cache" in folders:
        return "Hugging Face's downloader"
    tool = next((_FOLDERS[folder] for folder in folders if folder in _FOLDERS), None)
    if tool is not None:
        return tool
    if name.endswith(_MARKER):
        return "Hadoop"
    return "macOS" if name.startswith(_APPLE_DOUBLE) and len(name) > len(_APPLE_DOUBLE) else _NAMES.get(name)


def notes_on(paths: Iterable[str]) -> tuple[str, ...]:
    """One note for each tool that left a file among ``paths``."""
    left: dict[str, list[str]] = {}
    for path in paths:
        tool = left_by(path)
        if tool is not None:
            left.setdefault(tool, []).append(path)
    return tuple(
        f"left by {tool} and not part of the model; remove: {listed(files)}" for tool, files in sorted(left.items())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightNames:
    """The names of the files that hold the model, by their ending. ``twins`` are names of other files that may hold the
    same weights; None stands for any name."""

    ending: str
    twins: re.Pattern[str] | None = None


def remedy_for(path: str, danger: Danger, *, foreign: ForeignFiles, weights: WeightNames | None) -> str:
    """What to do about an unsafe file; ``weights`` is None where no file is known to hold the model."""
    name = path.rpartition("/")[2]
    tool = left_by(path)
    if tool is not None:
        return f"It was left by {tool} and is not part of the model. {_without(path)}"
    if _TRAINING.fullmatch(name):
        return f"It was left by training, and serving does not need it. {_without(path)}"
    if danger == "Archive":
        return "Unpack it, remove it, and upload the files themselves."
    if danger == "Code":
        return f"Servers run the runtime's own code, never the model's. {_without(_pattern(path))}"
    other = foreign.find(path)
    if other is not None and weights is not None:
        return f"{other.what}, and the *{weights.ending} files hold the model. {_without(other.pattern or path)}"
    if other is not None:
        return f"{other.what}, which no runtime of Gatehouse loads. {other.way}"
    if weights is not None and (weights.twins is None or weights.twins.fullmatch(name)):
        return f"The *{weights.ending} files hold the model, and Gatehouse reads no other weights. {_without(path)}"
    return _convert(ending_of(path))


def _convert(ending: str) -> str:
    if ending == "joblib":
        return "Export the model to ONNX, as with skl2onnx for scikit-learn, and remove the file."
    if ending in {"h5", "hdf5", "keras"}:
        return "Export the model to ONNX, as with tf2onnx for Keras, and remove the file."
    if ending == "bin":
        other = "Gatehouse accepts no other files that end in .bin."
        return f"Convert the weights to safetensors if they are PyTorch's. {other}"
    return "Convert the weights to safetensors and remove the file."


def _without(pattern: str) -> str:
    return f"Remove the file, or leave it out: gatehouse upload --exclude {shown(pattern)}."


def _pattern(path: str) -> str:
    """One pattern for all code of a kind: no file with code can be part of a model."""
    ending = path[path.rfind(".") :]
    return f"*{ending}" if danger_of(f"x{ending}") == "Code" else path


_SOURCE: Final = "Register the model that it was converted from."
_CTRANSLATE2: Final = re.compile(r"((shared|source|target)_)?vocabulary\.(json|txt)")
_TENSORFLOW_JS: Final = "-weights_manifest.json"
_GRAPH: Final = "model.json"
_SHARD: Final = re.compile(r"group[0-9]+-shard[0-9]+of[0-9]+\.bin")
_CORE_ML: Final = re.compile(r"[^/]\.(mlpackage|mlmodelc)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFile:
    """``what`` begins a sentence that says what the file is. ``way`` is the remedy, as a sentence, where the file is
    the model.

    ``pattern`` excludes all files that belong to the file; None stands for the file's own path.
    """

    what: str
    way: str = _SOURCE
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFiles:
    """Where the tools that write such files are among the files of an artifact: paths of folders with their last slash.

    ``openvino`` are paths without their ending. Finding all takes time in proportion to the names of the artifact.
    Classifying one file takes time in proportion to its name.
    """

    openvino: frozenset[str]
    ctranslate2: frozenset[str]
    spacy: frozenset[str]
    tensorflow_js: frozenset[str]
    sharded: frozenset[str]

    @classmethod
    def among(cls, paths: Collection[str]) -> ForeignFiles:
        """``paths`` are all files of an artifact."""
        return cls(
            openvino=frozenset(path[:-4] for path in paths if path.endswith(".xml")),
            ctranslate2=_folders(path for path in paths if _CTRANSLATE2.fullmatch(_name(path))),
            spacy=_with(paths, "meta.json") & _with(paths, "config.cfg"),
            tensorflow_js=_folders(path for path in paths if path.endswith(_TENSORFLOW_JS)),
            sharded=_with(paths, _GRAPH),
        )

    def find(self, path: str) -> ForeignFile | None:
        """The file at ``path``, if its ending is that of a pickle and such a tool wrote the file."""
        if ending_of(path) != "bin":
            return None
        folder, name = _folder(path), _name(path)
        if package := _CORE_ML.search(path):
            return ForeignFile(what="It is part of a package for Core ML", pattern=f"*.{package[1]}")
        if path[:-4] in self.openvino:
            return ForeignFile(what="It and the .xml beside it are a model for OpenVINO")
        if name == "model.bin" and folder in self.ctranslate2:
            return ForeignFile(what="It and the vocabulary beside it are a model for CTranslate2")
        if folder in self.tensorflow_js or (folder in self.sharded and _SHARD.fullmatch(name)):
            way = "Register the model that it was converted from, or export that to ONNX."
            return ForeignFile(what="It holds weights of a model for TensorFlow.js", way=way)
        if any(above in self.spacy for above in _above(path)):
            way = "Leave the pipeline out of the registry: it does not load without this file."
            return ForeignFile(what="It is part of a pipeline of spaCy", way=way)
        return None


def _with(paths: Iterable[str], name: str) -> frozenset[str]:
    return _folders(path for path in paths if _name(path) == name)


def _folders(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_folder, paths))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _folder(path: str) -> str:
    return path[: path.rfind("/") + 1]


def _above(path: str) -> Iterator[str]:
    """The folders that contain a file, from the top; only some of them where the name is deeper than a sound name."""
    yield ""
    ends = (match.end() for match in re.finditer("/", path))
    yield from (path[:end] for end in islice(ends, MAX_PATH_DEPTH))
