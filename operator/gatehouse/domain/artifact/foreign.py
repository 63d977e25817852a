"""Files and folders that belong to no model that vLLM loads: left-overs of tools, files and layouts of other loaders.

Names alone decide what a file or folder is: the names that the tools themselves write.

Left-overs of tools: no loader reads such a file. The check hashes the file like every other, names the file in a note,
and never takes it for weights. The check ignores an empty left-over, as KServe's storage initializer does.

Files of other loaders stay refused, because nothing checks them. Files that can run code stay refused whichever tool
wrote them (:mod:`gatehouse.domain.artifact.unsafe_files`). The tool that wrote a file decides only the advice.

Each layout for another loader has a remedy of its own. A folder that vLLM loads unchanged has no such layout, for
example one of sentence-transformers with ``config.json`` and its weights at the top.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gatehouse.domain.artifact.manifest import MAX_PATH_DEPTH
from gatehouse.domain.artifact.unsafe_files import Danger, danger_of, ending_of
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import listed, shown

__all__ = ["ForeignFile", "ForeignFiles", "foreign_layout", "left_by", "model_folders", "notes_on", "remedy_for"]

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
_TWIN: Final = re.compile(
    r"(pytorch_model|model|consolidated|adapter_model|tf_model|flax_model)[^/]*\.(bin|pt|pth|h5|ckpt)"
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
    found: dict[str, list[str]] = {}
    for path in paths:
        tool = left_by(path)
        if tool is not None:
            found.setdefault(tool, []).append(path)
    return tuple(
        f"left by {tool} and no part of the model, better removed: {listed(files)}"
        for tool, files in sorted(found.items())
    )


def remedy_for(path: str, danger: Danger, *, foreign: ForeignFiles, holds: str | None) -> str:
    """What to do about an unsafe file; ``holds`` is the ending of the files that hold the model, if any."""
    name = path.rpartition("/")[2]
    tool = left_by(path)
    if tool is not None:
        return f"It was left by {tool} and is no part of the model. {_without(path)}"
    if _TRAINING.fullmatch(name):
        return f"It was left by training, and serving does not need it. {_without(path)}"
    if danger == "Archive":
        return "Unpack it, remove it, and upload the files themselves."
    if danger == "Code":
        return f"Servers run the runtime's own code, never the model's. {_without(_pattern(path))}"
    found = foreign.find(path)
    if found is not None and holds:
        return f"{found.what}, and the *.{holds} files hold the model. {_without(found.pattern or path)}"
    if found is not None:
        return f"{found.what}, which no runtime here loads. {found.way}"
    if holds and (holds != "safetensors" or _TWIN.fullmatch(name)):
        return f"The *.{holds} files hold the model, and nothing here reads others. {_without(path)}"
    return _convert(ending_of(path))


def _convert(ending: str) -> str:
    if ending == "joblib":
        return "Export the model to ONNX, as skl2onnx does it for scikit-learn, and remove the file."
    if ending in {"h5", "hdf5", "keras"}:
        return "Export the model to ONNX, as tf2onnx does it for Keras, and remove the file."
    if ending == "bin":
        return (
            "Convert the weights to safetensors if they are PyTorch's. Nothing here takes other files that end in .bin."
        )
    return "Convert the weights to safetensors and remove the file."


def _without(pattern: str) -> str:
    return f"Remove it, or leave it out: gatehouse upload --exclude {shown(pattern)}."


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


_CONFIG: Final = "config.json"
_WANTED: Final = f"{_CONFIG} and *.safetensors at the top, as save_pretrained of transformers writes them"
_ADAPTER: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = re.compile(r"adapter_model[^/]*\.safetensors")
_ENGINE: Final = re.compile(r"([^/]+/)?[^/]+\.(engine|plan)", re.IGNORECASE)
_RANK: Final = re.compile(r"rank[0-9]+\.safetensors")
_MODULE: Final = re.compile(r"[0-9]+_[A-Za-z]+/")


def foreign_layout(paths: Collection[str]) -> Finding | None:
    """A finding if the files at ``paths`` are laid out for another loader; ``paths`` are all files of an artifact.

    Rules: AdapterOnly, DiffusersLayout, MlflowLayout, MistralLayout, SentenceTransformersLayout, TensorRtLayout.
    """
    top = frozenset(path for path in paths if "/" not in path)
    weights = [path for path in top if path.endswith(".safetensors")]
    if _is_adapter(top, weights):
        return _adapter()
    if weights and all(_RANK.fullmatch(path) for path in weights):
        return _tensorrt("a checkpoint of TensorRT-LLM (rank0.safetensors and so on)")
    if not weights and any(_ENGINE.fullmatch(path) for path in paths):
        return _tensorrt("a compiled engine of TensorRT")
    if _CONFIG in top:
        return None
    if "model_index.json" in top:
        return _diffusers(paths)
    if "MLmodel" in top:
        return _mlflow(paths)
    if "modules.json" in top:
        return _sentence_transformers(paths)
    return _mistral() if "params.json" in top else None


def model_folders(paths: Collection[str]) -> tuple[str, ...]:
    """Folders below the top that have ``config.json`` and ``*.safetensors``, each with a slash at its end, sorted."""
    configured = {path.removesuffix(_CONFIG) for path in paths if path.endswith(f"/{_CONFIG}")}
    weighted = {path[: path.rfind("/") + 1] for path in paths if path.endswith(".safetensors")}
    return tuple(sorted(configured & weighted))


def _is_adapter(top: Collection[str], weights: Sequence[str]) -> bool:
    """Adapters are saved without a config.json. Where config.json exists, only weights of an adapter lie beside it."""
    adapters = [path for path in weights if _ADAPTER_WEIGHTS.fullmatch(path)]
    if len(adapters) < len(weights):
        return False
    return bool(adapters) or (_ADAPTER in top and _CONFIG not in top)


def _adapter() -> Finding:
    return Finding(
        reason="AdapterOnly",
        found="a LoRA or other PEFT adapter (adapter_config.json, adapter_model.safetensors), and no model",
        expected="a whole model: an adapter is weights to be added to those of a base model",
        remedy="Merge it into its base model (merge_and_unload of PEFT, then save_pretrained) and register the result.",
    )


def _diffusers(paths: Collection[str]) -> Finding:
    parts = sorted({path.partition("/")[0] for path in paths if "/" in path})
    return Finding(
        reason="DiffusersLayout",
        found=f"a pipeline of diffusers (model_index.json): {listed(parts)}",
        expected=_WANTED,
        remedy="No runtime here serves image pipelines. Register a language model, or one part of the pipeline by the "
        "URI of its folder.",
    )


def _mlflow(paths: Collection[str]) -> Finding:
    inside = model_folders(paths)
    way = (
        f"Let the URI end with {shown(inside[0])[1:-1]}, the model inside it, with its tokenizer's files there too."
        if inside
        else "Load it with mlflow and save the model itself with save_pretrained."
    )
    return Finding(reason="MlflowLayout", found="a model of MLflow (MLmodel)", expected=_WANTED, remedy=way)


def _sentence_transformers(paths: Collection[str]) -> Finding:
    inside = [folder for folder in model_folders(paths) if _MODULE.fullmatch(folder)]
    way = "Load it with a current sentence-transformers and save it again, which puts the transformer at the top"
    return Finding(
        reason="SentenceTransformersLayout",
        found="a model of sentence-transformers (modules.json) whose transformer is not at the top"
        + (f" but in {listed(inside)}" if inside else ", or that has none"),
        expected=_WANTED,
        remedy=f"{way}, or let the URI end with {inside[0]}." if inside else f"{way}.",
    )


def _mistral() -> Finding:
    return Finding(
        reason="MistralLayout",
        found="a model in Mistral's own layout (params.json), and no config.json",
        expected=_WANTED,
        remedy="Take the release of the model for transformers, or convert it with convert_mistral_weights_to_hf.py "
        "of transformers.",
    )


def _tensorrt(what: str) -> Finding:
    return Finding(
        reason="TensorRtLayout",
        found=f"{what}, and no model that vLLM loads",
        expected=_WANTED,
        remedy="Register the model that it was built from: an engine runs on one kind of GPU with one release only.",
    )
