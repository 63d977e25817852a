"""A thread beside a test that does one controller's work again and again, with a client of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient

__all__ = ["polling"]

_POLL = 0.05


@contextlib.contextmanager
def polling(plane: RunningControlPlane, work: Callable[[KubeClient], None], *, name: str) -> Iterator[None]:
    """For as long as the block lasts. The first error of ``work`` ends the thread, and the block raises the error."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        with contextlib.closing(plane.client()) as client:
            try:
                while not stop.wait(_POLL):
                    work(client)
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failures.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
