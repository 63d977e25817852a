"""Files of models for loaders that no runtime here has, whose names are those of pickles and whose content is none.

Names alone decide, as in :mod:`gatehouse.domain.foreign_layouts`: that of the file, and those of what such a tool
writes beside it. The files stay refused, as nothing checks them; whose they are decides only what is advised.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gatehouse.domain.manifest import MAX_PATH_DEPTH
from gatehouse.domain.unsafe_files import ending_of

__all__ = ["ForeignFile", "ForeignFiles"]

_SOURCE: Final = "Register the model that it was converted from."
_CTRANSLATE2: Final = re.compile(r"((shared|source|target)_)?vocabulary\.(json|txt)")
_TENSORFLOW_JS: Final = "-weights_manifest.json"
_GRAPH: Final = "model.json"
_SHARD: Final = re.compile(r"group[0-9]+-shard[0-9]+of[0-9]+\.bin")
_CORE_ML: Final = re.compile(r"[^/]\.(mlpackage|mlmodelc)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFile:
    """``what`` the file is, as the beginning of a sentence, and the ``way`` out where it is the model, as a sentence.

    ``pattern`` is what leaves out all that belongs to it, None for its own path.
    """

    what: str
    way: str = _SOURCE
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFiles:
    """Where among the files of an artifact the tools are that write such files: paths of folders with their last slash.

    ``openvino`` are paths without their ending. Finding all takes time in proportion to the names of the artifact, and
    finding what one file is in proportion to its name.
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
        """What the file at ``path`` is, if it ends as a pickle does and such a tool wrote it."""
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
    """The folders that a file lies in, from the top; of a name that is too deep to be sound, not all."""
    yield ""
    ends = (match.end() for match in re.finditer("/", path))
    yield from (path[:end] for end in islice(ends, MAX_PATH_DEPTH))
