"""Assembles the server and runs it until a signal stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from gatehouse.app.garbage import collect_rarely
from gatehouse.app.logs import configure_logging
from gatehouse.app.server_settings import ServerSettings
from gatehouse.cluster.client import ApiClient, ClusterError, load_configuration, without_credentials
from gatehouse.cluster.secrets import KubernetesSecrets
from gatehouse.registry.pool import DatabasePool
from gatehouse.runtime.health import HealthServer, LoopLag
from gatehouse.runtime.spans import SpansUnavailable
from gatehouse.server.app import build_app
from gatehouse.server.families import FamilyParts, families
from gatehouse.server.identity.access import AccessReviews, CallerClients
from gatehouse.server.identity.authentication import Authentication
from gatehouse.server.identity.headers import HeaderPolicy, ProxyTrust
from gatehouse.server.identity.identification import Identification
from gatehouse.server.listener import Listener, tls_context
from gatehouse.server.metrics import ServerMetrics
from gatehouse.server.protocol import ConnectionLimits
from gatehouse.server.readiness import ReadinessChecks
from gatehouse.server.served_registry import ServedRegistry
from gatehouse.server.spans import spans_of

__all__ = ["RunningServer", "run_server", "running_server"]

STOPPED: Final = 0
NOT_STARTED: Final = 2
_CALLER_CONNECTIONS: Final = 128
_LONGEST_LAG: Final = 10.0
_PROBE_INTERVAL: Final = 5.0
_SHORTEST_SECRET: Final = 16
_LARGEST_SECRETS: Final = 65_536

_log = structlog.get_logger(__name__)


class ProxySecretInvalid(Exception):
    """The file of the proxy's secrets holds none, or one that can be guessed."""


class _WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that listens. ``health`` is None where no health address is set."""

    listener: Listener
    health: HealthServer
    collectors: CollectorRegistry

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until ``stop``, then lets requests in flight end."""
        serving = asyncio.create_task(self.listener.serve())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        self.listener.stop()
        await serving


def run_server(settings: ServerSettings) -> int:
    """Runs the server and returns the exit code of the process."""
    configure_logging(settings.log_level)
    collect_rarely()
    try:
        uvloop.run(_run(settings))
    except (ClusterError, OSError, ProxySecretInvalid, SpansUnavailable) as error:
        _log.error("not started", error=str(error))
        return NOT_STARTED
    return STOPPED


async def _run(settings: ServerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_server(settings) as server:
        await server.run(stop)


@asynccontextmanager
async def running_server(settings: ServerSettings) -> AsyncIterator[RunningServer]:
    """Builds every part and closes the parts in reverse. The caller runs the server."""
    collectors = CollectorRegistry()
    metrics, spans = ServerMetrics(collectors), spans_of(os.environ)
    tls = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        tls = tls_context(certificate=settings.tls_certificate, key=settings.tls_key, client_ca=settings.tls_client_ca)
    policy = header_policy(settings)
    async with AsyncExitStack() as stack:
        stack.callback(spans.close)
        configuration = await load_configuration(kubeconfig=settings.kubeconfig, context=settings.context)
        own = await stack.enter_async_context(ApiClient(configuration, observe=metrics.api_request))
        bare = await stack.enter_async_context(
            ApiClient(without_credentials(configuration), connections=_CALLER_CONNECTIONS, observe=metrics.api_request)
        )
        registry = ServedRegistry(
            api=own,
            secrets=KubernetesSecrets(own),
            databases=DatabasePool(data_dir=settings.data_dir, metrics=metrics),
            key=settings.registry_key,
            clock=_WallClock(),
            now=time.monotonic,
        )
        stack.push_async_callback(registry.aclose)
        identification = Identification(
            policy=policy,
            authentication=Authentication(own, audiences=settings.audiences, now=time.monotonic, wall=time.time),
            reviews=AccessReviews(own, namespaces=registry.namespaces, now=time.monotonic),
            clients=CallerClients(own=own, bare=bare),
        )
        readiness = ReadinessChecks(
            dirty=[registry.database_check()], health=[registry.service_check(), registry.database_check()]
        )
        app = build_app(
            families=families(FamilyParts(registry=registry, sunset=settings.alpha_sunset)),
            identify=identification.access,
            readiness=readiness,
            metrics=metrics,
            spans=spans,
            max_body=settings.max_body,
        )
        host, _, port = settings.listen_address.rpartition(":")
        listener = Listener(
            app, host=host.strip("[]"), port=int(port), limits=_limits(settings), grace=settings.shutdown_grace, tls=tls
        )
        metrics.watch_connections(lambda: listener.connections)
        probes = _Probes(readiness)
        for work in (probes.run(), probes.lag.run()):
            task = asyncio.create_task(work)
            stack.push_async_callback(_ended, task)
        health = await stack.enter_async_context(
            HealthServer(
                settings.health_address,
                liveness={"event loop": probes.alive},
                readiness={"registry": probes.ready},
                registry=collectors,
            )
        )
        yield RunningServer(listener, health, collectors)


class _Probes:
    """The probes of the health address, which answer at once from what was last seen."""

    def __init__(self, readiness: ReadinessChecks) -> None:
        self._readiness = readiness
        self._problem: str | None = "the registry was not asked yet"
        self.lag = LoopLag()

    async def run(self) -> None:
        """Asks the registry again and again."""
        while True:
            self._problem = await self._readiness.failed()
            await asyncio.sleep(_PROBE_INTERVAL)

    def ready(self) -> str | None:
        """What keeps the registry from being served."""
        return self._problem

    def alive(self) -> str | None:
        """Whether the event loop runs its callbacks."""
        return None if self.lag.seconds < _LONGEST_LAG else f"callbacks run {self.lag.seconds:.0f} s late"


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def header_policy(settings: ServerSettings) -> HeaderPolicy:
    """Which callers without a token are served.

    Raises:
        ProxySecretInvalid: the file of the proxy's secrets holds none, or a short one.
        OSError: the file cannot be read.
    """
    proxy = ProxyTrust()
    if settings.proxy_headers != "none":
        secrets = _secrets(settings.proxy_secret) if settings.proxy_secret is not None else ()
        proxy = ProxyTrust(
            family=settings.proxy_headers,
            secret_digests=ProxyTrust.of_secrets(secrets),
            names=frozenset(settings.proxy_names),
            group_prefix=settings.proxy_group_prefix or "",
        )
    return HeaderPolicy(
        proxy=proxy, loopback_identity=settings.loopback_identity, anonymous_reads=settings.anonymous_reads
    )


def _secrets(file: Path) -> tuple[str, ...]:
    with file.open("rb") as stream:
        content = stream.read(_LARGEST_SECRETS)
    lines = tuple(line.strip() for line in content.decode("latin-1").splitlines() if line.strip())
    if not lines or min(map(len, lines)) < _SHORTEST_SECRET:
        raise ProxySecretInvalid(
            f"{file} holds no secret, or a short one; expected: at least {_SHORTEST_SECRET} characters a line"
        )
    return lines


def _limits(settings: ServerSettings) -> ConnectionLimits:
    return ConnectionLimits(
        connections=settings.max_connections,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        send_timeout=settings.send_timeout,
        keep_alive=settings.keep_alive,
    )
