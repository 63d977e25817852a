"""kopf as the source of events, in a thread of its own.

kopf wants to own its event loop: in the main thread it takes the handlers of SIGTERM and SIGINT, and when
it ends it cancels every task of the loop that was created after it started, which would be the reconciles
in flight. In its own thread and loop it can fail, be restarted and be told to list again at any time
without touching the workers, and what it delivers is handed over to the sink's loop in order.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, cast

import kopf
import structlog

from gatehouse.engine.api_session import Login, default_login, open_session
from gatehouse.engine.informer import ListPage, Sink, WatchEvent
from gatehouse.engine.kopf_setup import build_registry, build_settings, quiet_loggers
from gatehouse.engine.objects import Resource
from gatehouse.engine.taking import Scope, taking_response
from gatehouse.engine.workqueue import Backoff

__all__ = ["KopfSource"]

log = structlog.get_logger(__name__)

_HEARTBEAT = 1.0
_STOP_WAIT = 15.0
_HEALTHY_AFTER = 60.0


class NotListedError(Exception):
    """Some resources were never listed, most likely because the API server does not have them."""


class KopfSource:
    """Lists and watches the resources, cluster-wide or in the given namespaces.

    ``identity`` is passed to kopf, which otherwise asks for the name of the user: an arbitrary UID, as
    OpenShift assigns, has none. When kopf ends for whatever reason it is started again after a backoff;
    so it is when a resource was not listed within ``list_limit`` seconds, because kopf looks for missing
    custom resource definitions at its start only.
    """

    def __init__(
        self,
        *,
        resources: Collection[Resource],
        identity: str,
        namespaces: Collection[str] = (),
        login: Login = default_login,
        settings: Callable[[], kopf.OperatorSettings] = build_settings,
        backoff: Backoff | None = None,
        list_limit: float = 20.0,
    ) -> None:
        self._resources = tuple(resources)
        self._identity = identity
        self._namespaces = tuple(namespaces)
        self._login = login
        self._settings = settings
        self._backoff = backoff or Backoff(base=1.0, cap=30.0)
        self._list_limit = list_limit
        self._life: _Life | None = None
        self._logins = 0
        self._login_at = 0.0

    async def run(self, sink: Sink) -> None:
        """Deliver lists and events until cancelled."""
        quiet_loggers()
        failures = 0
        while True:
            life = self._life = _Life(self._operate, sink)
            started = time.monotonic()
            try:
                error = await life.run()
            finally:
                self._life = None
            if life.relist_asked:
                failures = 0
                continue
            if time.monotonic() - started > _HEALTHY_AFTER:
                failures = 0
            delay = self._backoff.delay(failures)
            failures += 1
            log.warning("watching has ended and starts again", error=repr(error), seconds=round(delay, 1))
            await asyncio.sleep(delay)

    def relist(self) -> None:
        """End kopf and start it again, which lists everything, unless it is about to do that anyway."""
        if self._life is not None and self._life.has_listed(self._paths().values()):
            self._life.relist_asked = True
            self._life.stop()

    def stalled_for(self) -> float:
        """Seconds since kopf's event loop last ran, beyond its heartbeat; 0 while it is restarted."""
        return self._life.stalled_for() if self._life is not None else 0.0

    async def _operate(self, life: _Life) -> None:
        registry = build_registry(self._resources, login=self._login_handler(life), cleanup=life.ending)
        life.expect_lists(self._paths().values(), within=self._list_limit)
        await kopf.operator(
            registry=registry,
            settings=self._settings(),
            identity=cast("Any", self._identity),  # a NewType that kopf does not export
            stop_flag=life.stopping,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )

    def _login_handler(self, life: _Life) -> Callable[..., Awaitable[kopf.AiohttpSession]]:
        response_class = taking_response(self._paths(), life)

        async def login(**_: Any) -> kopf.AiohttpSession:
            info = await self._logged_in()
            session = await open_session(info, response_class)
            return kopf.AiohttpSession(
                server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
            )

        return login

    async def _logged_in(self) -> kopf.ConnectionInfo:
        """Log in, however often it takes: kopf would wait for ever for credentials after one failure.

        Credentials that are refused are read again at once only if the last ones held for a while.
        """
        while True:
            if time.monotonic() - self._login_at > _HEALTHY_AFTER:
                self._logins = 0
            elif self._logins:
                await asyncio.sleep(self._backoff.delay(self._logins - 1))
            self._logins += 1
            self._login_at = time.monotonic()
            try:
                return await asyncio.to_thread(self._login)
            except Exception:
                log.exception("login failed and is tried again")

    def _paths(self) -> dict[str, Scope]:
        return {
            resource.path(scope): (resource.plural, scope)
            for resource in self._resources
            for scope in (self._namespaces if self._namespaces and resource.namespaced else (None,))
        }


