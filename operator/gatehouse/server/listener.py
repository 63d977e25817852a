"""Listens on one address: uvicorn's server with bounded connections, without its signal handlers and its exits."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from gatehouse.server.protocol import BoundedProtocol, ConnectionLimits

__all__ = ["Listener", "tls_context"]

_HANDSHAKE: Final = 10.0
_BACKLOG: Final = 1_024


class Listener(uvicorn.Server):
    """Serves an application until :meth:`stop`; requests in flight end within the grace.

    A process may have several. Port 0 takes a free port; ``address`` has its number.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        limits: ConnectionLimits,
        grace: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                loop="none",
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                # A client's word on its own address never counts: the loopback has an identity.
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(limits.keep_alive),
                timeout_graceful_shutdown=math.ceil(grace),
            )
        )
        self._limits = limits
        self._tls = tls
        self.listening = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self.server_state.connections)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, once the listener listens."""
        name: Any = self.servers[0].sockets[0].getsockname()
        return str(name[0]), int(name[1])

    def stop(self) -> None:
        """Takes no further connections, and lets requests in flight end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Listens. Raises OSError where the address is taken."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return BoundedProtocol(config=self.config, server_state=self.server_state, limits=self._limits, loop=loop)

        server = await loop.create_server(
            protocol,
            host=self.config.host,
            port=self.config.port,
            ssl=self._tls,
            ssl_handshake_timeout=_HANDSHAKE if self._tls else None,
            backlog=_BACKLOG,
        )
        self.servers = [server]
        self.started = True
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the process's business."""
        yield


def tls_context(*, certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and newer. A client certificate is verified where the client shows one; none is required.

    Raises OSError and ssl.SSLError where a file is missing, or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
