"""Addresses that the operator may ask: parsed strictly, and compared part by part with a list.

A deployer writes the address into an object, so the form has no part that two programs read in two ways: no user, no
percent sign, no backslash, no segment of dots, no upper case, no last dot of a host, no query and no fragment. The
operator asks the parts that were compared, and never the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["ADDRESS_FORM", "WebAddress", "read_address"]

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SEGMENT: Final = r"/(?!\.{1,2}(?:/|\Z))[-A-Za-z0-9._~!$&'()*+;=:]{1,255}"
ADDRESS_FORM: Final = (
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL}){{0,31}}|\[[0-9a-f:.]{{2,45}}\])"
    rf"(?::(?P<port>[1-9][0-9]{{0,4}}))?(?P<path>(?:{_SEGMENT}){{0,32}}/?)"
)
_ADDRESS: Final = re.compile(ADDRESS_FORM, re.ASCII)
_LONGEST: Final = 1024
_LAST_PORT: Final = 65535
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebAddress:
    """The parts of an address; the port is always known."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        port = "" if _PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"

    def within(self, allowed: Iterable[WebAddress]) -> bool:
        """Whether scheme, host and port are those of an allowed address, and the path is its path or lies below."""
        return any(
            (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
            and f"{self.path.rstrip('/')}/".startswith(f"{other.path.rstrip('/')}/")
            for other in allowed
        )


def read_address(text: str) -> WebAddress:
    """The parts of an address. Raises ValueError, which says what is expected."""
    matched = _ADDRESS.fullmatch(text) if len(text) <= _LONGEST else None
    if matched is None:
        raise ValueError(
            "expected http:// or https://, a host in lower case, an optional port and a plain path, without a user, "
            "percent signs, segments of dots, a query or a fragment"
        )
    scheme, path = matched["scheme"], matched["path"]
    port = int(matched["port"]) if matched["port"] else _PORTS[scheme]
    if port > _LAST_PORT:
        raise ValueError(f"expected a port of at most {_LAST_PORT}")
    return WebAddress(scheme, matched["host"], port, path)
