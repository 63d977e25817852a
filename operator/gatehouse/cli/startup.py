"""Imports without the garbage collector, which would scan the objects of the imports many times."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["for_good"]


@contextmanager
def for_good() -> Iterator[None]:
    """Every object that is made within lives as long as the process: the collector scans it neither now nor later.

    Garbage of the imports, some 2,000 small objects, is kept too: a search for it takes a tenth of the time of the
    imports. In all this saves a fifth of the second that the imports of the operator take.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
