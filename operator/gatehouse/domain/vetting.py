"""What admission lets through, as a pure function of how every version stands. The cache keeps the standings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, NamedTuple

import orjson

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.access import folder_of, locate

__all__ = ["Shard", "ShardKey", "VersionStanding", "shards", "standing_of"]

MOST_REFUSED: Final = 2000
"""Reasons that are told: the first by URI. Without one, admission's message is less helpful, no more."""
_URI: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9._/-]{0,1024}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""An object of an older schema may hold anything. What no list can hold would keep every list from being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStanding:
    """How one version stands. ``digest`` is the recorded one; ``shut`` the first gate that is shut."""

    registry: str
    version: str
    uri: str
    digest: str
    phase: str
    cleared_for: tuple[str, ...]
    deployed_to: tuple[str, ...]
    policies: tuple[str, ...]
    shut: str

    def packed(self) -> str:
        """As one string, for an index."""
        return orjson.dumps(self).decode()

    @classmethod
    def unpacked(cls, packed: str) -> VersionStanding:
        """The standing that ``packed`` made a string of."""
        values: dict[str, Any] = orjson.loads(packed)
        for name in ("cleared_for", "deployed_to", "policies"):
            values[name] = tuple(values[name])
        return cls(**values)


def standing_of(body: Mapping[str, Any]) -> VersionStanding | None:
    """How a ModelVersion stands by its status, which only the operator writes; None before it has an outcome."""
    status, metadata = body.get("status") or {}, body["metadata"]
    phase, registry = status.get("phase"), status.get("registry")
    if phase is None or registry is None or metadata.get("deletionTimestamp"):
        return None
    uri = folder_of(body["spec"]["artifact"]["uri"])
    if _URI.fullmatch(uri) is None:
        return None
    gates = status.get("gates") or ()
    digest = str(status.get("recordedDigest") or (status.get("artifact") or {}).get("digest") or "")
    return VersionStanding(
        registry=registry,
        version=f"{metadata['namespace']}/{metadata['name']}",
        uri=uri,
        digest=digest if _DIGEST.fullmatch(digest) else "",
        phase=phase,
        cleared_for=tuple(status.get("clearedFor") or ()),
        deployed_to=tuple(status.get("deployedTo") or ()),
        policies=tuple(each["name"] for each in status.get("policies") or ()),
        shut=next((gate["name"] for gate in gates if not gate["open"]), ""),
    )


class ShardKey(NamedTuple):
    """A stage and a bucket."""

    stage: str
    bucket: str

    @property
    def name(self) -> str:
        """Name of the object, if one does."""
        return f"{self.stage}.{self.bucket}"

    @property
    def key(self) -> str:
        """What admission looks up."""
        return f"{self.stage}/{self.bucket}"


@dataclass(slots=True)
class Shard:
    """What is let through for a stage from a bucket, or from a range of its URIs."""

    artifacts: dict[str, str] = field(default_factory=dict)
    retained: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def shards(
    standings: Iterable[VersionStanding], *, registries: Iterable[ModelRegistry], strict: Collection[str]
) -> Mapping[ShardKey, Shard]:
    """Every shard by its key, an empty one for each stage and bucket of a registry that has no version there.

    ``strict`` names the policies that let nothing go on running.

    Two versions may share a URI. It is cleared when one of them is, for the digest that one was cleared with: bytes
    that changed clear neither.
    """
    found: dict[ShardKey, Shard] = {}
    stages: dict[str, Sequence[str]] = {}
    for registry in registries:
        stages[f"{registry.metadata.namespace}/{registry.metadata.name}"] = registry.spec.stages
        for stage, store in product(registry.spec.stages, registry.spec.object_stores):
            found.setdefault(ShardKey(stage, locate(store.uri_prefix).bucket), Shard())
    for standing in sorted(standings, key=lambda each: (each.uri, each.version)):
        bucket = locate(standing.uri).bucket
        for stage in stages.get(standing.registry, ()):
            shard = found.setdefault(ShardKey(stage, bucket), Shard())
            _place(standing, stage, shard, strict=strict)
    for shard in found.values():
        shard.retained = {uri: digest for uri, digest in shard.retained.items() if uri not in shard.artifacts}
        refused = [(uri, reason) for uri, reason in shard.refused.items() if uri not in shard.artifacts]
        shard.refused = dict(refused[:MOST_REFUSED])
    return found


def _place(standing: VersionStanding, stage: str, shard: Shard, *, strict: Collection[str]) -> None:
    if standing.digest and stage in standing.cleared_for:
        shard.artifacts.setdefault(standing.uri, standing.digest)
        return
    why = f"{standing.version} is {standing.phase}" + (f", gate {standing.shut} is shut" if standing.shut else "")
    shard.refused.setdefault(standing.uri, why[:256])
    if standing.digest and stage in standing.deployed_to and not set(standing.policies) & set(strict):
        shard.retained.setdefault(standing.uri, standing.digest)
