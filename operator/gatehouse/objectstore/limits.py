"""How long and how often a store is asked before the answer is that it is not available."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "RetryPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """``attempts`` in all, ``backoff`` seconds between them that double, or the store's Retry-After up to ``patience``.

    ``deadline`` bounds the seconds of one attempt. With no patience a store that throttles is not asked again here.
    """

    attempts: int
    backoff: float
    patience: float
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds to connect and between two reads; policies for small requests and for content.

    A small request may hold a worker of the queue, which has a backoff of its own: it is asked again only after a
    connection broke. Content is read in the background, where giving up costs the file's progress.
    """

    connect: float = 5.0
    read: float = 10.0
    small: RetryPolicy = RetryPolicy(attempts=3, backoff=0.1, patience=0.0, deadline=15.0)
    content: RetryPolicy = RetryPolicy(attempts=6, backoff=0.25, patience=15.0, deadline=120.0)
