"""The thread that uses one database. The process can end without the thread when the database does not answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

__all__ = ["DatabaseThread"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DatabaseThread(Executor):
    """Runs calls one at a time, in a daemon thread that the first call starts.

    Before its exit Python waits for the threads of a ThreadPoolExecutor. A driver may wait for a silent server longer
    than Kubernetes waits for a Pod.
    """

    def __init__(self, *, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Queues the call and returns its future."""
        answer: Future[_T] = Future()

        def call() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the answer gets it
                answer.set_exception(error)
            else:
                answer.set_result(result)

        self._calls.put(call)
        if self._thread.ident is None:
            self._thread.start()
        return answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - Executor's
        """Ends the thread after the queued calls. Returns at once, whatever ``wait`` says."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
