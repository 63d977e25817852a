"""The analysis against a real Prometheus, which scrapes what stands where two revisions of vLLM would.

Each scrape finds ten more finished requests, so the figures do not depend on the time that a test takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.rig import until
from cluster.servers import available
from gatehouse.api.deployment_analysis import DeploymentAnalysis
from gatehouse.api.model_deployment import StepStatus
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.deployment.analysis import AnalysisPlan, measured, plan_analysis, query_finding
from gatehouse.domain.deployment.answers import AnswerKind, QueryAnswer
from gatehouse.domain.deployment.queries import AnalysisSubject
from gatehouse.measures.posting import Poster
from gatehouse.measures.prometheus import PrometheusQueries
from gatehouse_local.binaries import Binaries
from gatehouse_local.net import free_port, http_ready
from gatehouse_local.process import Server, Supervisor

FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
STABLE = "chat"
REVISIONS: Mapping[str, Mapping[str, float]] = {
    STABLE: {"first": 0.09, "between": 0.02},
    "equal": {"first": 0.11, "between": 0.026},
    "slow": {"first": 0.45, "between": 0.1},
    "failing": {"first": 0.09, "between": 0.02, "failed": 3},
    "full": {"first": 0.09, "between": 0.02, "cache": 0.99, "waiting": 40},
    "idle": {"first": 0.09, "between": 0.02, "requests": 0},
}


def histogram(name: str, bounds: tuple[float, ...], seconds: float, count: float) -> Iterator[str]:
    yield f"# TYPE vllm:{name} histogram"
    for bound in bounds:
        yield f'vllm:{name}_bucket{{le="{bound}"}} {count if seconds <= bound else 0}'
    yield f'vllm:{name}_bucket{{le="+Inf"}} {count}'
    yield f"vllm:{name}_sum {seconds * count}"
    yield f"vllm:{name}_count {count}"


def exposition(revision: Mapping[str, float], scrapes: int) -> str:
    """What vLLM says after so many scrapes."""
    count = revision.get("requests", 10) * scrapes
    failed = revision.get("failed", 0) * scrapes
    return "\n".join(
        [
            *histogram("time_to_first_token_seconds", FIRST_TOKEN, revision["first"], count),
            *histogram("inter_token_latency_seconds", BETWEEN_TOKENS, revision["between"], count),
            "# TYPE vllm:request_success counter",
            f'vllm:request_success_total{{finished_reason="stop"}} {count - failed}',
            f'vllm:request_success_total{{finished_reason="abort"}} {failed}',
            "# TYPE vllm:num_requests_waiting gauge",
            f"vllm:num_requests_waiting {revision.get('waiting', 0)}",
            "# TYPE vllm:kv_cache_usage_perc gauge",
            f"vllm:kv_cache_usage_perc {revision.get('cache', 0.3)}",
            "",
        ]
    )


@contextlib.contextmanager
def exporters() -> Iterator[int]:
    """Each revision at a path of its name."""
    scrapes = dict.fromkeys(REVISIONS, 0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            scrapes[name] += 1
            content = exposition(REVISIONS[name], scrapes[name]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def prometheus() -> Iterator[str]:
    """Prometheus with the labels that a PodMonitor adds, for as long as the block lasts."""
    program = Binaries().obtain(["prometheus"])["prometheus"]
    home = Path(tempfile.mkdtemp(prefix="gatehouse-prometheus-"))
    supervisor = Supervisor(run=home / "run", logs=home / "logs")
    try:
        with exporters() as exporter:
            port = free_port()
            config = home / "prometheus.yaml"
            jobs = [
                {
                    "job_name": name,
                    "metrics_path": f"/{name}",
                    "static_configs": [
                        {
                            "targets": [f"127.0.0.1:{exporter}"],
                            "labels": {"namespace": "chatbots", "pod": f"{name}-predictor-7d8f9c5b4-abcde"},
                        }
                    ],
                }
                for name in REVISIONS
            ]
            times = {"scrape_interval": "1s", "scrape_timeout": "1s"}
            config.write_text(yaml.safe_dump({"global": times, "scrape_configs": jobs}))
            supervisor.ensure(
                Server(
                    name="prometheus",
                    argv=(
                        *(str(program), f"--config.file={config}", f"--storage.tsdb.path={home / 'data'}"),
                        f"--web.listen-address=127.0.0.1:{port}",
                    ),
                    ready=http_ready(port, "/-/ready"),
                )
            )
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                supervisor.stop("prometheus")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with available(prometheus()) as running:
        yield running


def plan(service: str, **spec: Any) -> AnalysisPlan:
    subject = AnalysisSubject(namespace="chatbots", service=service, stable_service=STABLE, served_name="granite")
    made = plan_analysis(DeploymentAnalysis.model_validate({"window": "1m", **spec}), subject)
    assert isinstance(made, AnalysisPlan)
    return made


async def asked(url: str, *queries: str) -> Mapping[str, QueryAnswer]:
    async with Poster() as poster:
        client = PrometheusQueries(
            poster, own=url, further=(), token_file=None, ca_file=None, timeout=10, answered=lambda _: None
        )
        answers = await client.answers(queries, address=None, namespace="chatbots")
        assert poster.requests == len(queries)
    return answers


async def one(url: str, query: str) -> QueryAnswer:
    [answer] = (await asked(url, query)).values()
    return answer


@pytest.fixture(scope="module")
def scraped(url: str) -> str:
    """The address, once each revision was scraped often enough for its samples."""

    def enough() -> bool:
        answer = asyncio.run(one(url, "min(count_over_time(vllm:num_requests_waiting[1m]))"))
        return answer.kind == "Value" and answer.value >= 5

    until(enough, what="Prometheus has not scraped each revision five times", seconds=120)
    return url


async def verdict(url: str, service: str, *, rounds: int = 1) -> StepStatus:
    made = plan(service)
    step = StepStatus(index=0, since=timestamp(NOW))
    for _ in range(rounds):
        step = measured(step, made, await asked(url, *made.queries), now=NOW)
    return step


def failed(step: StepStatus) -> set[str]:
    return {metric.name for metric in step.metrics if metric.failed}


async def test_an_equal_revision_passes_after_three_measurements(scraped: str) -> None:
    assert (await verdict(scraped, "equal", rounds=2)).verdict == "Running"
    step = await verdict(scraped, "equal", rounds=3)
    assert (step.verdict, [metric.passed for metric in step.metrics]) == ("Passed", [3] * 5), step


@pytest.mark.parametrize(
    ("service", "metrics"),
    [
        ("slow", {"time-to-first-token-p95", "inter-token-latency-p95"}),
        ("failing", {"failed-requests"}),
        ("full", {"requests-waiting", "kv-cache-use"}),
    ],
)
async def test_a_bad_revision_fails_at_the_first_measurement(scraped: str, service: str, metrics: set[str]) -> None:
    step = await verdict(scraped, service)
    assert (step.verdict, failed(step)) == ("Failed", metrics), step


async def test_a_revision_without_requests_never_passes(scraped: str) -> None:
    """Also not by its gauges, which are good."""
    for service in ("idle", "absent"):
        step = await verdict(scraped, service, rounds=10)
        assert (step.verdict, failed(step)) == ("Running", set())
        assert [metric.inconclusive for metric in step.metrics] == [10] * 5
        assert all(metric.passed == 0 and metric.message for metric in step.metrics)
        assert (await verdict(scraped, service, rounds=11)).verdict == "Inconclusive"


@pytest.mark.parametrize(
    ("query", "kind", "problem"),
    [
        ("vector(1.5)", "Value", ""),
        ("scalar(vector(1.5))", "Value", ""),
        ("1.5", "Value", ""),
        ("vector(0) / 0", "Empty", "NaN"),
        ("nothing_of_this_name", "Empty", "no result"),
        ("vector(1) / 0", "Unusable", "+Inf"),
        ('"text"', "Unusable", "the answer is a string"),
        ("up[1m]", "Unusable", "the answer is a matrix"),
        ("vllm:num_requests_waiting", "Unusable", "more than one result"),
        ("up * on (instance) up", "Unusable", "HTTP 422"),
        ("sum(", "Invalid", "parse error"),
        ("rate(up)", "Invalid", "expected type range vector"),
        ("sum by (le", "Invalid", "parse error"),
        ("up{a=~'('}", "Invalid", "missing closing )"),
    ],
)
async def test_each_kind_of_answer(url: str, query: str, kind: AnswerKind, problem: str) -> None:
    answer = await one(url, query)
    assert (answer.kind, problem in answer.problem) == (kind, True), answer


async def test_a_query_that_does_not_parse_is_known_before_there_is_any_sample(url: str) -> None:
    metric = {"name": "own", "query": "sum(up{namespace='{{namespace}}'", "thresholdRange": {"max": "1"}}
    made = plan("equal", metrics=[metric])
    finding = query_finding(made, await asked(url, *made.queries))
    assert finding is not None
    assert (finding.reason, "the metric own" in finding.found) == ("QueryInvalid", True)
    made = plan("equal")
    assert query_finding(made, await asked(url, *made.queries)) is None


@pytest.mark.parametrize("quote", ['"', "'", "`"])
async def test_placeholders_stand_in_each_kind_of_string(scraped: str, quote: str) -> None:
    query = (
        f"sum(vllm:num_requests_waiting{{namespace={quote}{{{{namespace}}}}{quote},pod=~{quote}{{{{pods}}}}{quote}}})"
    )
    made = plan("full", metrics=[{"name": "own", "query": query, "minSamples": 0, "thresholdRange": {"max": "1"}}])
    [answer] = (await asked(scraped, *made.queries)).values()
    assert answer.value == 40
