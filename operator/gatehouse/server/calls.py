"""One call, as its handler sees it: the caller with their rights, the values of path and query, and the bounded
body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from gatehouse.runtime.traces import Trace
from gatehouse.server.errors import BadRequest, BodyTooLarge, MediaTypeRefused
from gatehouse.server.identity.access import Access
from gatehouse.server.identity.callers import Caller
from gatehouse.server.identity.headers import RawHeaders

__all__ = ["Call", "UncheckedCall", "read_body", "read_query"]

MOST_QUERY_FIELDS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedCall:
    """A call whose caller is not known yet.

    ``params`` are the values of the path, ``query`` those of the query in their order, both decoded.
    """

    params: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    headers: RawHeaders
    trace: Trace
    max_body: int
    receive: Receive

    def header(self, name: str) -> str | None:
        """The only value of a header, or None.

        Raises BadRequest where the header stands twice.
        """
        raw = name.lower().encode("ascii")
        values = [value for key, value in self.headers if key == raw]
        if len(values) > 1:
            raise BadRequest(f"the header {name} stands twice; expected: once")
        return values[0].decode("latin-1") if values else None

    def require_media_type(self, *accepted: str) -> None:
        """Raises MediaTypeRefused where the body says that it is of another media type."""
        given = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if given not in accepted:
            raise MediaTypeRefused(f"the body is of another media type; expected: {' or '.join(accepted)}")

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: the body is larger than the server reads; the rest is not read.
            ClientDisconnect: the client went away.
        """
        return await read_body(self.receive, self.headers, limit=self.max_body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(UncheckedCall):
    """A call with the rights of its caller."""

    access: Access

    @classmethod
    def of(cls, call: UncheckedCall, access: Access) -> Self:
        """The call, of a caller who is known now."""
        return cls(
            params=call.params,
            query=call.query,
            headers=call.headers,
            trace=call.trace,
            max_body=call.max_body,
            receive=call.receive,
            access=access,
        )

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.access.caller


def read_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    """The decoded fields of a query, in their order. Raises BadRequest for too many, and for text that is not UTF-8."""
    try:
        return tuple(
            parse_qsl(
                raw.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MOST_QUERY_FIELDS,
            )
        )
    except UnicodeDecodeError:
        raise BadRequest("the query is not UTF-8") from None
    except ValueError:
        raise BadRequest(f"the query has too many fields; expected: at most {MOST_QUERY_FIELDS}") from None


async def read_body(receive: Receive, headers: RawHeaders, *, limit: int) -> bytes:
    """The body of a request, of at most ``limit`` bytes. A length that the head names is refused before any is read."""
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or len(value) > 18 or int(value) > limit):
            raise BodyTooLarge(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
