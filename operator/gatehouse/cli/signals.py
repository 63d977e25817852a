"""A command that is told to stop stops at once: in a container nobody else would make it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from typing import Final, TypeVar

__all__ = ["Stopped", "until_told_to_stop"]

T = TypeVar("T")
_WORD: Final = "SIGTERM"


class Stopped(Exception):
    """SIGTERM came before the work was done."""


async def until_told_to_stop(work: Awaitable[T]) -> T:
    """The answer of the work. The first process of a container ignores SIGTERM unless it handles it.

    Raises Stopped on SIGTERM; the work is cancelled then.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    loop.add_signal_handler(signal.SIGTERM, task.cancel, _WORD)
    try:
        return await work
    except asyncio.CancelledError as error:
        if error.args == (_WORD,):
            raise Stopped("stopped by SIGTERM") from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
