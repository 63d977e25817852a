"""The application: who gets which answer, in which form, with which trace, log and count."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from starlette.responses import Response

from gatehouse.actions.identity import Action
from gatehouse.app.logs import configure_logging
from gatehouse.cluster.client import ApiError, ApiUnavailable
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.errors import InputInvalid, NothingToDo, ObjectMismatch, Refused
from gatehouse.server.calls import Call
from gatehouse.server.errors import BadRequest, RequestError, TooManyRequests, Unprocessable
from gatehouse.server.identity.headers import HeaderPolicy
from gatehouse.server.readiness import ProbeResult, ReadinessCheck, ReadinessChecks
from gatehouse.server.rendering import own_error
from gatehouse.server.routing import Endpoint, Family
from unit.server.parts import PREFIX, Answer, ReviewServer, application, ask, family, identification, passing

TOKEN = "a-secret-token.of-ann"
BEARER = {"authorization": f"Bearer {TOKEN}"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LIST_ALL = Action(verb="list", resource="modelversions")


def server(**more: Any) -> ReviewServer:
    return ReviewServer(tokens={TOKEN: {"username": "ann"}}, allowed=[("ann", LIST_ALL)], **more)


def failing(error: Exception) -> Family:
    async def fail(call: Call) -> Response:
        raise error

    return family(Endpoint(method="GET", path="/fail", handler=fail))


async def fails(error: Exception, headers: dict[str, str] | None = None) -> Answer:
    app = application(identification(server()), families=[failing(error)])
    return await ask(app, f"{PREFIX}/fail", headers=headers or BEARER)


# Routes


async def test_a_handler_gets_the_caller_their_rights_and_the_values_of_path_and_query() -> None:
    app = application(identification(server()))
    answer = await ask(app, f"{PREFIX}/models/7/versions?q=a%20b&q=&x=%C3%A9", headers=BEARER)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "user": "ann",
        "params": {"id": "7"},
        "query": [["q", "a b"], ["q", ""], ["x", "é"]],
        "readable": "all",
    }


@pytest.mark.parametrize(
    "path", ["/", "", "/api", f"{PREFIX}x/models", "//", "/metrics", "/openapi", "/readyz", "/docs"]
)
async def test_a_path_of_no_family_is_not_found_without_credentials_too(path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await ask(application(identification(server())), path, method=method)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "Not Found")


@pytest.mark.parametrize(
    "path", ["", "/", "/model", "/models/", "/models//versions", "/models/7", "/models/7/versions/"]
)
async def test_a_path_that_a_family_has_not_is_not_found_in_the_words_of_the_family(path: str) -> None:
    answer = await ask(application(identification(server())), f"{PREFIX}{path}", headers=BEARER)
    assert answer.status == 404
    assert answer.json() == {"code": "Not Found", "message": "the path was not found"}


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY", "x" * 30, "GE/T"])
async def test_a_method_that_a_path_has_not_names_those_that_it_has(method: str) -> None:
    answer = await ask(application(identification(server())), f"{PREFIX}/models", method=method, headers=BEARER)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert answer.json()["code"] == "Method Not Allowed"


async def test_head_is_answered_as_get() -> None:
    answer = await ask(application(identification(server())), f"{PREFIX}/models", method="HEAD", headers=BEARER)
    assert answer.status == 200


def test_a_route_that_is_declared_twice_is_refused() -> None:
    async def nothing(call: Call) -> Response:
        return Response()

    double = Endpoint(method="GET", path="/models", handler=nothing)
    other = Endpoint(method="GET", path="/models/{other}/artifacts", handler=nothing)
    for endpoint, said in ((double, "declared twice"), (other, "its neighbours name id")):
        with pytest.raises(ValueError, match=said):
            application(identification(server()), families=[family(endpoint)])


async def test_the_longest_prefix_goes_first_and_each_family_has_its_own_form() -> None:
    async def own(call: Call) -> Response:
        raise BadRequest("odd")

    inner = Family(prefix=f"{PREFIX}/own", endpoints=[Endpoint(method="GET", path="/x", handler=own)], render=own_error)
    app = application(identification(server()), families=[family(), inner])
    answer = await ask(app, f"{PREFIX}/own/x", headers=BEARER)
    assert answer.json() == {
        "error": {"code": "Bad Request", "message": "odd", "traceId": answer.headers["x-request-id"]}
    }


@pytest.mark.parametrize("query", ["a=%ff", "&".join(f"a{number}=1" for number in range(101)), "a=\u00e9"])
async def test_a_query_that_does_not_read_is_refused(query: str) -> None:
    answer = await ask(application(identification(server())), f"{PREFIX}/models?{query}", headers=BEARER)
    assert (answer.status, answer.json()["code"]) == (400, "Bad Request")


# Who asks


async def test_without_credentials_the_answer_is_401_with_the_challenge() -> None:
    app = application(identification(server()))
    for headers in ({}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer other"}, {"kubeflow-userid": "ann"}):
        answer = await ask(app, f"{PREFIX}/models", headers=headers)
        assert (answer.status, answer.json()["code"]) == (401, "Unauthorized")
        assert answer.headers["www-authenticate"].startswith('Bearer realm="gatehouse"')


async def test_the_anonymous_read_what_rbac_lets_them_and_never_write() -> None:
    api = server()
    app = application(identification(api, policy=HeaderPolicy(anonymous_reads=True), namespaces=frozenset({"home"})))
    answer = await ask(app, f"{PREFIX}/models")
    assert (answer.status, answer.json()["user"], answer.json()["readable"]) == (200, "system:anonymous", [])
    api.allowed.add(("system:anonymous", LIST_ALL))
    answer = await ask(app, f"{PREFIX}/models", method="POST", content=b"{}")
    assert answer.status == 401


async def test_the_loopback_acts_as_the_server_where_a_setting_says_so() -> None:
    app = application(identification(server(), policy=HeaderPolicy(loopback_identity=True)))
    near = await ask(app, f"{PREFIX}/models", headers={"host": "localhost:8080"}, peer="127.0.0.1")
    assert (near.status, near.json()["user"]) == (200, "system:serviceaccount:home:gatehouse-server")
    assert (await ask(app, f"{PREFIX}/models", headers={"host": "localhost:8080"})).status == 401


# Bodies


async def test_a_body_is_read_in_parts_up_to_the_limit() -> None:
    app = application(identification(server()), max_body=1_000)
    path = f"{PREFIX}/models"
    fits = await ask(app, path, method="POST", headers=BEARER, content=b"x" * 1_000)
    assert (fits.status, fits.json()) == (201, {"bytes": 1_000})
    large = [
        await ask(app, path, method="POST", headers=BEARER, content=b"x" * 1_001),
        await ask(app, path, method="POST", headers=BEARER, content=[b"x" * 600, b"x" * 600, b"never read"]),
        await ask(app, path, method="POST", headers={**BEARER, "content-length": "1001"}),
        await ask(app, path, method="POST", headers={**BEARER, "content-length": "9" * 30}),
        await ask(app, path, method="POST", headers={**BEARER, "content-length": "-1"}),
    ]
    for answer in large:
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert answer.json()["message"] == "the body is larger than 1000 bytes"


async def test_a_client_that_hangs_up_gets_no_answer_and_is_counted() -> None:
    collectors = CollectorRegistry()
    app = application(identification(server()), collectors=collectors)
    answer = await ask(app, f"{PREFIX}/models", method="POST", headers=BEARER, content=[b"x", b"y"])
    assert answer.status == 0
    labels = {"route": f"{PREFIX}/models", "method": "POST", "status": "499"}
    assert collectors.get_sample_value("gatehouse_server_requests_total", labels) == 1


# Errors


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (BadRequest("odd"), 400, "Bad Request", "odd"),
        (Unprocessable("zero", code="Bad Request"), 422, "Bad Request", "zero"),
        (TooManyRequests("slow down", retry_after=3.2), 429, "Too Many Requests", "slow down"),
        (ApiError(status=403, reason="Forbidden", message='User "ann" cannot'), 403, "Forbidden", 'User "ann" cannot'),
        (ApiError(status=404, reason="NotFound", message="x not found"), 404, "Not Found", "x not found"),
        (ApiError(status=409, reason="Conflict", message="x exists"), 409, "Conflict", "x exists"),
        (ApiError(status=422, reason="Invalid", message="spec.x"), 422, "Unprocessable Entity", "spec.x"),
        (ApiError(status=429, reason="", message="later"), 429, "Too Many Requests", "later"),
        (ApiError(status=401, reason="", message="tok"), 401, "Unauthorized", "the Kubernetes API does not take"),
        (ApiError(status=500, reason="", message="etcd at 10.0.0.1"), 503, "Service Unavailable", "answered 500"),
        (ApiUnavailable("https://10.0.0.1 refused"), 503, "Service Unavailable", "the Kubernetes API does not answer"),
        (
            Transient(reason="DatabaseUnavailable", message="db.example:3306"),
            503,
            "Service Unavailable",
            "cannot be used",
        ),
        (Stalled(reason="SchemaTooNew", message="db.example:3306"), 503, "Service Unavailable", "SchemaTooNew"),
        (Stalled(reason="RowRejected", message="db.example:3306"), 422, "Unprocessable Entity", "refuses the values"),
        (Refused("not you"), 403, "Forbidden", "not you"),
        (NothingToDo("no such version"), 404, "Not Found", "no such version"),
        (InputInvalid("odd"), 400, "Bad Request", "odd"),
        (ObjectMismatch("another"), 409, "Conflict", "another"),
        (RuntimeError("secret detail"), 500, "Internal Server Error", "the server failed"),
        (KeyError("secret detail"), 500, "Internal Server Error", "the server failed"),
    ],
)
async def test_every_error_is_one_answer(error: Exception, status: int, code: str, message: str) -> None:
    answer = await fails(error)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert message in answer.json()["message"]
    assert set(answer.json()) == {"code", "message"}
    for word in ("secret detail", "10.0.0.1", "db.example", "Traceback"):
        assert word not in answer.content.decode()
    assert ("retry-after" in answer.headers) == (status in {429, 503})


async def test_every_error_of_the_tree_is_rendered() -> None:
    def leaves(kind: type[RequestError]) -> Iterator[type[RequestError]]:
        yield kind
        for sub in kind.__subclasses__():
            yield from leaves(sub)

    statuses = {int(kind.status) for kind in leaves(RequestError)}
    assert statuses == {400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503}


# Probes


async def test_probes_answer_below_any_prefix_as_upstream_does() -> None:
    app = application(identification(server()))
    for path in ("/readyz/isDirty", "/readyz/health", "/any/prefix/readyz/health"):
        answer = await ask(app, path)
        assert (answer.status, answer.content) == (200, b"OK")
    detailed = await ask(app, "/readyz/health?format=json")
    assert detailed.headers["content-type"] == "application/json"
    body = detailed.json()
    assert body["status"] == "pass"
    assert list(body["checks"]) == ["model-registry", "database", "meta"]
    assert body["checks"]["database"] == {
        "Name": "database",
        "Status": "pass",
        "Message": "database is healthy",
        "Details": {},
    }
    assert set(body["checks"]["meta"]["Details"]) == {"check_duration_ms", "timestamp"}
    assert list((await ask(app, "/readyz/isDirty?format=json")).json()["checks"]) == ["database", "meta"]
    posted = await ask(app, "/readyz/isDirty", method="POST")
    assert (posted.status, posted.content) == (405, b"method not allowed\n")
    assert (await ask(app, "/healthz")).content == b"ok\n"


async def test_a_probe_of_a_registry_that_is_down_says_which_check_failed_and_no_host() -> None:
    asked = 0

    async def down() -> ProbeResult:
        nonlocal asked
        asked += 1
        raise Transient(reason="DatabaseUnavailable", message="db.example:3306 refused")

    checks = [passing("model-registry"), ReadinessCheck(name="database", run=down)]
    readiness = ReadinessChecks(dirty=checks, health=checks)
    app = application(identification(server()), readiness=readiness)
    for _ in range(50):
        answer = await ask(app, "/readyz/isDirty")
        assert (answer.status, answer.content) == (503, b"database: DatabaseUnavailable")
    assert asked == 1, "a flood of probes asks the database once a second"
    assert (await ask(app, "/readyz/health?format=json")).json()["status"] == "fail"
    assert await readiness.failed() == "database: DatabaseUnavailable"


# Traces, logs and metrics


async def test_a_trace_is_taken_or_made_and_told() -> None:
    app = application(identification(server()))
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    taken = await ask(app, f"{PREFIX}/models", headers={**BEARER, "traceparent": parent})
    assert taken.headers["x-request-id"] == TRACE
    for headers in ({}, {"traceparent": "nonsense"}, {"x-request-id": "mine"}):
        made = await ask(app, "/", headers=headers)
        assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


class JsonLog(io.StringIO):
    """What the process logs, in place of stderr, which pytest exchanges between the phases of a test."""

    def take(self) -> str:
        """What was logged since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@pytest.fixture
