"""The only way from ``gatehouse`` to ``gatehouse_local``, which a checkout has and the operator's image has not.

Everything is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

import typer

from gatehouse.printing import stderr

__all__ = ["LOCAL_COMMANDS", "has_local_package", "local_command", "local_kubectl"]

LOCAL_COMMANDS: Final = frozenset({"demo", "local"})
"""The commands whose modules are in ``gatehouse_local.cli``."""
_PACKAGE: Final = "gatehouse_local"
_ABSENT: Final = 2


def has_local_package() -> bool:
    """Whether ``gatehouse_local`` is installed; does not import it."""
    return find_spec(_PACKAGE) is not None


def local_command(name: str) -> ModuleType:
    """The module of a local command.

    Raises:
        typer.Exit: the package is absent; stderr says how to get it.
    """
    if not has_local_package():
        stderr().labelled(
            "error",
            f"gatehouse {name} is not part of this installation; to get it, clone the repository of Gatehouse and run "
            "make install there",
        )
        raise typer.Exit(_ABSENT)
    return import_module(f"{_PACKAGE}.cli.{name}")


def local_kubectl() -> Path | None:
    """The kubectl that the local cluster downloaded or built for itself; None where it did not."""
    if not has_local_package():
        return None
    kubectl: Path | None = import_module(f"{_PACKAGE}.binaries").Binaries().find("kubectl")
    return kubectl
