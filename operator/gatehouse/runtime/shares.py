"""How many workers of a kind the keys of one group may hold at once, so that one of them leaves some to the others.

Keys of a group wait for the same thing, as versions do for the database of their registry. Where that thing is silent,
each of its keys holds its worker until a time limit, and without a bound they would soon hold all of them.

The bound is of holding, not of time, so it needs no clock and no opinion about which group is slow. A group that holds
no worker takes any that is free. A group that holds some takes one more only if as many stay free as it then holds: the
first group holds half of the workers at most, the next half of the rest. So each further silent group leaves at least
half of what the one before left, rounded down, and a last worker is free until some ``log2`` of the workers are silent.
While there is one group only, it has all workers.
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
    """What each group holds.

    Args:
        workers: how many there are; at least 1.
        group: the group of a key as of now; None for a key that waits for nothing that others wait for.
        groups: how many groups there may be as of now.
    """

    workers: int
    group: Callable[[K], Hashable | None]
    groups: Callable[[], int]
    _group_of: dict[K, Hashable] = field(default_factory=dict)
    _held: Counter[Hashable] = field(default_factory=Counter)
    _holding: set[K] = field(default_factory=set)

    def held(self, group: Hashable) -> int:
        """Workers that a group holds."""
        return self._held[group]

    def may_take(self, group: Hashable | None) -> bool:
        """Whether a key of the group may have a worker now, if one is free."""
        if group is None:
            return True
        held = self._held[group]
        if held == 0 or self.groups() <= 1:
            return True
        free = self.workers - len(self._holding) - 1
        return held + 1 <= free

    def take(self, key: K, group: Hashable | None) -> None:
        """A worker has the key."""
        self._holding.add(key)
        if group is not None:
            self._group_of[key] = group
            self._held[group] += 1

    def give_back(self, key: K) -> None:
        """The worker is done with the key, whichever group it is of by now."""
        self._holding.discard(key)
        group = self._group_of.pop(key, None)
        if group is not None:
            self._held[group] -= 1
            if not self._held[group]:
                del self._held[group]
