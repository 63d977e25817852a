"""kopf as the source of events: kopf only lists and watches, in its own thread.

Each setting addresses a behaviour that was measured or read in kopf 1.45.2.

kopf turns each object that it reads into a queue and a task, and never reports the end of a list. This module takes
objects from the response instead. An object then costs little more than its JSON, and the end of each list is known.
The end shows which objects were deleted while no watch was open. kopf keeps the work that it does well: list, watch,
and start again after the loss of a connection, a credential or a resource version.

kopf expects to own its event loop. In the main thread kopf takes the handlers of SIGTERM and SIGINT. When kopf ends, it
cancels every task of the loop that was created after its start, which would include the reconciles in flight. In its
own thread and loop, kopf can fail, restart and list again at any time without an effect on the workers. The thread
hands lists and events to the sink's loop in order.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import aiohttp
import kopf
import msgspec
import orjson
import structlog

from gatehouse.runtime.informer import ListPage, Sink, WatchEvent
from gatehouse.runtime.refs import Gvr
from gatehouse.runtime.workqueue import Backoff

__all__ = ["KopfSource", "Login", "NotListedError", "build_registry", "build_settings", "open_session"]

Login = Callable[[], kopf.ConnectionInfo]
"""Finds the API server and the credentials. Called again when the server refuses the credentials. May read files."""

CleanupHandler = Callable[..., Awaitable[None]]
LoginHandler = Callable[..., Awaitable[kopf.AiohttpSession]]

PAGE_SIZE: Final = 100
"""Objects per page of a list. An object may be as large as etcd allows, and a whole page is in memory as JSON."""


def default_login() -> kopf.ConnectionInfo:
    """The service account of the Pod, else KUBECONFIG. Raises `kopf.LoginError` without either."""
    settings = kopf.OperatorSettings()
    info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise kopf.LoginError("found neither a service account token nor a kubeconfig: run in a Pod or set KUBECONFIG")
    return info


async def open_session(
    info: kopf.ConnectionInfo, response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse
) -> aiohttp.ClientSession:
    """A session with the credentials, on the running loop."""
    context = await asyncio.to_thread(info.as_ssl_context)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        response_class=response_class,
    )


class NoDiffBase(kopf.DiffBaseStorage):
    """Stores nothing. The default storage copies every body three times to compute an unused diff."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        pass


class NoProgress(kopf.ProgressStorage):
    """Stores nothing: `on.event` has no progress."""

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        pass

    def purge(self, **_: object) -> None:
        pass

    def touch(self, **_: object) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def build_settings(*, page_size: int = PAGE_SIZE) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # one POST per call, without aggregation
    settings.peering.standalone = True  # peering is priority, not election
    settings.scanning.disabled = True  # would list and watch every CRD and namespace of the cluster
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.queueing.worker_limit = None  # a limit holds each slot for idle_timeout
    settings.queueing.idle_timeout = 0.2  # lifetime of a task and a queue after an object's last event
    settings.watching.chunk_size = page_size
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = [1, 2, 5]
    settings.process.ultimate_exiting_timeout = None  # kopf must not kill a process it does not own
    return settings


def build_registry(
    resources: Collection[Gvr],
    *,
    login: LoginHandler,
    cleanup: CleanupHandler,
) -> kopf.OperatorRegistry:
    """A separate registry with an event handler for each resource: kopf watches only resources with a handler."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(login)
    kopf.on.cleanup(registry=registry, id="cleanup")(cleanup)
    for resource in resources:
        kopf.on.event(
            group=resource.group,
            version=resource.version,
            plural=resource.plural,
            registry=registry,
            id=resource.plural,
        )(_handle)
    return registry


async def _handle(**_: object) -> None:
    """Never called: events are taken from the response."""


def quiet_loggers() -> None:
    """Silence kopf's log lines for each event, and its remark that it does not handle signals here."""
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_PART: Final = 1024 * 1024
"""Bytes of JSON decoded at a time. Decoded JSON takes some ten times the memory, and decoding blocks the loop."""

Scope = tuple[str, str | None]
"""A kind and its listed namespace, or None for all."""


