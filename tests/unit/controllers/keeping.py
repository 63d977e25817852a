"""The keeper of VettedArtifacts over a cache in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import worlds
from gatehouse.controllers.dependencies import EVERY
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.vetted_artifacts import VettedArtifactsKeeper
from gatehouse.domain.admission.contest import VersionStanding
from gatehouse.domain.admission.objects import Range
from gatehouse.domain.common.errors import Stalled, Superseded
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.version.outcome import Requeue

STAGES: Final = ("staging", "production")
URIS: Final = tuple(f"s3://models/m-{number}/" for number in range(8))
NEVER: Final = ("s3://models/", "s3://models/m-3/x/", "s3://models/zzz/", "s3://other/m-1/", "s3://other/", "", "~")
LIMIT: Final = 500
"""Bytes: two to four artifacts."""
Specs = Mapping[str, Mapping[str, Any]]
Vetted = frozenset[tuple[str, str]]
"""(stage, URI)."""


def admits(objects: Specs, stage: str, uri: str) -> bool:
    """What inferenceservice-artifact.yaml and pod-artifact.yaml say."""
    key = f"{stage}/{uri.split('/')[2] if uri.startswith('s3://') else ''}"
    for spec in objects.values():
        of_a_bucket = any(uri.startswith(f"s3://{each.split('/')[1]}/") for each in spec["keys"])
        if of_a_bucket and not uri.startswith(f"s3://{spec['bucket']}/"):
            continue
        if spec["key"] in spec["keys"] and not Range(spec["start"], spec["end"]).has(uri):
            continue
        if key not in spec["keys"] or (key == spec["key"] and uri not in spec["artifacts"]):
            return False
    return bool(objects)


class Crashed(Exception):
    """The operator was killed."""


@dataclass
class World:
    """The API server and the operator's cache of it, which hears of deletions late."""

    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    cached: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    at: dict[str, Revision] = field(default_factory=dict)
    heard: dict[str, Revision] = field(default_factory=dict)
    version: int = 0
    name: str = "one"
    took_over: bool = False
    vetted: Vetted = frozenset()
    stages: tuple[str, ...] = STAGES
    crash_after: int = 1000
    refuses: Callable[[str], bool] = lambda _name: False
    looks: Callable[[], None] = lambda: None
    writes: list[str] = field(default_factory=list)
    now_: datetime = worlds.NOW

    def reconcile(self, *, limit: int = LIMIT) -> Requeue:
        """One pass of a fresh operator."""
        keeper = VettedArtifactsKeeper(objects=Objects(self), writer=self, clock=self, limit=limit, term=self)  # type: ignore[arg-type]
        return asyncio.run(keeper("", EVERY))

    def hear(self) -> None:
        """The cache catches up."""
        self.cached, self.heard = dict(self.objects), dict(self.at)

    def edit(self, name: str, spec: Mapping[str, Any], *, writer: str) -> Revision:
        """Somebody writes an object."""
        self.version += 1
        self.objects[name] = spec
        self.at[name] = Revision(f"u-{name}", str(self.version), writer)
        return self.at[name]

    def _wrote(self, what: str) -> None:
        self.writes.append(what)
        self.looks()
        self.crash_after -= 1
        if self.crash_after < 0:
            raise Crashed

    # the writer

    async def vetted_artifacts(self) -> Mapping[str, Revision]:
        return dict(self.at)

    async def reread_vetted_artifacts(self) -> None:
        self.hear()

    async def create_vetted_artifacts(self, body: Mapping[str, Any]) -> Revision:
        if body["metadata"]["name"] in self.objects:
            raise Superseded(reason="Conflict", message="it is there")
        return self._put(body)

    async def update_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        self._check(body["metadata"]["name"], at)
        return self._put(body)

    async def mark_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        name = body["metadata"]["name"]
        self._check(name, at)
        assert body["spec"] == self.objects[name]
        return self._put(body, word="mark")

    async def delete_vetted_artifacts(self, name: str, *, at: Revision) -> None:
        if name in self.objects:
            self._check(name, at)
            assert at.writer == self.name
            del self.objects[name], self.at[name]
        self._wrote(f"delete {name}")

    def _check(self, name: str, at: Revision) -> None:
        if self.at.get(name) != at:
            raise Superseded(reason="Conflict", message=f"{name} is not as it was")

    def _put(self, body: Mapping[str, Any], *, word: str = "put") -> Revision:
        name, spec = body["metadata"]["name"], body["spec"]
        if self.refuses(name):
            raise Stalled(reason="Refused", message=f"{name} is refused")
        assert len(name) <= 253
        size = sum(len(uri) + len(said) + 6 for part in ("artifacts", "refused") for uri, said in spec[part].items())
        assert size <= LIMIT or name.count(".") == 1
        at = self.edit(name, spec, writer=self.name)
        self.cached[name], self.heard[name] = spec, at
        self._wrote(f"{word} {name}")
        return at

    # the cache and the clock

    def names(self, kind: str) -> Sequence[ObjectName]:
        known: dict[str, list[ObjectName]] = {
            "vettedartifacts": [ObjectName("", name) for name in self.cached],
            "modelregistries": [ObjectName("gatehouse-system", "local")] if self.stages else [],
        }
        return known.get(kind, [])

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind == "vettedartifacts":
            at = self.heard[name]
            marks = {"annotations": {"gatehouse.dev/writer": at.writer}} if at.writer else {}
            metadata = {"name": name, "uid": at.uid, "resourceVersion": at.resource_version, **marks}
            return {"metadata": metadata, "spec": self.cached[name]}
        return worlds.registry(stages=list(self.stages)).model_dump(mode="json", by_alias=True)

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return "1"

    def values(self, kind: str, index: str) -> Sequence[str]:
        return [
            VersionStanding(
                registry="gatehouse-system/local",
                version=f"team/{number}",
                uri=uri,
                digest=worlds.DIGEST,
                phase="Ready to Deploy",
                cleared_for=tuple(stage for stage in STAGES if (stage, uri) in self.vetted),
                policies=(),
                shut="",
                uid=f"u-{number}",
                claimed_at="2026-11-01T00:00:00Z",
                verified=True,
            ).packed()
            for number, uri in enumerate(URIS)
        ]

    def now(self) -> datetime:
        self.now_ += timedelta(seconds=2)
        return self.now_


def admitted(objects: Specs) -> Vetted:
    return frozenset(
        (stage, uri) for stage in (*STAGES, "unknown") for uri in (*URIS, *NEVER) if admits(objects, stage, uri)
    )
