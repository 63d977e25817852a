"""The desired VettedArtifacts objects, cut into ranges of keys, and the order in which they are written.

The ranges work like the tablets of Bigtable: each range knows only its own bounds, a range that grows too large is cut
alone, and neighbours are joined when both have become small.

A stage and bucket has one object, or several when one would become too large: each decides on the URIs of a range, by
its own bounds. Admission asks every object separately, and all must agree, so that admission would not notice a missing
object. One invariant ensures that nothing unvetted is admitted, at every instant and after a crash between any two
writes: for each key in ``keys`` of any object, the existing objects cover every URI. It follows that

- a key is named only when its objects exist, and they are deleted only when no object names the key any more;
- objects are created before those that they replace are deleted; in between both are asked and both must agree;
- an object that is to be deleted only loses artifacts.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product
from typing import Any, Final, NamedTuple, Self, TypeVar

from gatehouse.api.meta import GROUP, VERSION
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.vetted_artifacts import VettedArtifacts, VettedArtifactsSpec
from gatehouse.domain.admission.allowlist import Shard, ShardKey, retained_uri
from gatehouse.domain.common.locations import locate
from gatehouse.domain.runtimes.arguments import KNOWN_INITIALIZERS, admitted_arguments, normal_arguments
from gatehouse.domain.runtimes.environment import admitted_environment
from gatehouse.domain.serving.initializer import may_have_virtual_host

__all__ = ["LARGEST", "WHOLE", "Common", "ListKey", "Range", "VettedPlan", "covers", "cut"]

FILL: Final = 0.75
"""How full the pieces of a cut range are at most, as a share of the limit."""
JOIN: Final = 0.5
"""How much joined neighbours hold at most, as a share of the limit. Cut ones hold more, so none is joined again."""


class Range(NamedTuple):
    """From ``start`` up to and without ``end``, by code points, as in UTF-8; an empty ``end`` means no end."""

    start: str = ""
    end: str = ""

    def has(self, text: str) -> bool:
        """Whether the text is in the range."""
        return self.start <= text and (not self.end or text < self.end)


WHOLE: Final = Range()


def covers(ranges: Iterable[Range]) -> bool:
    """Whether every text is in at least one of the ranges."""
    reached = ""
    for each in sorted(ranges):
        if each.start > reached:
            return False
        if not each.end:
            return True
        reached = max(reached, each.end)
    return False


def cut(sizes: Mapping[str, int], *, bounds: Iterable[str], limit: int) -> tuple[Range, ...]:
    """Ranges that cover everything and do not overlap, each with at most ``limit`` of the sizes of its texts.

    Only a text that is larger by itself has a range above the limit. ``bounds`` are those of the existing ranges: they
    are kept where possible. Given its own bounds, the function returns the same ranges again.
    """
    starts: list[str] = []
    held: list[int] = []
    for start, size in _weighed_pieces(sizes, bounds=bounds, limit=limit):
        if held and held[-1] + size <= limit * JOIN:
            held[-1] += size
        else:
            starts.append(start)
            held.append(size)
    return tuple(map(Range, starts, [*starts[1:], ""]))


def _weighed_pieces(sizes: Mapping[str, int], *, bounds: Iterable[str], limit: int) -> Iterator[tuple[str, int]]:
    """Start and size of each range of ``bounds``, after ranges that are too large were cut."""
    starts = sorted({"", *bounds})
    texts = sorted(sizes)
    at = 0
    for start, end in zip(starts, [*starts[1:], ""], strict=True):
        first = at
        while at < len(texts) and (not end or texts[at] < end):
            at += 1
        yield from _evenly(start, [(text, sizes[text]) for text in texts[first:at]], limit=limit)


def _evenly(start: str, texts: list[tuple[str, int]], *, limit: int) -> Iterator[tuple[str, int]]:
    total = sum(size for _, size in texts)
    share = math.inf if total <= limit else total / math.ceil(total / (limit * FILL))
    seen = held = 0
    for text, size in texts:
        if held and (held + size > limit or seen // share > (seen - held) // share):
            yield start, held
            start, held = text, 0
        seen += size
        held += size
    yield start, held


LARGEST: Final = 512 * 1024
"""Bytes of the artifacts of one object. etcd takes 1.5 MB; the lists of :class:`Common` and the keys come on top."""
PUNCTUATION: Final = 6
"""Bytes of the quotes, the colon and the comma of one entry."""

_LONGEST: Final[Mapping[str, int]] = {
    name: longest
    for name, field in VettedArtifactsSpec.model_fields.items()
    for mark in field.metadata
    if (longest := getattr(mark, "max_length", None)) is not None
}
T = TypeVar("T")
Manifest = dict[str, Any]
Specs = Mapping[str, Mapping[str, Any]]
"""The existing objects: name to spec."""


class ListKey(NamedTuple):
    """One object: a stage and a bucket, and the range of its URIs."""

    shard: ShardKey
    range: Range = WHOLE

    @property
    def name(self) -> str:
        """Name of the object. No stage has a dot and no bucket 64 characters, so no two have the same."""
        if self.range == WHOLE:
            return self.shard.name
        bounds = "\n".join(self.range).encode()
        return f"{self.shard.name}.{hashlib.sha256(bounds).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The lists that all objects share."""

    runtimes: tuple[str, ...]
    images: tuple[str, ...]
    initializers: tuple[str, ...]
    proxies: tuple[str, ...]
    arguments: Mapping[str, str]
    environment: Mapping[str, str]
    accelerators: tuple[str, ...]
    resources: tuple[str, ...]
    connections: Mapping[ShardKey, tuple[str, ...]]
    virtual_hosts: frozenset[str]
    """Buckets that KServe's initializer may put into the host's name."""

    @classmethod
    def of(
        cls,
        *,
        runtimes: Iterable[str],
        registries: Iterable[ModelRegistry],
        accelerators: Iterable[str],
        initializers: Iterable[str] = (),
    ) -> Self:
        """Each value once, sorted.

        Registries add to the lists that Gatehouse brings. A registry without object stores clears nothing, and adds
        nothing. KServe's configuration adds its storage initializer.
        """
        serving = [(registry, registry.spec.serving) for registry in registries if registry.spec.object_stores]
        arguments = _allowed_arguments(registry for registry, _ in serving)
        connections: defaultdict[ShardKey, set[str]] = defaultdict(set)
        for registry, defaults in serving:
            for stage, store in product(registry.spec.stages, registry.spec.object_stores):
                connections[ShardKey(stage, locate(store.uri_prefix).bucket)].add(defaults.connection_secret)
        return cls(
            runtimes=tuple(sorted(set(runtimes))),
            images=_sorted(each.vllm_image for _, each in serving),
            initializers=_sorted(
                chain(KNOWN_INITIALIZERS, initializers, *(each.initializer_images for _, each in serving))
            ),
            proxies=_sorted(chain.from_iterable(each.proxy_images for _, each in serving)),
            arguments={each: arguments.get(each, "gatehouse") for each in admitted_arguments(arguments)},
            environment=admitted_environment(chain.from_iterable(each.allowed_environment for _, each in serving)),
            accelerators=_sorted(accelerators),
            resources=_sorted(chain.from_iterable(each.allowed_resources for _, each in serving)),
            connections={key: _sorted(names) for key, names in connections.items()},
            virtual_hosts=frozenset(
                locate(store.uri_prefix).bucket
                for registry, _ in serving
                for store in registry.spec.object_stores
                if may_have_virtual_host(store)
            ),
        )


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _allowed_arguments(registries: Iterable[ModelRegistry]) -> Mapping[str, str]:
    """The arguments that registries add to the list, and the first registry that adds each."""
    found: dict[str, str] = {}
    for registry in sorted(registries, key=lambda each: (each.metadata.namespace, each.metadata.name)):
        for argument in normal_arguments(registry.spec.serving.allowed_arguments):
            found.setdefault(argument, f"{registry.metadata.namespace}/{registry.metadata.name}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class VettedPlan:
    """The steps from the existing objects to the desired ones.

    The caller calls the methods in their order, does what each returns, and passes the objects that exist then to the
    next.
    """

    shards: Mapping[ShardKey, Shard]
    lists: Mapping[ListKey, Shard]
    common: Common

    @classmethod
    def of(cls, shards: Mapping[ShardKey, Shard], *, there: Specs, common: Common, limit: int = LARGEST) -> Self:
        """Cuts shards that are too large for one object; existing bounds are kept, so that few objects change."""
        bounds: defaultdict[str, set[str]] = defaultdict(set)
        for spec in there.values():
            bounds[spec["key"]].update(_range(spec))
        lists: dict[ListKey, Shard] = {}
        for key, shard in shards.items():
            ranges = cut(_sizes(shard), bounds=bounds[key.key], limit=limit)
            lists |= zip((ListKey(key, each) for each in ranges), _pieces(shard, ranges), strict=True)
        return cls(shards=shards, lists=lists, common=common)

    def moves(self, there: Specs) -> bool:
        """Whether more is to be done than writing other artifacts into the existing objects."""
        keys = sorted(key.key for key in self.shards)
        named = any(spec["keys"] != keys for spec in there.values())
        return named or there.keys() != {key.name for key in self.lists}

    def creations(self, there: Specs) -> list[Manifest]:
        """Objects to create. They do not name their own key yet, unless other objects cover the key."""
        keys = self._keys(there)
        return [self._manifest(key, keys) for key in self.lists if key.name not in there]

    def updates(self, there: Specs) -> list[Manifest]:
        """Objects to update, those to be deleted before the others."""
        keys = self._keys(there)
        kept = {key.name: key for key in self.lists if key.name in there}
        going = [self._going(name, spec, keys) for name, spec in there.items() if name not in kept]
        bodies = [*going, *(self._manifest(key, keys) for key in kept.values())]
        return [body for body in bodies if body["spec"] != there[body["metadata"]["name"]]]

    def deletions(self, there: Specs) -> list[str]:
        """Objects to delete: their replacements are as desired, or no object names their key."""
        names = {key.name for key in self.lists}
        going = {name: str(spec["key"]) for name, spec in there.items() if name not in names}
        named = {key for spec in there.values() for key in spec["keys"]}
        replaced = {key for key in going.values() if self._stands(key, there)}
        return sorted(name for name, key in going.items() if key not in named or key in replaced)

    def _stands(self, key: str, there: Specs) -> bool:
        """Whether every desired object of a key exists with its desired spec."""
        lists, keys = [each for each in self.lists if each.shard.key == key], self._keys(there)
        return bool(lists) and all(there.get(each.name) == self._manifest(each, keys)["spec"] for each in lists)

    def _keys(self, there: Specs) -> list[str]:
        """Keys that may be named: they are desired, and for each URI an existing object decides."""
        ranges: defaultdict[str, list[Range]] = defaultdict(list)
        for spec in there.values():
            ranges[spec["key"]].append(_range(spec))
        return sorted(key.key for key in self.shards if covers(ranges[key.key]))

    def _manifest(self, key: ListKey, keys: Sequence[str]) -> Manifest:
        return _manifest(key.name, key, self.lists[key], keys=keys, common=self.common)

    def _going(self, name: str, spec: Mapping[str, Any], keys: Sequence[str]) -> Manifest:
        """An object to be deleted, without what is no longer vetted: it was written before, so it is not too large."""
        key = ListKey(ShardKey(spec["stage"], spec["bucket"]), _range(spec))
        now = self.shards.get(key.shard, Shard())
        left = Shard(
            artifacts=dict(spec.get("artifacts", {}).items() & now.artifacts.items()),
            retained=dict(spec.get("retained", {}).items() & now.retained.items()),
            refused=dict(spec.get("refused", {}).items() & now.refused.items()),
            files=dict(spec.get("files", {}).items() & now.files.items()),
        )
        return _manifest(name, key, left, keys=keys, common=self.common)


def _manifest(name: str, key: ListKey, shard: Shard, *, keys: Sequence[str], common: Common) -> Manifest:
    spec = VettedArtifactsSpec(
        stage=key.shard.stage,
        bucket=key.shard.bucket,
        key=key.shard.key,
        keys=list(keys),
        start=key.range.start,
        end=key.range.end,
        artifacts=shard.artifacts,
        retained=shard.retained,
        refused=shard.refused,
        files=shard.files,
        runtimes=_fitting("runtimes", common.runtimes),
        images=_fitting("images", common.images),
        arguments=dict(_fitting("arguments", common.arguments.items())),
        environment=dict(_fitting("environment", common.environment.items())),
        initializers=_fitting("initializers", common.initializers),
        proxies=_fitting("proxies", common.proxies),
        connections=_fitting("connections", common.connections.get(key.shard, ())),
        virtual_host=key.shard.bucket in common.virtual_hosts,
        accelerators=_fitting("accelerators", common.accelerators),
        resources=_fitting("resources", common.resources),
    )
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": VettedArtifacts.info.kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "gatehouse"}},
        "spec": spec.wire(),
    }


