"""SIGTERM ends a run as Ctrl-C does: whatever started a server stops it."""

from __future__ import annotations

import signal
from typing import NoReturn

__all__ = ["unwind_on_sigterm"]


def unwind_on_sigterm() -> None:
    """Makes SIGTERM raise KeyboardInterrupt; without a handler it would leave servers behind."""
    signal.signal(signal.SIGTERM, _unwind)


def _unwind(*_: object) -> NoReturn:
    raise KeyboardInterrupt
