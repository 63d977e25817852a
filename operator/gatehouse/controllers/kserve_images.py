"""The image with which the cluster's own KServe loads models.

Admission compares the storage initializer of a Pod with a list. The list contains the image from KServe's
configuration, so that registries need not repeat the image when KServe comes from a mirror or a platform.
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
        """The image of the storage initializer; None without KServe, or when its configuration does not name one."""
        ...


class ClusterInitializer:
    """Keeps the image; ``changed`` is called when the image changes.

    The image is read at first use. An error of reading delays nothing: withdrawn clearances are written without the
    image. While the API server does not answer, the last known image stays.
    """

    def __init__(self, *, reader: KServeReader, changed: Callable[[], None]) -> None:
        self._reader = reader
        self._changed = changed
        self._known = False
        self._image: str | None = None

    async def images(self) -> tuple[str, ...]:
        """The image; empty when it is not known."""
        if not self._known:
            await self._read()
        return () if self._image is None else (self._image,)

    async def sweep(self) -> None:
        """Reads the image again. After an error, the next sweep tries again."""
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
