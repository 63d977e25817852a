"""Remembers who took approvals and evaluations back: what they said of it is gone from the cache with them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY
from gatehouse.domain.version.facts import Withdrawal

__all__ = ["Withdrawals"]

REMEMBERED: Final = 4096
"""The newest. A version is reconciled within seconds of the deletion, or after an outage."""


class Withdrawals:
    """What was taken back since the process leads. Of what went while nobody watched, nobody knows."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, Withdrawal] = OrderedDict()

    @property
    def by_uid(self) -> Mapping[str, Withdrawal]:
        """The withdrawals, by uid of what was withdrawn; a view that is kept up to date."""
        return MappingProxyType(self._found)

    def deleted(self, body: Mapping[str, Any]) -> None:
        """An approval or an evaluation was deleted, or is about to go; ``body`` is the last that was seen of it."""
        annotations = body["metadata"].get("annotations") or {}
        by = annotations.get(ANNOTATION_WITHDRAWN_BY)
        if not by:
            return
        self._found[body["metadata"]["uid"]] = Withdrawal(
            by=by, reason=annotations.get(ANNOTATION_WITHDRAWAL_REASON, "")
        )
        if len(self._found) > REMEMBERED:
            self._found.popitem(last=False)
