"""Reads the expiry time of passwords that are tokens of a cloud's IAM, where the token contains the time.

The database checks the signature, so this module does not. The expiry time is only shown to people; it decides nothing.

Sources: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html (a request that is signed in
its query, 15 minutes), RFC 7519 (the access tokens of Microsoft Entra are JSON Web Tokens). Google's access tokens
contain no expiry time; they last an hour.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

__all__ = ["LONGEST_TOKEN", "ends_at", "says_expired"]

LONGEST_TOKEN: Final = 65_536
"""Characters. Entra's tokens with many groups have some thousands; PostgreSQL accepts no more than this."""

_SIGNED_AT: Final = re.compile(r"[?&]X-Amz-Date=(?P<at>[0-9]{8}T[0-9]{6}Z)(?=&|$)", re.ASCII)
_SECONDS: Final = re.compile(r"[?&]X-Amz-Expires=(?P<seconds>[0-9]{1,6})(?=&|$)", re.ASCII)
_JWT: Final = re.compile(r"[A-Za-z0-9_-]{2,}\.(?P<claims>[A-Za-z0-9_-]{2,})\.[A-Za-z0-9_-]*", re.ASCII)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_EXPIRED: Final = re.compile(r"\btoken\b.{0,80}\bexpired\b|\bexpired\b.{0,80}\btoken\b", re.IGNORECASE | re.ASCII)


def ends_at(token: str) -> datetime | None:
    """The time when a token expires, in UTC; None where the token has no expiry time or is malformed."""
    if len(token) > LONGEST_TOKEN:
        return None
    signed, seconds = _SIGNED_AT.search(token), _SECONDS.search(token)
    if signed is not None and seconds is not None:
        return _signed(signed["at"], int(seconds["seconds"]))
    jwt = _JWT.fullmatch(token)
    return None if jwt is None else _claimed(jwt["claims"])


def says_expired(words: str) -> bool:
    """Whether a server's message says that a token has expired."""
    return _EXPIRED.search(words) is not None


def _signed(at: str, seconds: int) -> datetime | None:
    try:
        return datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None


def _claimed(claims: str) -> datetime | None:
    try:
        document = orjson.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except (NotBase64, ValueError):
        return None
    end = document.get("exp") if isinstance(document, dict) else None
    if isinstance(end, bool) or not isinstance(end, int | float) or not 0 <= end < _LAST:
        return None
    return datetime.fromtimestamp(end, UTC)
