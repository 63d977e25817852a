"""Parts of a server in memory: an API server that reviews, callers, and an application over them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import CollectorRegistry
from starlette.responses import Response

from gatehouse.actions.identity import Action
from gatehouse.cluster.client import ApiClient, ClusterError
from gatehouse.server.app import App, build_app
from gatehouse.server.calls import Call
from gatehouse.server.identity.access import AccessReviews, CallerClients
from gatehouse.server.identity.authentication import Authentication
from gatehouse.server.identity.headers import HeaderPolicy
from gatehouse.server.identity.identification import Identification
from gatehouse.server.metrics import ServerMetrics
from gatehouse.server.readiness import ProbeResult, ReadinessCheck, ReadinessChecks
from gatehouse.server.rendering import json_response, kubeflow_error
from gatehouse.server.routing import Endpoint, Family
from gatehouse.server.spans import RequestSpans

__all__ = ["PREFIX", "Answer", "Clock", "ReviewServer", "application", "ask", "family", "identification", "passing"]

PREFIX = "/api/model_registry/v1alpha3"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


class ReviewServer:
    """Answers TokenReviews, SubjectAccessReviews and SelfSubjectReviews from tables, and counts them."""

    def __init__(
        self,
        *,
        tokens: Mapping[str, Mapping[str, Any]] | None = None,
        allowed: Sequence[tuple[str, Action]] = (),
        audiences: Sequence[str] = (),
    ) -> None:
        self.tokens = dict(tokens or {})
        self.allowed = set(allowed)
        self.audiences = list(audiences)
        self.failure: ClusterError | None = None
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    @property
    def counts(self) -> Counter[str]:
        return Counter(plural for plural, _ in self.asked)

    async def create(self, plural: str, namespace: str, body: Mapping[str, Any], /) -> dict[str, Any]:
        assert namespace == ""
        self.asked.append((plural, body))
        if self.failure is not None:
            raise self.failure
        match plural:
            case "tokenreviews":
                user = self.tokens.get(body["spec"]["token"])
                status: dict[str, Any] = {"authenticated": user is not None}
                if user is not None:
                    status |= {"user": dict(user), "audiences": self.audiences}
                return {"status": status}
            case "subjectaccessreviews":
                spec = body["spec"]
                return {"status": {"allowed": (spec["user"], Action(**spec["resourceAttributes"])) in self.allowed}}
            case _:
                return {"status": {"userInfo": {"username": "system:serviceaccount:home:gatehouse-server"}}}


def identification(
    api: ReviewServer,
    *,
    policy: HeaderPolicy | None = None,
    audiences: tuple[str, ...] = (),
    namespaces: frozenset[str] = frozenset(),
    clock: Clock | None = None,
    clients: CallerClients | None = None,
) -> Identification:
    now = clock or Clock()

    async def known() -> frozenset[str]:
        return namespaces

    unused = cast("ApiClient", None)
    return Identification(
        policy=policy or HeaderPolicy(),
        authentication=Authentication(api, audiences=audiences, now=now, wall=now),
        reviews=AccessReviews(api, namespaces=known, now=now),
        clients=clients or CallerClients(own=unused, bare=unused),
    )


def passing(name: str) -> ReadinessCheck:
    async def run() -> ProbeResult:
        return ProbeResult(passed=True, message=f"{name} is healthy")

    return ReadinessCheck(name=name, run=run)


async def show(call: Call) -> Response:
    """Says what the handler got."""
    scope = await call.access.readable_namespaces("modelversions")
    readable = sorted(scope) if isinstance(scope, frozenset) else "all"
    return json_response(
        {"user": call.caller.person.name, "params": dict(call.params), "query": call.query, "readable": readable}
    )


async def echo(call: Call) -> Response:
    return json_response({"bytes": len(await call.body())}, status=201)


def family(*more: Endpoint) -> Family:
    return Family(
        prefix=PREFIX,
        endpoints=[
            Endpoint(method="GET", path="/models", handler=show),
            Endpoint(method="POST", path="/models", handler=echo),
            Endpoint(method="GET", path="/models/{id}/versions", handler=show),
            *more,
        ],
        render=kubeflow_error,
    )


def application(
    identified: Identification,
    *,
    families: Sequence[Family] | None = None,
    collectors: CollectorRegistry | None = None,
    readiness: ReadinessChecks | None = None,
    spans: RequestSpans | None = None,
    max_body: int = 1_048_576,
) -> App:
    return build_app(
        families=[family()] if families is None else families,
        identify=identified.access,
        readiness=readiness
        or ReadinessChecks(dirty=[passing("database")], health=[passing("model-registry"), passing("database")]),
        metrics=ServerMetrics(collectors or CollectorRegistry()),
        spans=spans,
        max_body=max_body,
    )


@dataclass(frozen=True)
class Answer:
    """What the application sent."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


async def ask(
    app: App,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    content: bytes | Sequence[bytes] = b"",
    peer: str = "10.0.0.9",
) -> Answer:
    """One request, without a socket. Chunks of the content come one by one; after them the client is gone."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    chunks = [content] if isinstance(content, bytes) else list(content)
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": (peer, 40_000),
        "state": {},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        if not chunks:
            return {"type": "http.disconnect"}
        part = chunks.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(chunks) or not isinstance(content, bytes)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], names, b"".join(message.get("body", b"") for message in sent[1:]))
