"""Shell completion without pydantic and rich, which typer would import and which take longer than all of the rest."""

from __future__ import annotations

import os
from typing import Any, Final

from typer import _completion_classes
from typer.core import TyperArgument, TyperOption

__all__ = ["complete_lightly", "is_completing"]

_VARIABLE: Final = "GATEHOUSE_COMPLETE"
"""The end of the variable that the scripts of the shells set: ``_GATEHOUSE_…``, or ``_KUBECTL_GATEHOUSE_…``."""


def is_completing() -> bool:
    """Whether the process completes a command line and then ends."""
    return any(name.endswith(_VARIABLE) for name in os.environ)


def complete_lightly() -> None:
    """Values stay as they were typed, as completion uses none; help stays as it is, as it holds no markup of rich.

    A test counts the imports of a completion, and so notices when typer no longer has these names.
    """
    for place, name, replacement in (
        (TyperOption, "process_value", _as_typed),
        (TyperArgument, "process_value", _as_typed),
        (_completion_classes, "_sanitize_help_text", str),
    ):
        setattr(place, name, replacement)


def _as_typed(parameter: Any, ctx: Any, value: Any) -> Any:
    del parameter, ctx
    return value
