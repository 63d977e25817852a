"""The registry that the server shows: its ModelRegistry, read as the server itself, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from gatehouse.actions.objects import parsed
from gatehouse.api.model_registry import ModelRegistry, ObjectStore
from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.ports import RegistryRowsFactory, SecretReader, UtcClock
from gatehouse.registry.rows import Rows
from gatehouse.server.errors import Unavailable, server_refused
from gatehouse.server.identity.expiring import ExpiringCache
from gatehouse.server.readiness import ProbeResult, ReadinessCheck

__all__ = ["ServedRegistry"]

_KEPT: Final = 30.0
"""Seconds for which the ModelRegistry is not read again."""
_NAMESPACES_KEPT: Final = 2.0
"""Seconds for which the namespaces with entries are not read again. A list may lack a new namespace for as long."""
_ONLY: Final = "the only one"


class ServedRegistry:
    """One registry of the cluster.

    Args:
        api: reads as the server itself.
        secrets: reads the password of the database.
        databases: opens the database.
        key: namespace and name of the ModelRegistry; None for the only one.
        clock: the time in UTC.
        now: seconds that only grow.
    """

    def __init__(
        self,
        *,
        api: ApiClient,
        secrets: SecretReader,
        databases: RegistryRowsFactory,
        key: tuple[str, str] | None,
        clock: UtcClock,
        now: Callable[[], float],
    ) -> None:
        self._api = api
        self._key = key
        self._registries: ExpiringCache[str, ModelRegistry] = ExpiringCache(size=1, now=now)
        self._namespaces: ExpiringCache[str, frozenset[str]] = ExpiringCache(size=1, now=now)
        self._connections = Connections(stores=_NoStores(), databases=databases, secrets=secrets, clock=clock)

    async def registry(self) -> ModelRegistry:
        """The ModelRegistry.

        Raises:
            Unavailable: it does not exist, it is not the only one, or the API server does not answer.
        """

        async def read() -> tuple[ModelRegistry, float]:
            return await self._read(), _KEPT

        return await self._registries.get_or_load(_ONLY, read)

    async def rows(self) -> Rows:
        """The rows of the registry. Raises Unavailable, and the errors of the rows."""
        rows = await self._connections.rows(await self.registry())
        if not isinstance(rows, Rows):
            raise TypeError(f"the database opens {type(rows).__name__}; expected: {Rows.__name__}")
        return rows

    async def namespaces(self) -> frozenset[str]:
        """The namespaces that have entries. Raises as :meth:`rows`."""

        async def read() -> tuple[frozenset[str], float]:
            return await (await self.rows()).namespaces(), _NAMESPACES_KEPT

        return await self._namespaces.get_or_load(_ONLY, read)

    async def hook_token(self) -> str | None:
        """The token that object stores send with their events; None where the registry takes no events.

        Raises Unavailable, and the errors of reading the Secret.
        """
        registry = await self.registry()
        hooks = registry.spec.hooks
        return None if hooks is None else await self._connections.secret(registry, hooks.token_secret)

    async def add_hints(self, folders: Sequence[str]) -> int:
        """Tells the operator to look into folders, given as URIs; returns how many hints it gets.

        Raises as :meth:`rows`.
        """
        return await (await self.rows()).add_hints(folders)

    def forget_namespaces(self) -> None:
        """Reads the namespaces again at the next call: this process wrote an entry."""
        self._namespaces.put(_ONLY, frozenset(), seconds=0)

    def database_check(self) -> ReadinessCheck:
        """Whether the database answers, in tables of this server's revision."""

        async def run() -> ProbeResult:
            rows = await self.rows()
            await rows.counts()
            details = {"schema_version": rows.schema_version, "schema_dirty": False}
            return ProbeResult(passed=True, message="database is healthy", details=details)

        return ReadinessCheck(name="database", run=run)

    def service_check(self) -> ReadinessCheck:
        """Whether the registry's entries can be read."""

        async def run() -> ProbeResult:
            await (await self.rows()).counts()
            return ProbeResult(passed=True, message="model registry service is healthy")

        return ReadinessCheck(name="model-registry", run=run)

    async def aclose(self) -> None:
        """Closes the database."""
        await self._connections.aclose()

    async def _read(self) -> ModelRegistry:
        plural = ModelRegistry.info.plural
        try:
            if self._key is not None:
                return parsed(ModelRegistry, await self._api.get(plural, *self._key))
            bodies = [body async for body in self._api.items(plural)]
        except ApiError as error:
            if error.status == 404 and self._key is not None:
                raise Unavailable(f"there is no ModelRegistry {'/'.join(self._key)}") from error
            raise server_refused(error, doing="reading ModelRegistries") from error
        except ClusterError as error:
            raise server_refused(error, doing="reading ModelRegistries") from error
        if len(bodies) != 1:
            raise Unavailable(
                f"there are {len(bodies)} ModelRegistries; expected: one, or the setting registry of the server"
            )
        return parsed(ModelRegistry, bodies[0])


class _NoStores:
    """The server opens no object store: it never fetches a URI."""

    def open(self, store: ObjectStore, **_: object) -> NoReturn:
        """Opens nothing."""
        raise TypeError(f"the server does not open {store.uri_prefix}")

    def archive(self, store: ObjectStore, **_: object) -> NoReturn:
        """Opens nothing."""
        raise TypeError(f"the server does not open {store.uri_prefix}")

    async def aclose(self) -> None:
        """Nothing is open."""
