"""Files that can run code when a model is loaded, told by their names. They are refused by default.

Left out on purpose: ``.npy`` and ``.npz``, whose readers refuse pickled objects unless told otherwise; ``.model``, the
vocabulary of SentencePiece; ``.jinja``, chat templates, which servers render in a sandbox.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

__all__ = ["Danger", "danger_of"]

Danger: TypeAlias = Literal["Pickle", "Code"]

_PICKLE = frozenset(
    {"bin", "ckpt", "cloudpickle", "dill", "h5", "hdf5", "jit", "joblib", "keras", "mar", "nemo", "pickle", "pkl"}
    | {"pt", "pt2", "ptc", "pth", "ptl", "torchscript"}
)
"""Pickles, archives of pickles, and Keras files, whose Lambda layers hold marshalled code."""

_CODE = frozenset(
    {"bash", "bat", "cmd", "dll", "dylib", "egg", "exe", "jar", "llamafile", "ps1", "sh", "so", "whl"}
    | {"py", "pyc", "pyd", "pyo", "pyw", "pyx", "pyz"}
)
_VERSIONED_LIBRARY = re.compile(r"\.so(\.[0-9]+)+$")


def danger_of(path: str) -> Danger | None:
    """Why the file at ``path`` is unsafe, if it is. Case does not matter, nor do spaces and dots at the end."""
    name = path.rpartition("/")[2].lower().rstrip(" .")
    _, dot, ending = name.rpartition(".")
    if not dot:
        return None
    if ending in _PICKLE:
        return "Pickle"
    if ending in _CODE or _VERSIONED_LIBRARY.search(name):
        return "Code"
    return None
