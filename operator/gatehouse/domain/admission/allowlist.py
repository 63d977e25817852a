"""The artifacts that admission admits, as a pure function of all standings. The cache keeps the standings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final, NamedTuple

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.admission.contest import Contest, Objection, VersionStanding, endpoints_of
from gatehouse.domain.common.locations import locate

__all__ = ["Shard", "ShardKey", "retained_key", "retained_uri", "shards"]

MOST_REFUSED: Final = 2000
"""Reasons that are shown: the first by URI. Without a reason, only admission's message is less helpful."""
LONGEST_REASON: Final = 256


class ShardKey(NamedTuple):
    """A stage and a bucket."""

    stage: str
    bucket: str

    @property
    def name(self) -> str:
        """Name of the object, if the shard needs only one."""
        return f"{self.stage}.{self.bucket}"

    @property
    def key(self) -> str:
        """The key that admission looks up."""
        return f"{self.stage}/{self.bucket}"


@dataclass(slots=True)
class Shard:
    """The artifacts that admission admits for a stage from a bucket, or from a range of its URIs.

    ``retained`` is by :func:`retained_key`, the others are by URI. ``files`` has the URIs of ``artifacts`` and
    ``retained`` for which servers get one file in place of the folder.
    """

    artifacts: dict[str, str] = field(default_factory=dict)
    retained: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def retained_key(namespace: str, uri: str) -> str:
    """The key under which admission looks up an artifact that a namespace may keep."""
    return f"{namespace} {uri}"


def retained_uri(key: str) -> str:
    """The URI in a key of :func:`retained_key`."""
    return key.partition(" ")[2]


def shards(
    standings: Iterable[VersionStanding], *, registries: Iterable[ModelRegistry], strict: Collection[str]
) -> Mapping[ShardKey, Shard]:
    """Every shard by its key; a stage and bucket of a registry without a version has an empty shard.

    ``strict`` names the policies that let no running service continue.

    Several versions may share a URI. The URI is cleared when one of them is cleared and :class:`Contest` has no
    objection. A version that cannot be evaluated because of an unexpected error shuts its own URI only.
    """
    declared = sorted(registries, key=lambda each: (each.metadata.namespace, each.metadata.name))
    known = sorted(standings, key=lambda each: (each.uri, each.version, each.uid))
    merge = _Merge(Contest(known, endpoints=endpoints_of(declared)), frozenset(strict))
    stages: dict[str, Sequence[str]] = {}
    for registry in declared:
        stages[f"{registry.metadata.namespace}/{registry.metadata.name}"] = registry.spec.stages
        for stage, store in product(registry.spec.stages, registry.spec.object_stores):
            merge.shard(stage, locate(store.uri_prefix).bucket)
    for standing in known:
        for stage in stages.get(standing.registry, ()):
            try:
                merge.enter(standing, stage)
            except Exception as error:  # noqa: BLE001 - the URI is shut, and says why
                merge.bar(standing, stage, error)
    return merge.found()


class _Merge:
    """Builds every shard, version by version in their order."""

    def __init__(self, contest: Contest, strict: frozenset[str]) -> None:
        self._contest = contest
        self._strict = strict
        self._shards: dict[ShardKey, Shard] = {}
        self._spoken_for: set[tuple[str, str]] = set()
        """(stage, URI) for which a version of the URI's owner has given the reason of the refusal."""
        self._final: set[tuple[str, str]] = set()
        """(stage, URI) that no service may keep, because of a policy."""
        self._barred: dict[tuple[str, str], str] = {}
        """(stage, URI) that cannot be evaluated, and why."""

    def shard(self, stage: str, bucket: str) -> Shard:
        """The shard of a stage and a bucket."""
        key = ShardKey(stage, bucket)
        found = self._shards.get(key)
        if found is None:
            found = self._shards[key] = Shard()
        return found

    def enter(self, standing: VersionStanding, stage: str) -> None:
        """Adds a version to the shard of a stage."""
        shard = self.shard(stage, locate(standing.uri).bucket)
        objection = self._contest.objection(standing, stage)
        cleared = standing.digest and stage in standing.cleared_for and not standing.refuses(stage)
        if objection is None and cleared:
            digest = shard.artifacts.setdefault(standing.uri, standing.digest)
            if standing.model_file and digest == standing.digest:
                shard.files[standing.uri] = standing.model_file
            return
        self._refuse(shard, standing, stage, objection)
        self._retain(shard, standing, stage)

    def bar(self, standing: VersionStanding, stage: str, error: Exception) -> None:
        """Shuts the URI of a version that could not be evaluated for a stage, whatever its other versions are."""
        why = f"{standing.version} cannot be evaluated: {type(error).__name__}; report it with the operator's log"
        self._barred[stage, standing.uri] = why[:LONGEST_REASON]

    def found(self) -> Mapping[ShardKey, Shard]:
        """The shards, after all versions were added."""
        for (stage, uri), why in self._barred.items():
            shard = self.shard(stage, locate(uri).bucket)
            shard.artifacts.pop(uri, None)
            shard.refused = {uri: why, **{other: said for other, said in shard.refused.items() if other != uri}}
            self._final.add((stage, uri))
        for key, shard in self._shards.items():
            shard.retained = {
                entry: digest
                for entry, digest in shard.retained.items()
                if (uri := retained_uri(entry)) not in shard.artifacts and (key.stage, uri) not in self._final
            }
            going_on = {retained_uri(entry) for entry in shard.retained}
            shard.files = {uri: file for uri, file in shard.files.items() if uri in shard.artifacts or uri in going_on}
            refused = [(uri, reason) for uri, reason in shard.refused.items() if uri not in shard.artifacts]
            shard.refused = dict(refused[:MOST_REFUSED])
        return self._shards

    def _refuse(self, shard: Shard, standing: VersionStanding, stage: str, objection: Objection | None) -> None:
        """Records why an artifact is refused: the reason of its owner's version, if the owner has one."""
        if objection is None:
            shut = f", gate {standing.shut} is shut" if standing.shut else ""
            why = f"{standing.version} is {standing.phase}{shut}"
        else:
            why = objection.finding.found
        if self._contest.owner(standing.uri) != standing.namespace:
            shard.refused.setdefault(standing.uri, why[:LONGEST_REASON])
        elif (stage, standing.uri) not in self._spoken_for:
            self._spoken_for.add((stage, standing.uri))
            shard.refused[standing.uri] = why[:LONGEST_REASON]

    def _retain(self, shard: Shard, standing: VersionStanding, stage: str) -> None:
        """Lets services keep an artifact that was admitted while it was cleared, if its bytes are the recorded ones."""
        if self._strict.intersection(standing.policies):
            if self._contest.owner(standing.uri) == standing.namespace:
                self._final.add((stage, standing.uri))
            return
        if not standing.verified or not standing.admitted_to or self._contest.altered(standing):
            return
        for admitted, namespace in standing.admitted_to:
            if admitted == stage:
                shard.retained.setdefault(retained_key(namespace, standing.uri), standing.digest)
                if standing.model_file and standing.uri not in shard.artifacts:
                    shard.files.setdefault(standing.uri, standing.model_file)
