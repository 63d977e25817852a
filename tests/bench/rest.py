"""What the server adds to the statements of its lists, how it bears many clients, and how long a registration takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal
from urllib.parse import quote

from bench.figures import Figure, Result, at_most, percentile
from bench.load import Cluster
from bench.processes import MIB, RestServer
from bench.rest_client import Door, RestClient, answer_times, request_bytes
from bench.rest_rows import BareStatement, Database, bare_get, bare_page, fill_models, fill_versions
from bench.servers import servers
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.entries.entry import Entry
from gatehouse.printing.progress import ProgressReporter
from gatehouse.registry.pool import DatabasePool
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import mariadb
from gatehouse_local.net import LOOPBACK

__all__ = ["DatabaseName", "ReadScale", "bench_rest"]

DatabaseName = Literal["MariaDB", "SQLite"]
_PREFIX: Final = "/api/model_registry/v1alpha3"
_NAMESPACE: Final = "default"
_PAGE: Final = 100
_CLIENTS: Final = 64
_LIST: Final = 2_002
_FEW: Final = 1_000
_WARM_UP: Final = 20
_SMALL: Final = f"page of {_PAGE} of {_FEW:,} versions"
_LARGE: Final = f"page of {_PAGE} of many versions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadScale:
    """How much is read: ``versions`` of the large model, ``repeats`` of each read, ``requests`` of many clients."""

    versions: int
    repeats: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """What was recorded: all models, a model with few versions, and one with many."""

    models: Sequence[Entry]
    small: Entry
    large: Entry
    version: Entry
    """A version in the middle."""


async def bench_rest(*, database: DatabaseName, scale: ReadScale, progress: ProgressReporter) -> list[Result]:
    """Measures reads of one registry with its rows in a database."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(mariadb()) if database == "MariaDB" else None
        running = stack.enter_context(servers(progress, database=server))
        async with Cluster(running.plane) as cluster:
            registry = await _registry(cluster)
        rows = Database(
            registry=registry, password=None if server is None else server.password, data=running.home / "data"
        )
        with progress.step(f"recording {_LIST:,} models and {scale.versions:,} versions"):
            filled = await _fill(rows, scale)
        async with running.rest_server("rest") as process:
            await process.until(lambda now: float(bool(now.values)), what="the server", within=60)
            door = Door(host=LOOPBACK, port=process.port, token=running.plane.tokens[ADMIN])
            with progress.step(f"reading {scale.repeats} times"):
                reads = await asyncio.to_thread(_reads, rows, filled, door, scale)
            with progress.step(f"{scale.requests:,} requests of {_CLIENTS} clients"):
                loads = await _load(process, filled, door, scale)
    return [Result(bench=f"rest on {database}", figures=(*reads, *loads))]


async def _registry(cluster: Cluster) -> ModelRegistry:
    [body] = [body async for body in cluster.objects("modelregistries")]
    return ModelRegistry.model_validate(body)


