"""One HTTP session for an endpoint and the certificates that vouch for it."""

from __future__ import annotations

import ssl
from datetime import timedelta

import aiohttp

from gatehouse.domain.common.errors import Waiting
from gatehouse.storage.errors import StoreAddress
from gatehouse.storage.limits import Limits

__all__ = ["open_session"]

_READ_BUFFER = 256 * 1024
_CONNECTIONS = 64


def open_session(
    address: StoreAddress, *, ca_pem: str | None, limits: Limits, proxy: str | None = None
) -> aiohttp.ClientSession:
    """A session through a ``proxy`` or direct, which the caller must close.

    Raises Waiting (CertificateRejected) when ``ca_pem`` holds no certificates.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.read)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=_trust(address, ca_pem)),
        timeout=timeout,
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
    )


def _trust(address: StoreAddress, ca_pem: str | None) -> ssl.SSLContext | bool:
    """Only the certificates in ``ca_pem``, or the system's without it."""
    if ca_pem is None:
        return True
    # Not create_default_context: for an empty text, that would trust the system's certificates.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise Waiting(
            reason="CertificateRejected",
            message=f"{address}: the caSecret holds no PEM certificates",
            after=timedelta(minutes=1),
            remedy="Put the PEM certificate of the store's authority into the caSecret.",
        ) from None
    return context
