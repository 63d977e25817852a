"""The project's files that are not Python: CRDs, manifests and kustomizations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from gatehouse.install.errors import FileNotShipped

__all__ = ["documents", "shipped"]

_KUSTOMIZATION: Final = "kustomization.yaml"
"""Lists the files of its folder for kustomize; not an object."""
_INSTALLED: Final = Path(__file__).parent / "data"
_CHECKOUT: Final = Path(__file__).parents[3]


def shipped(relative: str) -> Path:
    """The path of a shipped file or folder such as ``crds`` or ``kustomize``.

    A wheel contains the files as package data below ``gatehouse/install/data``; a source checkout has them at its root.

    Raises:
        FileNotShipped: both places lack the file.
    """
    candidates = (_INSTALLED / relative, _CHECKOUT / relative)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise FileNotShipped(
        f"{relative} is not part of this installation (looked in {looked}). "
        "Install the wheel, or run from a source checkout."
    )


def documents(relative: str) -> Iterator[dict[str, Any]]:
    """Every object in the ``*.yaml`` files of a shipped folder, in the order of the file names."""
    for path in sorted(shipped(relative).glob("*.yaml")):
        if path.name == _KUSTOMIZATION:
            continue
        for document in yaml.safe_load_all(path.read_text()):
            if document:
                yield document
