"""The only way from ``gatehouse`` to ``gatehouse_local``, which a checkout has and the operator's image has not.

Everything is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["local_kubectl"]

_PACKAGE: Final = "gatehouse_local"


def local_kubectl() -> Path | None:
    """The kubectl that the local cluster downloaded or built for itself; None where it did not."""
    if find_spec(_PACKAGE) is None:
        return None
    kubectl: Path | None = import_module(f"{_PACKAGE}.binaries").Binaries().find("kubectl")
    return kubectl