class Taker(Protocol):
    """Receives the content of a response."""

    async def take_page(self, page: ListPage) -> None:
        """Apply one page of a list; kopf requests the next page after this returns."""
        ...

    def take_watch(self, scope: Scope) -> None:
        """The API server has begun to answer a watch."""
        ...

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None:
        """Apply watch events of one kind, in their order."""
        ...


def taking_response(paths: Mapping[str, Scope], taker: Taker) -> type[aiohttp.ClientResponse]:
    """A response class that hands lists and watch events to ``taker``, and leaves kopf empty lists and bookmarks.

    ``paths`` maps the path of each collection to its kind and namespace; other responses stay unchanged.
    """

    class TakingResponse(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            scope = paths.get(self.url.path)
            if scope is not None and self.status == 200 and "watch" in self.url.query:
                taker.take_watch(scope)
                self.content = _WatchStream(self.content, scope[0], taker)  # type: ignore[assignment]
            return self

        async def json(self, **_options: Any) -> Any:
            data = await self.read()
            scope = paths.get(self.url.path)
            if self.status != 200 or scope is None:
                return orjson.loads(data)
            document, items = _split(data)
            if items is None:
                return document
            for page in _pages(document, items, scope, first="continue" not in self.url.query):
                await taker.take_page(page)
            return {**document, "items": []}

    return TakingResponse


def _split(data: bytes) -> tuple[dict[str, Any], list[msgspec.Raw] | None]:
    """The members of a list without its items, and the undecoded items; the whole body and None without items."""
    members = _MEMBERS.decode(data)
    if memoryview(members.get("items", msgspec.Raw(b"null")))[0] != ord("["):
        return orjson.loads(data), None
    items = _ITEMS.decode(members.pop("items"))
    return {name: orjson.loads(memoryview(member)) for name, member in members.items()}, items


def _pages(
    document: Mapping[str, Any], items: Sequence[msgspec.Raw], scope: Scope, *, first: bool
) -> Iterator[ListPage]:
    """The API server's response in pages of at most ``_PART`` bytes or one object; one page for an empty list."""
    metadata = document.get("metadata") or {}
    kind, namespace = scope
    parts = _parts(items)
    for number, part in enumerate(parts):
        yield ListPage(
            kind=kind,
            namespace=namespace,
            items=tuple(orjson.loads(memoryview(item)) for item in part),
            resource_version=metadata.get("resourceVersion", ""),
            first=first and number == 0,
            last=not metadata.get("continue") and number == len(parts) - 1,
        )


def _parts(items: Sequence[msgspec.Raw]) -> list[list[msgspec.Raw]]:
    parts: list[list[msgspec.Raw]] = [[]]
    size = 0
    for item in items:
        length = len(memoryview(item))
        if parts[-1] and size + length > _PART:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += length
    return parts


class _WatchStream:
    """The body of a watch without its events; other attributes are those of the wrapped reader."""

    def __init__(self, content: aiohttp.StreamReader, kind: str, taker: Taker) -> None:
        self._content = content
        self._kind = kind
        self._taker = taker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The lines for kopf; when a chunk ends with a taken event, a bookmark with its version."""
        rest = b""
        async for data in self._content.iter_chunked(size):
            *lines, rest = (rest + data).split(b"\n")
            left = self._take(lines)
            if left:
                yield b"".join(line + b"\n" for line in left)
        if rest:
            yield rest

    def _take(self, lines: Sequence[bytes]) -> list[bytes]:
        events: list[WatchEvent] = []
        left: list[bytes] = []
        event: WatchEvent | None = None
        for line in lines:
            event = _event_of(line)
            if event is None:
                left.append(line)
            else:
                events.append(event)
        if events:
            self._taker.take_events(self._kind, events)
        if event is not None:
            left.append(_bookmark(event))
        return left


def _event_of(line: bytes) -> WatchEvent | None:
    """The event of a line; None for bookmarks, errors and invalid JSON."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match document:
        case {"type": "ADDED" | "MODIFIED" | "DELETED" as event_type, "object": dict(body)}:
            return WatchEvent(type=event_type, body=body)
        case _:
            return None


def _bookmark(event: WatchEvent) -> bytes:
    """A bookmark that gives kopf the version from which to continue the watch."""
    version = (event.body.get("metadata") or {}).get("resourceVersion")
    return orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version} if version else {}}})


