"""Imports without the garbage collector, which would look through what they make again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["for_good"]


@contextmanager
def for_good() -> Iterator[None]:
    """Whatever is made within lives as long as the process: the collector looks at it neither now nor later.

    One look at the end, for what the imports left behind, in place of hundreds: it saves a tenth of the second that the
    operator's take.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
