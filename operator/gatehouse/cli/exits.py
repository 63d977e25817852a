"""How a command ends: the exit codes, and which error ends a command with which code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.errors import ActionError, ConditionNotMet
from gatehouse.printing import stderr

__all__ = ["ERROR", "NOT_MET", "exits", "fail"]

NOT_MET: Final = 1
"""A condition is not met: a version is not ready, two versions differ, a trail is broken."""
ERROR: Final = 2
"""The request is refused, or it failed."""


def fail(message: str, *, code: int = ERROR) -> NoReturn:
    """Prints the reason to stderr and ends the command."""
    stderr().labelled("error", message)
    raise typer.Exit(code)


@contextmanager
def exits(*others: type[Exception]) -> Iterator[None]:
    """Ends the command with the message and the code of an error that its work raises.

    ``others`` are errors outside of the tree of :mod:`gatehouse.errors` whose text is the whole message, as OSError.
    """
    try:
        yield
    except ConditionNotMet as error:
        fail(str(error), code=NOT_MET)
    except ActionError as error:
        fail(str(error))
    except ReconcileError as error:
        fail(f"{error.message}. {error.remedy}".rstrip(". ") + ".")
    except others as error:
        fail(str(error))