log = structlog.get_logger(__name__)

_HEARTBEAT = 1.0
_STOP_WAIT = 15.0
_HEALTHY_AFTER = 60.0


class NotListedError(Exception):
    """Some resources were never listed, most likely because the API server does not have them."""


class KopfSource:
    """Lists and watches the resources, cluster-wide or in the given namespaces.

    ``identity`` is passed to kopf. kopf would otherwise look up the user's name, and an arbitrary UID, as OpenShift
    assigns, has none. The source restarts kopf with backoff after any end of kopf. The source also restarts kopf when
    a resource was not listed within ``list_limit`` seconds, because kopf looks for missing custom resource definitions
    only at its start.
    """

    def __init__(
        self,
        *,
        resources: Collection[Gvr],
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

    @property
    def watching(self) -> bool:
        """Whether the present run of kopf has opened every watch."""
        return self._life is not None and self._life.has_watched(self._paths().values())

    def relist(self) -> None:
        """Restart kopf, which lists everything, unless a restart is already pending."""
        if self._life is not None and self._life.has_listed(self._paths().values()):
            self._life.relist_asked = True
            self._life.stop()

    def stalled_for(self) -> float:
        """Seconds since kopf's event loop last ran, beyond its heartbeat; 0 during a restart."""
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
        """Log in, with retries: after one failure kopf would wait for credentials without end.

        Refused credentials are read again at once only if the previous ones were accepted for a while.
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
                # kopf would stop for good after any error of a login, and the cause may pass.
                log.exception("login failed and is tried again")

    def _paths(self) -> dict[str, Scope]:
        return {
            resource.path(scope): (resource.plural, scope)
            for resource in self._resources
            for scope in (self._namespaces if self._namespaces and resource.namespaced else (None,))
        }


class _Life:
    """One run of kopf: a thread, its event loop, and the bridge to the sink's loop."""

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
        self._watched: set[Scope] = set()
        self._failure: Exception | None = None
        self._helpers: list[asyncio.Task[None]] = []

    async def run(self) -> BaseException | None:
        """Run until kopf ends and return the cause; when cancelled, end kopf and wait for its end."""
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
        """Set the end flag. When kopf ends by itself, its own waiter does not set the flag, and kopf would wait 5 s."""
        self.stopping.set()

    def stalled_for(self) -> float:
        return max(0.0, time.monotonic() - self._beat_at - 2 * _HEARTBEAT)

    def expect_lists(self, scopes: Iterable[Scope], *, within: float) -> None:
        """End kopf if it does not begin all these lists within ``within`` seconds."""

        async def watchdog() -> None:
            await asyncio.sleep(within)
            if missing := {kind for kind, _ in set(scopes) - self._begun}:
                kinds = ", ".join(sorted(missing))
                self._failure = NotListedError(f"not listed within {within:g} s: {kinds}")
                self.stopping.set()

        self._helpers.append(asyncio.create_task(watchdog()))

    def has_listed(self, scopes: Iterable[Scope]) -> bool:
        """Whether all these lists were completed at least once."""
        return self._complete.issuperset(scopes)

    def has_watched(self, scopes: Iterable[Scope]) -> bool:
        """Whether all these watches were opened at least once."""
        return self._watched.issuperset(scopes)

    def take_watch(self, scope: Scope) -> None:
        """Remember the watch."""
        self._watched.add(scope)

    async def take_page(self, page: ListPage) -> None:
        """Pass the page to the sink before kopf requests the next page."""
        scope = (page.kind, page.namespace)
        self._begun.add(scope)

        async def take() -> None:
            self._sink.take_page(page)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(take(), self._outer))
        if page.last:
            self._complete.add(scope)

    def take_events(self, kind: str, events: Sequence[WatchEvent]) -> None:
        """Pass the events to the sink."""
        with contextlib.suppress(RuntimeError):  # the outer loop is closed: the sink has ended
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
