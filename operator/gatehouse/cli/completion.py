"""Help and completion without pydantic and rich: typer would import them, and they take longer than all the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partialmethod
from typing import Any, Final

from typer import _completion_classes
from typer.core import TyperArgument, TyperOption

__all__ = ["coerce_late", "complete_lightly", "is_completing"]

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


def coerce_late() -> None:
    """Typer imports pydantic to convert a value, and so only for values: with ``--help``, most options have none.

    A test counts the imports of every help, and so notices when typer no longer has this name.
    """
    name = "get_runtime_param"
    for kind in (TyperOption, TyperArgument):
        setattr(kind, name, partialmethod(_LateCoercion, getattr(kind, name)))


class _LateCoercion:
    """The conversion of the values of one parameter; ``make`` is typer's own."""

    def __init__(self, parameter: Any, make: Callable[[Any], Any]) -> None:
        self._parameter = parameter
        self._make = make

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The converted value; None, or no values, where none was given."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        return self._make(self._parameter).coerce(value, param=param, ctx=ctx)
