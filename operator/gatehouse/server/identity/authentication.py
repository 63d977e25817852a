"""Who asks: the credential of a request, judged by the API server and remembered for a short time.

The cache knows a token by its SHA-256. The token itself is only in the request, in the TokenReview, and in the calls
that are made for the caller.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol

import orjson

from gatehouse.cluster.client import ClusterError
from gatehouse.server.errors import Unauthenticated, server_refused
from gatehouse.server.identity.callers import (
    ANONYMOUS,
    BearerToken,
    Caller,
    Credential,
    Impersonated,
    OwnAccount,
    ReviewedUser,
    caller_of,
)
from gatehouse.server.identity.expiring import ExpiringCache

__all__ = ["Authentication", "ReviewApi", "review", "token_end"]

KEPT: Final = 60.0
"""Seconds for which a token that counts is not asked about again."""
KEPT_REJECTED: Final = 5.0
"""The same for a token that does not count."""
MOST_TOKENS: Final = 10_000
MOST_REJECTED: Final = 2_000
"""Tokens that do not count have a cache of their own, so that a flood of them drives no caller out."""
AT_ONCE: Final = 16
"""TokenReviews at once: a flood of tokens leaves connections for the other requests of the server."""
_OWN: Final = "own account"


class ReviewApi(Protocol):
    """The part of the client of the API server that reviews need, with the server's own credentials."""

    async def create(self, plural: str, namespace: str, body: Mapping[str, Any], /) -> dict[str, Any]:
        """Creates an object and returns the result. Raises ClusterError."""
        ...


class Authentication:
    """Turns credentials into callers.

    Args:
        api: asks as the server itself.
        audiences: of which a token must have one; those of the API server when there are none.
        now: seconds that only grow.
        wall: seconds since 1970, with which the end of a token is compared.
    """

    def __init__(
        self, api: ReviewApi, *, audiences: tuple[str, ...], now: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._api = api
        self._audiences = audiences
        self._wall = wall
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._callers: ExpiringCache[bytes, ReviewedUser] = ExpiringCache(size=MOST_TOKENS, now=now)
        self._rejected: ExpiringCache[bytes, bool] = ExpiringCache(size=MOST_REJECTED, now=now)
        self._own: ExpiringCache[str, ReviewedUser] = ExpiringCache(size=1, now=now)

    async def caller(self, credential: Credential) -> Caller:
        """The caller of a request.

        Raises:
            Unauthenticated: the token does not count.
            Unavailable: the API server does not answer, or refuses the server itself.
        """
        match credential:
            case BearerToken(token=token):
                return await self._bearer(credential, token)
            case Impersonated(user=user, groups=groups):
                named = ReviewedUser(name=user, groups=tuple(sorted({*groups, "system:authenticated"})))
                return caller_of(named, credential)
            case OwnAccount():
                return caller_of(await self._own.get_or_load(_OWN, self._ask_for_own), credential)
            case _:
                return ANONYMOUS

    async def _bearer(self, credential: BearerToken, token: str) -> Caller:
        key = sha256(token.encode("ascii")).digest()
        end = token_end(token)
        if end is not None and self._wall() >= end:
            raise Unauthenticated("the token expired", rejected=True)
        if self._rejected.get(key):
            raise _rejection()

        async def ask() -> tuple[ReviewedUser, float]:
            user = await self._review_token(token)
            if user is None:
                self._rejected.put(key, True, seconds=KEPT_REJECTED)
                raise _rejection()
            return user, KEPT if end is None else min(KEPT, end - self._wall())

        return caller_of(await self._callers.get_or_load(key, ask), credential, expires_at=end)

    async def _review_token(self, token: str) -> ReviewedUser | None:
        """The owner of a token, or None where the token does not count for the server."""
        spec = {"token": token} | ({"audiences": list(self._audiences)} if self._audiences else {})
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        async with self._turns:
            status = (await review(self._api, "tokenreviews", body)).get("status") or {}
        if status.get("authenticated") is not True or not (status.get("user") or {}).get("username"):
            return None
        # An API server that knows no audiences answers without them: then the token has none of ours.
        if self._audiences and not set(self._audiences) & set(status.get("audiences") or ()):
            return None
        return ReviewedUser.from_wire(status["user"])

    async def _ask_for_own(self) -> tuple[ReviewedUser, float]:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await review(self._api, "selfsubjectreviews", body)
        return ReviewedUser.from_wire(answer["status"]["userInfo"]), KEPT


async def review(api: ReviewApi, plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The API server's answer to a review that the server itself asks for.

    Raises:
        Unavailable: the API server does not answer, or refuses the server.
    """
    try:
        return await api.create(plural, "", body)
    except ClusterError as error:
        # Without the cause: the API server may quote what it was asked, which is a token.
        raise server_refused(error, doing=f"creating {plural}") from None


def token_end(token: str) -> float | None:
    """When a JWT ends, in seconds since 1970; None for any other token. The API server checks the signature."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    end = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
        return None
    return float(end)


def _rejection() -> Unauthenticated:
    return Unauthenticated(
        "the token does not count: it is invalid, expired, of another cluster or for another audience", rejected=True
    )