def json_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[JsonLog]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    log = JsonLog()
    monkeypatch.setattr("sys.stderr", log)
    configure_logging("debug")
    monkeypatch.undo()
    yield log
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


async def test_each_request_is_a_line_in_the_log_with_its_trace(json_log: JsonLog) -> None:
    json_log.take()  # what asyncio said as the loop began
    app = application(identification(server()))
    answer = await ask(app, f"{PREFIX}/models/7/versions?q=private", headers=BEARER)
    [line] = json_log.take().splitlines()
    record = json.loads(line)
    assert record["trace_id"] == answer.headers["x-request-id"]
    assert {key: record[key] for key in ("event", "route", "method", "status", "user")} == {
        "event": "request",
        "route": f"{PREFIX}/models/{{id}}/versions",
        "method": "GET",
        "status": 200,
        "user": "ann",
    }
    assert "private" not in line


async def test_the_log_has_what_the_answer_hides(json_log: JsonLog) -> None:
    json_log.take()  # what asyncio said as the loop began
    answer = await fails(RuntimeError("what went wrong"))
    [line] = json_log.take().splitlines()
    assert "what went wrong" in line
    assert json.loads(line)["trace_id"] == answer.headers["x-request-id"]
    await fails(Transient(reason="DatabaseUnavailable", message="db.example:3306 refused"))
    assert json.loads(json_log.take())["cause"] == "DatabaseUnavailable: db.example:3306 refused"