def _fitting(field: str, values: Iterable[T]) -> list[T]:
    """As many values as an object can hold. An object that is not written would keep its old clearances."""
    return list(islice(values, _LONGEST[field]))


def _range(spec: Mapping[str, Any]) -> Range:
    return Range(spec.get("start", ""), spec.get("end", ""))


def _pieces(shard: Shard, ranges: Sequence[Range]) -> list[Shard]:
    """The part of a shard in each range."""
    starts = [each.start for each in ranges]
    found = [Shard() for _ in ranges]
    for uri, digest in shard.artifacts.items():
        found[bisect_right(starts, uri) - 1].artifacts[uri] = digest
    for entry, digest in shard.retained.items():
        found[bisect_right(starts, retained_uri(entry)) - 1].retained[entry] = digest
    for uri, reason in shard.refused.items():
        found[bisect_right(starts, uri) - 1].refused[uri] = reason
    for uri, file in shard.files.items():
        found[bisect_right(starts, uri) - 1].files[uri] = file
    return found


def _sizes(shard: Shard) -> Mapping[str, int]:
    """Bytes of JSON by URI. No URI and no reason has a character that JSON escapes."""
    found: defaultdict[str, int] = defaultdict(int)
    for entries in (shard.artifacts, shard.refused, shard.files):
        for uri, value in entries.items():
            found[uri] += len(uri) + len(value) + PUNCTUATION
    for entry, value in shard.retained.items():
        found[retained_uri(entry)] += len(entry) + len(value) + PUNCTUATION
    return found
