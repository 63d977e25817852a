"""Versions that affect one another: with the same URI, with the same digest, or one in the folder of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.wire import WireVersion
from gatehouse.controllers.indexes import BY_BUCKET, BY_DIGEST, BY_REFUSED_AT, BY_REFUSED_DIGEST, BY_SERVED
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName, ObjectReader
from gatehouse.domain.admission.contest import Endpoints, VersionStanding, endpoints_of, folders_above, standing_of
from gatehouse.domain.common.locations import folder_of, locate
from gatehouse.runtime.cache import CacheChange, ChangeType

__all__ = ["Rivalries", "Rivals"]

VERSIONS: Final = ModelVersion.info.plural
REGISTRIES: Final = ModelRegistry.info.plural

Before = Callable[[], WireVersion | None]


class Rivals:
    """What the cache knows of the other versions of an artifact.

    A standing is computed once for each resourceVersion of an object that has a rival.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._standings: dict[ObjectName, tuple[str, VersionStanding | None]] = {}
        self._endpoints: dict[str, tuple[tuple[tuple[ObjectName, str | None], ...], Endpoints]] = {}

    def of(self, version: ModelVersion, *, digest: str | None) -> tuple[VersionStanding, ...]:
        """Other versions of its URI, and refused versions of its digest or in its folder."""
        reader, uri = self._objects.reader, folder_of(version.spec.artifact.uri)
        names = {*reader.select(VERSIONS, BY_SERVED, uri), *reader.select(VERSIONS, BY_REFUSED_AT, uri)}
        if digest is not None:
            names.update(reader.select(VERSIONS, BY_REFUSED_DIGEST, digest))
        names.discard(ObjectName(version.metadata.namespace, version.metadata.name))
        standings = (self._standing(name) for name in sorted(names))
        return tuple(standing for standing in standings if standing is not None)

    def endpoints(self, uri: str) -> Endpoints:
        """The endpoints at which registries declare the bucket of a URI."""
        bucket = locate(uri).bucket
        names = sorted(self._objects.reader.select(REGISTRIES, BY_BUCKET, bucket))
        revisions = tuple((name, self._objects.reader.revision(REGISTRIES, *name)) for name in names)
        known = self._endpoints.get(bucket)
        if known is not None and known[0] == revisions:
            return known[1]
        registries = (self._objects.get(ModelRegistry, *name) for name in names)
        declared = endpoints_of(registry for registry in registries if registry is not None)
        endpoints = {bucket: declared[bucket]} if bucket in declared else {}
        self._endpoints[bucket] = (revisions, endpoints)
        return endpoints

    def _standing(self, name: ObjectName) -> VersionStanding | None:
        revision = self._objects.reader.revision(VERSIONS, *name)
        known = self._standings.get(name)
        if known is not None and known[0] == revision:
            return known[1]
        body = None if revision is None else self._objects.reader.get(VERSIONS, *name)
        if revision is None or body is None:
            self._standings.pop(name, None)
            return None
        standing = standing_of(body)
        self._standings[name] = (revision, standing)
        return standing


class Rivalries:
    """Enqueues the versions that a changed version affects; ``enqueue`` gets each of them.

    Nothing waits here: when one version has observed other bytes, the others must be verified at once.
    """

    def __init__(self, *, reader: ObjectReader, enqueue: Callable[[ObjectName], None]) -> None:
        self._reader = reader
        self._enqueue = enqueue
        self._refused: dict[ObjectName, VersionStanding] = {}

    def observe(self, change: CacheChange) -> None:
        """A version was created, changed or deleted."""
        name, body = ObjectName(change.key.namespace, change.key.name), cast("WireVersion", change.body)
        if change.type is ChangeType.DELETED:
            self._note(name, None, folder_of(body["spec"]["artifact"]["uri"]), lambda: body)
        else:
            self._changed(name, body, lambda: cast("WireVersion | None", change.body_before))

    def _changed(self, name: ObjectName, body: WireVersion, before: Before) -> None:
        """A version is new, or has changed; ``before`` returns its earlier body."""
        uri = folder_of(body["spec"]["artifact"]["uri"])
        refuses = name in self._refused or bool((body.get("status") or {}).get("refusals"))
        # Most versions affect no other, and this test costs less than a standing.
        if refuses or self._shares(name, uri):
            self._note(name, standing_of(body), uri, before)

    def _shares(self, name: ObjectName, uri: str) -> set[ObjectName]:
        """The other versions of a URI."""
        return set(self._reader.select(VERSIONS, BY_SERVED, uri)) - {name}

    def _note(
        self,
        name: ObjectName,
        now: VersionStanding | None,
        uri: str,
        before: Before,
    ) -> None:
        refused = self._refused.pop(name, None)
        if now is not None and now.refusals:
            self._refused[name] = now
        rivals = self._shares(name, uri)
        if _refusal(now) != _refusal(refused):
            for folder in folders_above(uri):
                rivals.update(self._reader.select(VERSIONS, BY_SERVED, folder))
            for digest in {standing.digest for standing in (now, refused) if standing is not None and standing.digest}:
                rivals.update(self._reader.select(VERSIONS, BY_DIGEST, digest))
        elif rivals:
            body = before()
            if _matters(now) == _matters(None if body is None else standing_of(body)):
                return
        for rival in rivals - {name}:
            self._enqueue(rival)


def _refusal(standing: VersionStanding | None) -> object:
    """The part of a standing that may shut other versions."""
    if standing is None or not standing.refusals:
        return None
    return standing.digest, standing.refusals, standing.phase, standing.held, standing.judged_at


def _matters(standing: VersionStanding | None) -> object:
    """The part of a standing that affects other versions of its URI."""
    if standing is None:
        return None
    of_bytes = standing.digest, standing.verified, standing.held, standing.judged_at, bool(standing.cleared_for)
    return *of_bytes, standing.claimed_at, standing.phase
