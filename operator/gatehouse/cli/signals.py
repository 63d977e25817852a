"""A command that receives SIGTERM stops at once: the first process of a container ignores SIGTERM by default."""

from __future__ import annotations

import signal
from collections.abc import Awaitable
from typing import Final, TypeVar

from gatehouse.errors import ActionError

__all__ = ["until_told_to_stop"]

T = TypeVar("T")
_WORD: Final = "SIGTERM"


async def until_told_to_stop(work: Awaitable[T], *, stopped: ActionError) -> T:
    """The result of the work. On SIGTERM the work is cancelled and ``stopped`` is raised."""
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    loop.add_signal_handler(signal.SIGTERM, task.cancel, _WORD)
    try:
        return await work
    except asyncio.CancelledError as error:
        if error.args == (_WORD,):
            raise stopped from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
