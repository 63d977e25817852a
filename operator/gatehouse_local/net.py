"""Loopback ports, and a readiness check by HTTP."""

from __future__ import annotations

import http.client
import random
import socket
import ssl
from collections.abc import Callable

from gatehouse_local.errors import LocalClusterError

__all__ = ["LOOPBACK", "free_port", "http_ready", "is_free"]

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range (32768 and up): an outgoing connection cannot take the port between the check and the
# server's bind.
_PORTS = range(20000, 32000)
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(*, avoid: frozenset[int] = frozenset()) -> int:
    """A free loopback port that is not in `avoid`."""
    candidates = [port for port in _PORTS if port not in avoid]
    tries = min(_TRIES, len(candidates))
    for port in random.sample(candidates, k=tries):
        if is_free(port):
            return port
    raise LocalClusterError(f"no free loopback port found between {_PORTS.start} and {_PORTS.stop} in {tries} tries")


def http_ready(
    port: int, path: str, *, host: str = LOOPBACK, tls: ssl.SSLContext | None = None, token: str | None = None
) -> Callable[[], bool]:
    """A check that GETs `path` on a port of this machine and accepts any 2xx."""

    def answers() -> bool:
        connection = (
            http.client.HTTPConnection(host, port, timeout=2)
            if tls is None
            else http.client.HTTPSConnection(host, port, timeout=2, context=tls)
        )
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return answers
