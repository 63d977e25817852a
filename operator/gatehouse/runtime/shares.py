"""Limits the workers of a kind that the keys of one group hold at once, so that other groups have workers too.

Keys of a group wait for the same dependency, as versions wait for the database of their registry. While the dependency
is silent, each of its keys holds a worker until a time limit. Without a bound, these keys would soon hold all workers.

The bound counts held workers, not time: it needs no clock and no estimate of which group is slow. A group that holds no
worker takes any free worker. A group that holds workers takes one more only if as many stay free as the group then
holds. The first group therefore holds at most half of the workers, the next group half of the rest. Each further silent
group leaves at least half of the workers that the group before left, rounded down. A last worker stays free until the
number of silent groups is some ``log2`` of the number of workers. A single group has all workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Shares"]

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True, kw_only=True)
class Shares(Generic[K]):
    """The workers that each group holds.

    Args:
        workers: the number of workers; at least 1.
        group: returns the current group of a key; None for a key without a shared dependency.
        groups: returns the current maximum number of groups.
    """

    workers: int
    group: Callable[[K], Hashable | None]
    groups: Callable[[], int]
    _group_of: dict[K, Hashable] = field(default_factory=dict)
    _held: Counter[Hashable] = field(default_factory=Counter)
    _holding: set[K] = field(default_factory=set)

    def held(self, group: Hashable) -> int:
        """The number of workers that a group holds."""
        return self._held[group]

    def may_take(self, group: Hashable | None) -> bool:
        """Whether a key of the group may take a free worker now."""
        if group is None:
            return True
        held = self._held[group]
        if held == 0 or self.groups() <= 1:
            return True
        free = self.workers - len(self._holding) - 1
        return held + 1 <= free

    def take(self, key: K, group: Hashable | None) -> None:
        """Record that a worker took the key."""
        self._holding.add(key)
        if group is not None:
            self._group_of[key] = group
            self._held[group] += 1

    def give_back(self, key: K) -> None:
        """Record that the worker is done with the key, whatever group the key now has."""
        self._holding.discard(key)
        group = self._group_of.pop(key, None)
        if group is not None:
            self._held[group] -= 1
            if not self._held[group]:
                del self._held[group]
