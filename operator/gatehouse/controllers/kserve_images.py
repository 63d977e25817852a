"""The image that the cluster's own KServe loads models with: what it is, as of lately.

Admission compares the storage initializer of a Pod with a list. What KServe is configured with is on the list, so that
a cluster that takes KServe from a mirror, or from a platform, needs no registry to repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from gatehouse.domain.common.errors import ReconcileError

__all__ = ["ClusterInitializer", "KServeReader"]

_log = structlog.get_logger(__name__)


class KServeReader(Protocol):
    """Reads KServe's configuration. Raises ``ReconcileError``."""

    async def initializer(self) -> str | None:
        """The image of the storage initializer; None where there is no KServe, or it does not say."""
        ...


class ClusterInitializer:
    """Keeps the image; ``changed`` is told when it is another one than before.

    It is read when it is first asked for. That it cannot be read holds nothing up: what must not be let through any
    more is told of without it. While the API server does not answer, what was read last stays.
    """

    def __init__(self, *, reader: KServeReader, changed: Callable[[], None]) -> None:
        self._reader = reader
        self._changed = changed
        self._known = False
        self._image: str | None = None

    async def images(self) -> tuple[str, ...]:
        """The image, or nothing."""
        if not self._known:
            await self._read()
        return () if self._image is None else (self._image,)

    async def sweep(self) -> None:
        """Reads again. An answer that does not come is made up for by the next time."""
        before = self._image
        await self._read()
        if self._image != before:
            _log.info("KServe has another storage initializer", image=self._image, before=before)
            self._changed()

    async def _read(self) -> None:
        try:
            self._image = await self._reader.initializer()
        except ReconcileError as error:
            _log.warning("KServe's configuration was not read", reason=error.reason, message=error.message)
            return
        self._known = True
