"""The application: every request gets a trace, an endpoint, a caller, an answer, a line in the log and a count.

:func:`build_app` makes the application of its parts. No part is global, so that tests and processes build as many as
they need.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from gatehouse.runtime.traces import Trace, trace_of
from gatehouse.server.calls import Call, UncheckedCall, read_query
from gatehouse.server.errors import Internal, RequestError, Unauthenticated, Unavailable, request_error
from gatehouse.server.identity.access import Access
from gatehouse.server.identity.headers import Peer, RawHeaders
from gatehouse.server.metrics import NO_ROUTE, ServerMetrics
from gatehouse.server.readiness import ReadinessChecks, probe_of
from gatehouse.server.rendering import ErrorRenderer, own_error
from gatehouse.server.routing import Family, RouteMatch, RouteTable, UncheckedEndpoint
from gatehouse.server.spans import NoSpans, RequestSpan, RequestSpans

__all__ = ["App", "Identify", "build_app"]

HEALTHZ: Final = "/healthz"
_CLIENT_GONE: Final = 499
_READING: Final = frozenset({"GET", "HEAD"})
_log = structlog.get_logger(__name__)


class Identify(Protocol):
    """Says who asks, and with which rights."""

    def __call__(self, headers: RawHeaders, peer: Peer) -> Awaitable[Access]:
        """The rights of the caller. Raises RequestError."""
        ...


@dataclass(slots=True)
class _Outcome:
    """What is known of a request when it ends, for the log and the metrics: never a path, a query or a header.

    ``headers`` are those that every answer of the family has.
    """

    route: str = NO_ROUTE
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    status: int = _CLIENT_GONE
    user: str = ""
    error: Exception | None = field(default=None, repr=False)


class App:
    """The ASGI application; :func:`build_app` describes the parts."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        identify: Identify,
        readiness: ReadinessChecks,
        metrics: ServerMetrics,
        spans: RequestSpans,
        max_body: int,
    ) -> None:
        self._routes = routes
        self._identify = identify
        self._readiness = readiness
        self._metrics = metrics
        self._spans = spans
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            raise ValueError(f"the server speaks HTTP; the connection is {scope['type']}")
        headers: RawHeaders = scope["headers"]
        trace = trace_of([value.decode("latin-1") for name, value in headers if name == b"traceparent"])
        method: str = scope["method"]
        outcome, started = _Outcome(), time.perf_counter()
        self._metrics.started()
        bound = structlog.contextvars.bound_contextvars
        with self._spans.request(trace, method) as span, bound(trace_id=span.trace_id):
            try:
                traced = Trace(span.trace_id, trace.parent_id, traceparent=span.traceparent)
                response = await self._answer(scope, receive, traced, outcome)
                response.headers.update({**outcome.headers, "x-request-id": span.trace_id})
                outcome.status = response.status_code
                await response(scope, receive, send)
            except ClientDisconnect:
                outcome.status = _CLIENT_GONE
            finally:
                self._end(outcome, span, method=method, seconds=time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, trace: Trace, outcome: _Outcome) -> Response:
        path: str = scope["path"]
        render: ErrorRenderer = own_error
        try:
            if (probe := probe_of(path)) is not None:
                outcome.route = f"/readyz/{probe}"
                return await self._readiness.answer(probe, method=scope["method"], query=scope["query_string"])
            if path == HEALTHZ:
                outcome.route = HEALTHZ
                return PlainTextResponse("ok\n")
            if (document := self._routes.document(scope["method"], path)) is not None:
                outcome.route = path
                return Response(document, media_type="application/json")
            if (family := self._routes.family(path)) is not None:
                render, outcome.headers = family.render, family.headers
            return await self._call(scope, receive, trace, outcome)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - every error of a handler becomes an answer
            outcome.error = error
            return render(request_error(error), trace.trace_id)

    async def _call(self, scope: Scope, receive: Receive, trace: Trace, outcome: _Outcome) -> Response:
        method: str = scope["method"]
        match = self._routes.match(method, scope["path"])
        outcome.route = match.template
        endpoint = match.endpoint
        if isinstance(endpoint, UncheckedEndpoint):
            return await endpoint.handler(self._unchecked(scope, receive, trace, match))
        access = await self._identify(scope["headers"], _peer(scope))
        outcome.user = access.caller.person.name
        if access.caller.anonymous and method not in _READING:
            raise Unauthenticated("an anonymous caller may only read; expected: the header Authorization: Bearer TOKEN")
        return await endpoint.handler(Call.of(self._unchecked(scope, receive, trace, match), access))

    def _unchecked(self, scope: Scope, receive: Receive, trace: Trace, match: RouteMatch) -> UncheckedCall:
        return UncheckedCall(
            params=match.params,
            query=read_query(scope["query_string"]),
            headers=scope["headers"],
            trace=trace,
            max_body=self._max_body,
            receive=receive,
        )

    def _end(self, outcome: _Outcome, span: RequestSpan, *, method: str, seconds: float) -> None:
        self._metrics.answered(route=outcome.route, method=method, status=outcome.status, seconds=seconds)
        span.answered(route=outcome.route, status=outcome.status)
        error = outcome.error
        about = {
            "route": outcome.route,
            "method": method if method.isalpha() else "other",
            "status": outcome.status,
            "ms": round(seconds * 1000, 2),
        }
        if outcome.user:
            about["user"] = outcome.user
        if error is not None and isinstance(request_error(error), Internal):
            _log.error("request failed", **about, exc_info=error)
        elif error is not None and isinstance(request_error(error), Unavailable):
            _log.warning("request not served", **about, cause=_cause(error))
        elif outcome.route.startswith("/readyz") or outcome.route == HEALTHZ:
            _log.debug("probe", **about)
        else:
            _log.info("request", **about)


def build_app(
    *,
    families: Sequence[Family],
    identify: Identify,
    readiness: ReadinessChecks,
    metrics: ServerMetrics,
    spans: RequestSpans | None = None,
    max_body: int = 1_048_576,
) -> App:
    """The application.

    Args:
        families: the APIs, each with its endpoints and the form of its errors.
        identify: says who asks.
        readiness: the checks of the probes, which need no credentials.
        metrics: counts requests.
        spans: sends traces; none by default.
        max_body: bytes of a body.
    """
    return App(
        routes=RouteTable(families),
        identify=identify,
        readiness=readiness,
        metrics=metrics,
        spans=spans or NoSpans(),
        max_body=max_body,
    )


def _peer(scope: Scope) -> Peer:
    client = scope.get("client")
    name = scope.get("state", {}).get("certificate_name", "")
    return Peer(address=client[0] if client else "", certificate_name=name)


def _cause(error: Exception) -> str:
    """The error behind a 503: the log may name the database and the API server, the answer may not."""
    behind = error.__cause__ if isinstance(error, RequestError) and error.__cause__ is not None else error
    return str(behind)
