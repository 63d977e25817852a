"""The time limits and the number of attempts after which a store counts as unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gatehouse.domain.common.errors import Transient

__all__ = ["Limits", "RetryPolicy", "retried"]

T = TypeVar("T")

_RETRIED = frozenset({"StoreUnavailable", "StoreThrottled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most ``attempts``, with ``backoff`` seconds between them that double, or the store's Retry-After up to
    ``patience``.

    With no patience, a request that the store throttles is not retried here. ``deadline`` bounds the seconds of one
    attempt.
    """

    attempts: int
    backoff: float
    patience: float
    deadline: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds to connect, between two reads, and for 2 MiB of content; policies for small requests and for content.

    A small request may hold a worker of the queue, which has a backoff of its own: only an outage causes a retry.
    Content is read in the background, where giving up loses the file's progress: the count of attempts restarts
    whenever some content arrived.
    """

    connect: float = 5.0
    read: float = 10.0
    batch: float = 60.0
    small: RetryPolicy = RetryPolicy(attempts=3, backoff=0.1, patience=0.0, deadline=15.0)
    content: RetryPolicy = RetryPolicy(attempts=6, backoff=0.25, patience=15.0, deadline=None)


async def retried(policy: RetryPolicy, attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of ``attempt``, retried after an outage as the policy allows; else its last error."""
    for number in range(1, policy.attempts + 1):
        try:
            return await attempt()
        except Transient as error:
            pause = _pause(error, policy, number)
            if pause is None:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _pause(error: Transient, policy: RetryPolicy, number: int) -> float | None:
    """Seconds until the next attempt, or None when no attempt remains."""
    if error.reason not in _RETRIED or number >= policy.attempts:
        return None
    backoff = policy.backoff * 2.0 ** (number - 1)
    if error.not_before is None and error.reason == "StoreUnavailable":
        return backoff
    asked = max(backoff, error.not_before.total_seconds() if error.not_before else 0.0)
    return asked if asked <= policy.patience else None