class _Life:
    """One life of kopf: a thread, its event loop, and the bridge from there to the sink's loop."""

    def __init__(self, operate: Callable[[_Life], Awaitable[None]], sink: Sink) -> None:
        self.stopping = asyncio.Event()
        self.relist_asked = False
        self._operate = operate
        self._sink = sink
        self._outer = asyncio.get_running_loop()
        self._inner = asyncio.new_event_loop()
        self._ended: concurrent.futures.Future[BaseException | None] = concurrent.futures.Future()
        self._beat_at = time.monotonic()
        self._begun: set[Scope] = set()
        self._complete: set[Scope] = set()
        self._failure: Exception | None = None
        self._helpers: list[asyncio.Task[None]] = []

    async def run(self) -> BaseException | None:
        """Run until kopf ends and return why; when cancelled, end it and wait for that."""
        threading.Thread(target=self._main, name="kopf", daemon=True).start()
        ended = asyncio.wrap_future(self._ended)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([ended], timeout=_STOP_WAIT)
            raise

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the inner loop is closed: it has ended by itself
            self._inner.call_soon_threadsafe(self.stopping.set)

    async def ending(self, **_: Any) -> None:
        """Set the flag that kopf's own waiter for it leaves kopf waiting 5 s for, when kopf ends by itself."""
        self.stopping.set()

    def stalled_for(self) -> float:
        return max(0.0, time.monotonic() - self._beat_at - 2 * _HEARTBEAT)

    def expect_lists(self, scopes: Iterable[Scope], *, within: float) -> None:
        """End kopf if it does not begin all these lists in time."""

        async def watchdog() -> None:
            await asyncio.sleep(within)
            if missing := {kind for kind, _ in set(scopes) - self._begun}:
                kinds = ", ".join(sorted(missing))
                self._failure = NotListedError(f"not listed within {within:g} s: {kinds}")
                self.stopping.set()

        self._helpers.append(asyncio.create_task(watchdog()))

    def has_listed(self, scopes: Iterable[Scope]) -> bool:
        """Whether all these lists have ended at least once."""
        return self._complete.issuperset(scopes)

    async def take_page(self, page: ListPage) -> None:
        """Have the sink take the page before kopf asks for the next one."""
        scope = (page.kind, page.namespace)
        self._begun.add(scope)

        async def take() -> None:
            self._sink.take_page(page)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(take(), self._outer))
        if page.last:
            self._complete.add(scope)

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None:
        """Have the sink take the events."""
        with contextlib.suppress(RuntimeError):  # the outer loop is closed: nobody listens any more
            self._outer.call_soon_threadsafe(self._sink.take_events, kind, events)

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._inner) as runner:
                runner.run(self._live())
        except BaseException as caught:  # noqa: BLE001 - whatever ended the thread is for run() to tell
            error = caught
        self._ended.set_result(error or self._failure)

    async def _live(self) -> None:
        self._helpers.append(asyncio.create_task(self._beat()))
        await self._operate(self)  # the runner cancels the helpers

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(_HEARTBEAT)
