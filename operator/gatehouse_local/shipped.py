"""Files that belong to the project but are no Python: CRDs, manifests, the Go modules of the control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gatehouse_local.errors import LocalClusterError

__all__ = ["documents", "shipped"]

# Lists the files of its folder for kustomize; it is no object.
_KUSTOMIZATION = "kustomization.yaml"
_INSTALLED = Path(__file__).parent / "data"
_CHECKOUT = Path(__file__).parents[2]


def shipped(relative: str) -> Path:
    """The path of a shipped file or folder such as `crds` or `hack/controlplane`.

    A wheel carries it as package data below `gatehouse_local/data`; in a source checkout it is found from
    the root.

    Raises:
        LocalClusterError: it is in neither place.
    """
    candidates = (_INSTALLED / relative, _CHECKOUT / relative)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise LocalClusterError(
        f"{relative} is not part of this installation (looked in {looked}). "
        "Install the wheel, or run from a source checkout."
    )


def documents(relative: str) -> Iterator[dict[str, Any]]:
    """Every object in the `*.yaml` files of a shipped folder, in the order of their names."""
    for path in sorted(shipped(relative).glob("*.yaml")):
        if path.name == _KUSTOMIZATION:
            continue
        for document in yaml.safe_load_all(path.read_text()):
            if document:
                yield document
