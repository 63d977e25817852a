"""The questions to Prometheus on a socket: how many, to whom, with which token, and what becomes of every fault."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fakeprometheus import FakePrometheus, HttpAnswer, fake_prometheus, vector
from gatehouse.domain.common.certificates import issue
from gatehouse.domain.deployment.answers import LARGEST_ANSWER, QueryAnswer
from gatehouse.measures.posting import Poster
from gatehouse.measures.prometheus import PrometheusQueries

TOKEN = "a-token-for-prometheus"


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    with fake_prometheus() as fake:
        yield fake


class Asker:
    def __init__(self, poster: Poster, **settings: Any) -> None:
        self.kinds: list[str] = []
        self.poster = poster
        self.client = PrometheusQueries(
            poster,
            **{
                "own": None,
                "further": (),
                "token_file": None,
                "ca_file": None,
                "timeout": 5.0,
                "answered": self.kinds.append,
                **settings,
            },
        )

    async def ask(self, *queries: str, address: str | None = None) -> Mapping[str, QueryAnswer]:
        return await self.client.answers(queries, address=address, namespace="chatbots")

    async def problem(self, address: str | None = None) -> str:
        [answer] = (await self.ask("up", address=address)).values()
        assert answer.kind == "Unusable"
        return answer.problem


@asynccontextmanager
async def asking(**settings: Any) -> AsyncIterator[Asker]:
    async with Poster() as poster:
        yield Asker(poster, **settings)


async def test_each_query_is_one_post_that_bounds_what_prometheus_does(prometheus: FakePrometheus) -> None:
    prometheus.says = lambda asked: {"a": 1.5, "b": "NaN"}.get(asked.query)
    async with asking(own=f"{prometheus.url}/prom/", timeout=7.0) as asker:
        answers = await asker.ask("a", "b", "c")
    assert {query: answer.kind for query, answer in answers.items()} == {"a": "Value", "b": "Empty", "c": "Empty"}
    assert answers["a"].value == 1.5
    assert sorted(asked.query for asked in prometheus.asked) == ["a", "b", "c"]
    for asked in prometheus.asked:
        assert (asked.path, asked.params) == ("/prom/api/v1/query", {"namespace": "chatbots"})
        assert asked.form == {"query": asked.query, "timeout": "7s", "limit": "2"}
        assert "authorization" not in asked.headers
    assert sorted(asker.kinds) == ["Empty", "Empty", "Value"]
    assert asker.poster.requests == 3


@pytest.mark.parametrize(("rounds", "together"), [(1, 4), (2, 8), (3, 8)])
async def test_at_most_four_queries_of_a_round_and_eight_of_a_server_are_asked_at_once(
    prometheus: FakePrometheus, rounds: int, together: int
) -> None:
    running, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def count(_: object) -> float:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == together:
                full.set()
        assert full.wait(timeout=20)
        with lock:
            running -= 1
        return 1.0

    prometheus.says = count
    async with asking(own=prometheus.url) as asker:
        answers = await asyncio.gather(
            *(asker.ask(*(f"{number}-{query}" for query in range(12))) for number in range(rounds))
        )
    assert {answer.kind for found in answers for answer in found.values()} == {"Value"}
    assert (most, len(prometheus.asked)) == (together, 12 * rounds)


async def test_a_silent_server_takes_nothing_from_another_one(prometheus: FakePrometheus) -> None:
    prometheus.says = lambda _: 1.0
    with fake_prometheus() as silent:
        silent.silent = True
        async with asking(own=prometheus.url, further=[silent.url]) as asker:
            waiting = [asyncio.create_task(asker.ask(*"abcdefgh", address=silent.url)) for _ in range(3)]
            await asyncio.to_thread(silent.until, 8)
            answers = await asker.ask("up")
            assert (answers["up"].value, len(silent.asked)) == (1.0, 8)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_silent_server_costs_the_timeout_and_is_no_pass(prometheus: FakePrometheus) -> None:
    prometheus.silent = True
    async with asking(own=prometheus.url, timeout=0.2) as asker:
        assert await asker.problem() == "no answer within 0.2 s"
    assert len(prometheus.asked) == 1


async def test_a_server_that_is_away_is_no_pass() -> None:
    with fake_prometheus() as gone:
        url = gone.url
    async with asking(own=url) as asker:
        assert "no answer: ClientConnectorError" in await asker.problem()
        assert "127.0.0.1" not in await asker.problem()


JSON_TYPE = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (HttpAnswer(body=b'{"x":"' + b"a" * LARGEST_ANSWER + b'"}'), "an answer of more than 1 MiB"),
        (
            HttpAnswer(status=307, headers=(JSON_TYPE, ("Location", "/elsewhere"))),
            "HTTP 307: a redirect is not followed",
        ),
        (HttpAnswer(body=vector(1), headers=(JSON_TYPE, ("Content-Encoding", "gzip"))), "a Content-Encoding"),
        (HttpAnswer(body=b"<html>", headers=(("Content-Type", "text/html"),)), "content type 'text/html'"),
        (HttpAnswer(body=b"<html>"), "does not read"),
        (HttpAnswer(status=503, body={"status": "error", "errorType": "timeout", "error": "slow"}), "HTTP 503: slow"),
    ],
)
async def test_an_answer_of_another_form_is_no_pass(
    prometheus: FakePrometheus, answer: HttpAnswer, problem: str
) -> None:
    prometheus.says = lambda _: answer
    async with asking(own=prometheus.url) as asker:
        assert problem in await asker.problem()
    assert (len(prometheus.asked), prometheus.other) == (1, [])


async def test_a_query_that_does_not_parse_is_told_apart(prometheus: FakePrometheus) -> None:
    body = {"status": "error", "errorType": "bad_data", "error": "1:5: parse error: unexpected end"}
    prometheus.says = lambda _: HttpAnswer(status=400, body=body)
    async with asking(own=prometheus.url) as asker:
        [answer] = (await asker.ask("sum(")).values()
    assert (answer.kind, answer.problem) == ("Invalid", "1:5: parse error: unexpected end")


# addresses


async def test_only_the_addresses_of_the_settings_are_asked(prometheus: FakePrometheus) -> None:
    prometheus.says = lambda _: 1.0
    port = prometheus.url.rpartition(":")[2]
    async with asking(own=f"{prometheus.url}/own", further=[f"{prometheus.url}/tenants"]) as asker:
        for address in (None, f"{prometheus.url}/own", f"{prometheus.url}/tenants", f"{prometheus.url}/tenants/a"):
            assert asker.client.refused(address) is None
            [answer] = (await asker.ask("up", address=address)).values()
            assert answer.kind == "Value"
        asked = len(prometheus.asked)
        for address in (
            prometheus.url,
            f"{prometheus.url}/own/below",
            f"{prometheus.url}/tenants/../own",
            f"{prometheus.url}/tenants/%2e%2e/own",
            f"{prometheus.url}/tenantsx",
            f"http://localhost:{port}/own",
            f"http://127.1:{port}/own",
            f"http://2130706433:{port}/own",
            f"http://127.0.0.1.:{port}/own",
            f"http://x@127.0.0.1:{port}/own",
            f"HTTP://127.0.0.1:{port}/own",
            f"https://127.0.0.1:{port}/own",
            "http://127.0.0.1/own",
            "http://169.254.169.254/latest/meta-data",
        ):
            finding = asker.client.refused(address)
            assert finding is not None
            assert finding.reason == "AddressNotAllowed"
            assert "spec.analysis.prometheus.address is" in await asker.problem(address)
    assert (asked, len(prometheus.asked), prometheus.other) == (4, 4, [])
    assert asker.kinds == ["Value"] * 4


async def test_without_a_server_the_finding_says_what_to_do() -> None:
    async with asking() as asker:
        finding = asker.client.refused(None)
        assert finding is not None
        assert (finding.reason, "--prometheus-address" in finding.remedy) == ("PrometheusNotConfigured", True)
        assert "neither" in await asker.problem()
    assert asker.poster.requests == 0


# token and certificates


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[FakePrometheus, Path]]:
    """A server with TLS, and the file of its authority."""
    made = issue(
        authority="test",
        subject="prometheus",
        usage="server",
        names=[ip_address("127.0.0.1")],
        now=datetime.now(UTC),
        validity=timedelta(hours=1),
    )
    pair, ca_file = tmp_path / "server.pem", tmp_path / "ca.pem"
    pair.write_bytes(made.certificate + made.key)
    ca_file.write_bytes(made.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with fake_prometheus(tls=context) as fake:
        fake.says = lambda _: 1.0
        yield fake, ca_file


async def test_the_token_goes_to_the_own_address_alone(secure: tuple[FakePrometheus, Path], tmp_path: Path) -> None:
    fake, ca_file = secure
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    settings = {"own": fake.url, "further": [f"{fake.url}/b"], "ca_file": ca_file, "token_file": token_file}
    async with asking(**settings) as asker:
        await asker.ask("up")
        await asker.ask("up", address=fake.url)
        await asker.ask("up", address=f"{fake.url}/b")
        token_file.write_text("rotated")
        await asker.ask("up")
    assert [asked.headers.get("authorization") for asked in fake.asked] == [
        f"Bearer {TOKEN}",
        f"Bearer {TOKEN}",
        None,
        "Bearer rotated",
    ]


async def test_a_certificate_that_is_not_trusted_gets_no_query(secure: tuple[FakePrometheus, Path]) -> None:
    fake, _ = secure
    async with asking(own=fake.url) as asker:
        assert "no answer: ClientConnectorCertificateError" in await asker.problem()
    assert fake.asked == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: FileNotFoundError"),
        (b"", "has no token"),
        (b"a\nb", "has no token of printable ASCII"),
        (b"\xff", "cannot be read: UnicodeDecodeError"),
        (b"x" * 1_048_577, "has more than 1 MiB"),
    ],
)
async def test_a_token_that_cannot_be_used_is_told_and_not_shown(
    prometheus: FakePrometheus, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    async with asking(own=prometheus.url, token_file=file) as asker:
        found = await asker.problem()
    assert found.startswith(f"{file} {problem}")
    assert prometheus.asked == []


@pytest.mark.parametrize("content", ["no certificate", "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"])
async def test_authorities_that_do_not_read_are_told(prometheus: FakePrometheus, tmp_path: Path, content: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    async with asking(own=prometheus.url, ca_file=file) as asker:
        assert await asker.problem() == f"{file} has no certificates in PEM"
    assert prometheus.asked == []


async def test_a_cancelled_round_leaves_no_request(prometheus: FakePrometheus) -> None:
    prometheus.silent = True
    async with asking(own=prometheus.url) as asker:
        task = asyncio.create_task(asker.ask("a", "b"))
        await asyncio.to_thread(prometheus.until, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        prometheus.silent = False
        prometheus.says = lambda _: 2.0
        assert [answer.value for answer in (await asker.ask("c")).values()] == [2.0]
