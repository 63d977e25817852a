"""Files beside a model that are no part of it: what tools and training leave behind, and weights in another form.

No loader reads what a tool left: such a file is hashed like every other, named in a note, and never taken for weights.
An empty one is passed over, as KServe's storage initializer passes it over. What can run code stays refused wherever
it comes from (:mod:`gatehouse.domain.unsafe_files`); where the file comes from decides only what is advised.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from gatehouse.domain.format_error import listed, shown
from gatehouse.domain.unsafe_files import Danger

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


def remedy_for(path: str, danger: Danger, *, paths: Collection[str], weights: bool) -> str:
    """What to do about an unsafe file among ``paths``; ``weights`` says that there are safetensors at the top."""
    name = path.rpartition("/")[2]
    without = f"Remove it, or leave it out: gatehouse upload --exclude {shown(path)}."
    tool = left_by(path)
    if tool is not None:
        return f"It was left by {tool} and is no part of the model. {without}"
    if _TRAINING.fullmatch(name):
        return f"It was left by training, and serving does not need it. {without}"
    if danger == "Archive":
        return "Unpack it, remove it, and upload the files themselves."
    if danger == "Code":
        return f"Servers run the runtime's own code, never the model's. {without}"
    if path.endswith(".bin") and f"{path[:-4]}.xml" in paths:
        return f"It and the .xml beside it are a model for OpenVINO. {without}"
    if weights and _TWIN.fullmatch(name):
        return f"The *.safetensors files hold the weights, and nothing here reads others. {without}"
    return "Convert the weights to safetensors and remove the file."
