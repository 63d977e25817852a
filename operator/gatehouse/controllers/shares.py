"""The database that an object's reconcile waits for, so that no silent database holds all workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.controllers.indexes import BY_MODEL, BY_REGISTRY, DEFAULT, IS_DEFAULT
from gatehouse.controllers.lookup import Objects
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.controller import Groups
from gatehouse.runtime.refs import ObjectKey

__all__ = ["GONE", "DatabaseShares"]

REGISTRIES: Final = ModelRegistry.info.plural
MODELS: Final = RegisteredModel.info.plural
VERSIONS: Final = ModelVersion.info.plural

GONE: Final = "objects that are gone"
"""Group of deleted objects: the database of their rows is no longer known, so all databases are queried."""


class DatabaseShares:
    """Groups keys by database. ``describe`` names the database of a registry, without credentials."""

    def __init__(self, caches: Caches, *, objects: Objects, describe: Callable[[ModelRegistry], str]) -> None:
        self._caches = caches
        self._objects = objects
        self._describe = describe

    @property
    def groups(self) -> Groups:
        """The groups for the runtime."""
        return Groups(of=self.of, count=lambda: len(self._caches[REGISTRIES]))

    def of(self, key: ObjectKey) -> str | None:
        """The database that the object's reconcile waits for, `GONE`, or None without a database. Never raises."""
        meta = self._caches[key.kind].meta(key)
        if meta is None or meta.deletion_timestamp:
            return None if key.kind == REGISTRIES else GONE
        registry = self._registry_of(key)
        return None if registry is None else self.database(registry)

    def database(self, registry: ModelRegistry) -> str:
        """The group of a registry: registries with the same database share one group."""
        try:
            return self._describe(registry)
        except ReconcileError:
            return f"{registry.metadata.namespace}/{registry.metadata.name}"

    def _registry_of(self, key: ObjectKey) -> ModelRegistry | None:
        if key.kind == REGISTRIES:
            return self._objects.get(ModelRegistry, key.namespace, key.name)
        model = key
        if key.kind == VERSIONS:
            named = self._caches[VERSIONS].indexed(key, BY_MODEL)
            if not named:
                return None
            namespace, _, name = named[0].partition("/")
            model = ObjectKey(MODELS, namespace, name)
        references = self._caches[MODELS].indexed(model, BY_REGISTRY)
        if not references:
            return None
        if references[0]:
            namespace, _, name = references[0].partition("/")
            return self._objects.get(ModelRegistry, namespace, name)
        default = self._caches.select(REGISTRIES, DEFAULT, IS_DEFAULT)
        return self._objects.get(ModelRegistry, default[0].namespace, default[0].name) if len(default) == 1 else None