async def _fill(database: Database, scale: ReadScale) -> _Filled:
    pool = DatabasePool(data_dir=database.data)
    try:
        rows = await pool.open(database.registry, password=database.password, ca_pem=None)
        models = await fill_models(rows.entries, count=_LIST, namespace=_NAMESPACE)
        await fill_versions(rows.entries, models[0], count=min(_FEW, scale.versions))
        versions = await fill_versions(rows.entries, models[1], count=scale.versions)
    finally:
        await pool.aclose()
    return _Filled(models=models, small=models[0], large=models[1], version=versions[len(versions) // 2])


def _reads(database: Database, filled: _Filled, door: Door, scale: ReadScale) -> list[Figure]:
    """Each read beside its bare statement, in turns."""
    figures: list[Figure] = []
    with RestClient(door) as client:
        for read in _asked(database, filled):
            repeats = max(5, scale.repeats // 20) if read.size > _PAGE else scale.repeats
            with read.bare as statement:
                served, bare = _compare(client, request_bytes(door, "GET", _PREFIX + read.path), statement, repeats)
            figures += [
                Figure(f"{read.name}, p50", served * 1000, "ms"),
                Figure(f"{read.name}, times its bare statement", served / bare, "", at_most(5)),
            ]
        ratio = _in_turns(client, door, filled, scale.repeats)
    return [*figures, Figure("page of many versions, times that of 1,000", ratio, "", at_most(1.2))]


def _in_turns(client: RestClient, door: Door, filled: _Filled, repeats: int) -> float:
    """How much longer a page of the large model takes than one of the small model, asked in turns."""
    requests = [request_bytes(door, "GET", _PREFIX + _page(model)) for model in (filled.small, filled.large)]
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats):
        for request, taken in zip(requests, seconds, strict=True):
            started = time.perf_counter()
            client.send(request)
            taken.append(time.perf_counter() - started)
    small, large = (percentile(taken, 50) for taken in seconds)
    return large / small


def _page(model: Entry) -> str:
    return f"/registered_models/{model.id}/versions?pageSize={_PAGE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A request, how many entries it answers with, and its statement."""

    name: str
    path: str
    size: int
    bare: contextlib.AbstractContextManager[BareStatement]


def _asked(database: Database, filled: _Filled) -> Iterator[_Read]:
    def page(name: str, model: Entry) -> _Read:
        return _Read(
            name=name,
            path=_page(model),
            size=_PAGE,
            bare=bare_page(database, "model_version", size=_PAGE, parent=model.id),
        )

    yield _Read(
        name=f"list of {_LIST:,} models",
        path="/registered_models",
        size=_LIST,
        bare=bare_page(database, "registered_model", size=None),
    )
    yield page(_SMALL, filled.small)
    yield page(_LARGE, filled.large)
    yield _Read(
        name="one version",
        path=f"/model_versions/{filled.version.id}",
        size=1,
        bare=bare_get(database, "model_version", filled.version.id),
    )


def _compare(client: RestClient, request: bytes, statement: BareStatement, repeats: int) -> tuple[float, float]:
    """The medians of the answer and of the bare statement, in seconds."""
    served, bare = [], []
    for _ in range(repeats + _WARM_UP):
        bare.append(statement.seconds())
        started = time.perf_counter()
        answer = client.send(request)
        served.append(time.perf_counter() - started)
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"status {answer.status}, expected 200: {answer.body[:300]!r}")
    return percentile(served[_WARM_UP:], 50), percentile(bare[_WARM_UP:], 50)


async def _load(process: RestServer, filled: _Filled, door: Door, scale: ReadScale) -> list[Figure]:
    """Mixed reads by many clients at once: time and memory."""
    paths = [
        f"/registered_models?pageSize={_PAGE}",
        _page(filled.large),
        f"/model_versions/{filled.version.id}",
        f"/registered_models/{filled.small.id}",
        f"/model_version?name={quote(filled.version.name)}&parentResourceId={filled.large.id}",
        f"/model_versions?pageSize=20&filterQuery={quote('accuracy.double_value > 0.5')}",
    ]
    requests = [request_bytes(door, "GET", _PREFIX + path) for path in paths]
    first = scale.requests // 2
    seconds = await answer_times(door, requests, clients=_CLIENTS, count=first)
    half = process.usage.resident
    seconds += await answer_times(door, requests, clients=_CLIENTS, count=scale.requests - first)
    p50, p99 = percentile(seconds, 50), percentile(seconds, 99)
    growth = process.usage.resident / half
    return [
        Figure(f"{_CLIENTS} clients, p50", p50 * 1000, "ms"),
        Figure(f"{_CLIENTS} clients, p99 times p50", p99 / p50, "", at_most(10)),
        Figure("peak memory", process.usage.peak / MIB, "MiB", at_most(150)),
        Figure(f"memory at the end, times that after {first:,} requests", growth, "", at_most(1.05)),
    ]
