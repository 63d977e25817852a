"""Keeps one registry's models in OpenShift AI's catalog: in the ConfigMap that holds the sources of its users.

The ConfigMap is others' too. The own models have a key of their own; of the list of sources only the own entry changes,
and only while no one changes the list at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import CatalogConfigMaps
from gatehouse.controllers.registry_sweep import RegistrySweep, RegistryTroubles
from gatehouse.domain.catalog.models_file import write_models_file
from gatehouse.domain.catalog.sources_file import MODELS_KEY, SOURCES_KEY, with_own_entry
from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.entries.artifact_uris import outward

__all__ = ["CatalogSources"]

WORK: Final = "catalog"
MOST_LISTED: Final = 2_000
"""Versions that are read: more than a ConfigMap has room for."""
ROOM: Final = 1_000_000
"""Bytes of all data; a ConfigMap may have 1 MiB, and others shall find room for a change."""
SOURCES_ROOM: Final = 16_384
"""Bytes that stay free for the list of sources."""

_log = structlog.get_logger(__name__)


class CatalogSources:
    """The operator calls :meth:`sweep` at intervals. ``registry`` is the one whose models are listed, as
    ``namespace/name``; the ConfigMap is in its namespace."""

    def __init__(
        self,
        *,
        registry: str,
        objects: Objects,
        connections: Connections,
        config_maps: CatalogConfigMaps,
        troubles: RegistryTroubles,
    ) -> None:
        self._registry = registry
        self._connections = connections
        self._config_maps = config_maps
        self._each = RegistrySweep(
            work=WORK,
            reason="CatalogSourceNotKept",
            doing="OpenShift AI's catalog does not list all that is ready: keeping the source",
            objects=objects,
            troubles=troubles,
        )

    async def sweep(self) -> None:
        """Writes what differs from the ConfigMap."""
        await self._each.run(self._look)

    async def _look(self, registry: ModelRegistry, _body: Mapping[str, Any]) -> bool:
        if f"{registry.metadata.namespace}/{registry.metadata.name}" != self._registry:
            return False
        try:
            await self._keep(registry)
        except Stalled:
            raise
        except ReconcileError as error:
            _log.warning("catalog source not kept yet", reason=error.reason, message=error.message)
            return False
        return True

    async def _keep(self, registry: ModelRegistry) -> None:
        namespace = registry.metadata.namespace
        config_map = await self._config_maps.read(namespace)
        if config_map is None:
            raise Stalled(
                reason="ConfigMapNotFound",
                message=f"namespace {namespace} has no ConfigMap of the catalog's sources",
                remedy="Install OpenShift AI's model registry with this namespace as its registriesNamespace, or clear "
                "the operator's setting catalogSource.",
            )
        models, more = await (await self._connections.rows(registry)).listed_models(most=MOST_LISTED)
        data = _data(config_map)
        others = sum(len(key) + len(text.encode()) for key, text in data.items() if key != MODELS_KEY)
        room = max(0, ROOM - others - len(MODELS_KEY) - SOURCES_ROOM)
        file = write_models_file(models, outward=outward(registry), room=room)
        if data.get(MODELS_KEY) != file.text:
            config_map = await self._config_maps.put_data(config_map, MODELS_KEY, file.text)
            _log.info("models written for the catalog", namespace=namespace, models=len(models) - file.left_out)
        await self._keep_entry(config_map)
        if file.left_out or more:
            raise Stalled(
                reason="NoRoom",
                message=f"the ConfigMap has room for the newest {len(models) - file.left_out} models, and others are "
                "left out",
                remedy="Archive versions that no one shall deploy any more.",
            )

    async def _keep_entry(self, config_map: Mapping[str, Any]) -> None:
        text = _data(config_map).get(SOURCES_KEY, "")
        try:
            changed = with_own_entry(text)
        except FormatError as error:
            finding = error.finding
            raise Stalled(
                reason=finding.reason,
                message=f"found {finding.found}; expected {finding.expected}",
                remedy=finding.remedy,
            ) from None
        if changed != text:
            await self._config_maps.replace_data(config_map, SOURCES_KEY, changed)
            _log.info("own entry written into the catalog's sources", namespace=config_map["metadata"]["namespace"])


def _data(config_map: Mapping[str, Any]) -> Mapping[str, str]:
    data: Mapping[str, str] = config_map.get("data") or {}
    return data
