"""kopf, configured to do nothing but list and watch.

Each setting answers something that was measured or read in kopf 1.45.2.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import kopf

from gatehouse.engine.objects import Resource

__all__ = ["build_registry", "build_settings", "quiet_loggers"]

CleanupHandler = Callable[..., Awaitable[None]]
LoginHandler = Callable[..., Awaitable[kopf.AiohttpSession]]

PAGE_SIZE: Final = 100
"""Objects in a page of a list. One may have as many bytes as etcd takes, and a page is in memory as JSON."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing. The default one copies every body three times to compute a diff nobody reads."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        pass


class NoProgress(kopf.ProgressStorage):
    """Remembers nothing: `on.event` has no progress."""

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        pass

    def purge(self, **_: object) -> None:
        pass

    def touch(self, **_: object) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def build_settings(*, page_size: int = PAGE_SIZE) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # one POST a call, without aggregation
    settings.peering.standalone = True  # peering is priority, not election
    settings.scanning.disabled = True  # would list and watch every CRD and namespace of the cluster
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.queueing.worker_limit = None  # a limit holds each slot for idle_timeout
    settings.queueing.idle_timeout = 0.2  # a task and a queue live that long after an object's last event
    settings.watching.chunk_size = page_size
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = [1, 2, 5]
    settings.process.ultimate_exiting_timeout = None  # kopf must not kill a process it does not own
    return settings


def build_registry(
    resources: Collection[Resource],
    *,
    login: LoginHandler,
    cleanup: CleanupHandler,
) -> kopf.OperatorRegistry:
    """A registry of its own with an event handler for each resource: kopf watches what has one."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(login)
    kopf.on.cleanup(registry=registry, id="cleanup")(cleanup)
    for resource in resources:
        kopf.on.event(
            group=resource.group,
            version=resource.version,
            plural=resource.plural,
            registry=registry,
            id=resource.plural,
        )(_handle)
    return registry


async def _handle(**_: object) -> None:
    """Nothing comes here: events are taken from the response."""


def quiet_loggers() -> None:
    """Silence what kopf logs for each event, and its remark that signals are not its business here."""
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