async def test_labels_are_few_whatever_clients_send() -> None:
    collectors = CollectorRegistry()
    app = application(identification(server()), collectors=collectors)
    for number in range(50):
        await ask(app, f"/x{number}", method=f"M{number}")
        await ask(app, f"{PREFIX}/models/{number}/versions", headers=BEARER)
        await ask(app, f"{PREFIX}/models/{number}/versions", method=f"M{number}", headers=BEARER)
    routes = set(re.findall(r'requests_total\{method="(.*?)",route="(.*?)",status="(.*?)"', _text(collectors)))
    assert routes == {
        ("other", "none", "404"),
        ("GET", f"{PREFIX}/models/{{id}}/versions", "200"),
        ("other", "none", "405"),
    }
    assert collectors.get_sample_value("gatehouse_server_running_requests") == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    name=st.sampled_from(
        [
            "authorization",
            "x-forwarded-access-token",
            "kubeflow-userid",
            "x-gatehouse-proxy-secret",
            "traceparent",
            "cookie",
        ]
    ),
    prefix=st.sampled_from(["Bearer ", "", "Basic ", "bearer  "]),
    token=st.text("abcXYZ019-_.~+/\x01\xff", min_size=12, max_size=40),
    twice=st.booleans(),
    path=st.sampled_from([f"{PREFIX}/models", f"{PREFIX}/fail", "/", "/readyz/health"]),
    known=st.booleans(),
)
async def test_a_token_is_in_no_log_no_metric_and_no_answer(
    json_log: JsonLog,
    name: str,
    prefix: str,
    token: str,
    path: str,
    *,
    twice: bool,
    known: bool,
) -> None:
    collectors = CollectorRegistry()
    api = server()
    if known:
        api.tokens[token] = {"username": "ann"}
    api.failure = None if known else ApiError(status=500, reason="", message=f"the token {token} is odd")
    app = application(identification(api), families=[failing(RuntimeError("down"))], collectors=collectors)
    pairs = [(name, f"{prefix}{token}"), *([("authorization", f"Bearer {token}x")] if twice else [])]
    answer = await ask(app, path, headers=pairs)
    output = json_log.take()
    everything = [answer.content.decode(), str(answer.headers), output, _text(collectors)]
    for text in everything:
        assert token not in text
        assert json.dumps(token)[1:-1] not in text


def _text(collectors: CollectorRegistry) -> str:
    return generate_latest(collectors).decode()
