"""Files beside a model that are no part of it: what tools and training leave behind, and weights in another form.

No loader reads what a tool left: such a file is hashed like every other, named in a note, and never taken for weights.
An empty one is passed over, as KServe's storage initializer passes it over. What can run code stays refused wherever
it comes from (:mod:`gatehouse.domain.unsafe_files`); where the file comes from decides only what is advised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gatehouse.domain.foreign_files import ForeignFiles
from gatehouse.domain.format_error import listed, shown
from gatehouse.domain.unsafe_files import Danger, danger_of, ending_of

__all__ = ["left_by", "notes_on", "remedy_for"]

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
"""How Hadoop and EMR write a folder: an empty object beside it."""
_APPLE_DOUBLE: Final = "._"

_TRAINING: Final = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|trainer_state|global_step)[^/]*", re.IGNORECASE
)
_TWIN: Final = re.compile(
    r"(pytorch_model|model|consolidated|adapter_model|tf_model|flax_model)[^/]*\.(bin|pt|pth|h5|ckpt)"
)


def left_by(path: str) -> str | None:
    """The tool that left the file at ``path`` there, if one is known to; case does not matter."""
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
    """One note for each tool that left something among ``paths``."""
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
    """What to do about an unsafe file; ``holds`` is how the files end that hold the model, where there are such."""
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
    """One pattern for all code of a kind: nothing of it can be part of a model."""
    ending = path[path.rfind(".") :]
    return f"*{ending}" if danger_of(f"x{ending}") == "Code" else path
