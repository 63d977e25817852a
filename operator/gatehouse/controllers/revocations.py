"""Remembers who withdrew approvals and evaluations: the cache loses that record with the deleted objects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY
from gatehouse.domain.version.facts import Withdrawal

__all__ = ["Withdrawals"]

REMEMBERED: Final = 4096
"""How many of the newest are kept. A version is reconciled within seconds of the deletion, or after an outage."""


class Withdrawals:
    """The withdrawals since this process leads. Earlier withdrawals are unknown."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, Withdrawal] = OrderedDict()

    @property
    def by_uid(self) -> Mapping[str, Withdrawal]:
        """The withdrawals, by uid of the deleted object; a view that is kept up to date."""
        return MappingProxyType(self._found)

    def deleted(self, body: Mapping[str, Any]) -> None:
        """An approval or an evaluation was deleted, or is being deleted; ``body`` is its last known state."""
        annotations = body["metadata"].get("annotations") or {}
        by = annotations.get(ANNOTATION_WITHDRAWN_BY)
        if not by:
            return
        self._found[body["metadata"]["uid"]] = Withdrawal(
            by=by, reason=annotations.get(ANNOTATION_WITHDRAWAL_REASON, "")
        )
        if len(self._found) > REMEMBERED:
            self._found.popitem(last=False)
