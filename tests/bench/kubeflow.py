"""The list of 2,002 models, by Gatehouse's server and by Kubeflow's own, over MariaDB, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from bench.figures import Count, Figure, Result, at_least, percentile
from bench.servers import servers
from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import mariadb
from gatehouse_local.net import LOOPBACK, free_port, http_ready
from gatehouse_local.process import Server, Supervisor

__all__ = ["bench_kubeflow"]

_MODELS: Final = 2_002
_REPEATS: Final = 9
_PATH: Final = "/api/model_registry/v1alpha3/registered_models"
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Listing:
    """Seconds of a list, and how many models each answer had."""

    seconds: float
    sizes: frozenset[int]


async def bench_kubeflow(*, checkout: Path, progress: ProgressReporter) -> list[Result]:
    """``checkout`` is one of kubeflow/model-registry in which ``go build -o model-registry .`` was run.

    Raises ServerDied, and OSError without the program.
    """
    with mariadb() as database, servers(progress, database=database) as running:
        async with running.rest_server("kubeflow") as server:
            await server.until(lambda now: float(bool(now.values)), what="the server", within=60)
            with progress.step(f"recording and listing {_MODELS:,} models"):
                ours = await asyncio.to_thread(_measure, server.port, running.plane.tokens[ADMIN])
        with mariadb() as their_database:
            supervisor = Supervisor(run=running.home / "run", logs=running.home / "logs")
            port = free_port()
            theirs_server = _kubeflow(checkout, their_database, port)
            supervisor.ensure(theirs_server)
            try:
                with progress.step(f"recording and listing {_MODELS:,} models by Kubeflow's server"):
                    theirs = await asyncio.to_thread(_measure, port, "")
            finally:
                supervisor.stop(theirs_server.name)
    return [
        Result(
            bench="list beside Kubeflow's server",
            figures=(
                Figure(f"list of {_MODELS:,} models, p50", ours.seconds * 1000, "ms"),
                Figure("Kubeflow's, p50", theirs.seconds * 1000, "ms"),
                Figure("Kubeflow's, times ours", theirs.seconds / ours.seconds, "", at_least(10)),
            ),
            counts=tuple(
                Count.exactly("models in an answer", size, _MODELS) for size in sorted(ours.sizes | theirs.sizes)
            ),
        )
    ]


def _measure(port: int, token: str) -> _Listing:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    seconds: list[float] = []
    sizes: set[int] = set()
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port, timeout=_SECONDS)) as connection:
        for number in range(_MODELS):
            connection.request("POST", _PATH, body=_model(number), headers=headers)
            _answer(connection, 201)
        for _ in range(_REPEATS):
            started = time.perf_counter()
            connection.request("GET", _PATH, headers=headers)
            body = _answer(connection, 200)
            seconds.append(time.perf_counter() - started)
            sizes.add(orjson.loads(body)["size"])
    return _Listing(percentile(seconds, 50), frozenset(sizes))


def _answer(connection: http.client.HTTPConnection, expected: int) -> bytes:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != expected:
        raise ValueError(f"status {answer.status}, expected {expected}: {body[:300]!r}")
    return body


def _model(number: int) -> bytes:
    return orjson.dumps(
        {
            "name": f"model {number:06}",
            "description": "An instruction-tuned model of eight billion parameters, quantized for one accelerator.",
            "owner": f"team-{number % 20}",
            "provider": "Example",
            "customProperties": {
                "tier": {"metadataType": "MetadataStringValue", "string_value": "gold"},
                "rank": {"metadataType": "MetadataIntValue", "int_value": str(number)},
            },
        }
    )


def _kubeflow(checkout: Path, database: LocalDatabase, port: int) -> Server:
    address = f"tcp({database.host}:{database.port})/{database.database}?charset=utf8mb4"
    return Server(
        name="kubeflow-model-registry",
        argv=(
            str(checkout.resolve() / "model-registry"),
            "proxy",
            f"--hostname={LOOPBACK}",
            f"--port={port}",
            "--embedmd-database-type=mysql",
            f"--embedmd-database-dsn={database.username}:{database.password}@{address}",
        ),
        ready=http_ready(port, f"{_PATH}?pageSize=1"),
    )
