"""Many artifacts of one stage and bucket in several objects: what is admitted while they are written, and then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

import worlds
from cluster.gated import ACCELERATOR, DIGEST, IMAGE, KEYS, STAGE, Gate, accepted, refusal, vetted
from cluster.operator.kubeconfigs import operator_kubeconfig
from cluster.world import API
from gatehouse.cluster.client import ApiClient
from gatehouse.cluster.writer import KubernetesWriter
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.vetted_artifacts import EVERY, VettedArtifactsKeeper
from gatehouse.domain.admission.contest import VersionStanding
from gatehouse.domain.admission.objects import LARGEST
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.version.outcome import Requeue

VETTED = f"{API}/vettedartifacts"
SMALL = 500
"""Bytes: three to five artifacts."""
ETCD_LIMIT = 1_500_000


class Crashed(Exception):
    """The operator was killed."""


@dataclass
class Kept:
    """An operator's keeper on the real API server, for one registry with one stage, with what it is told is cleared."""

    gate: Gate
    writer: KubernetesWriter
    cleared: Sequence[str] = ()
    crash_after: int = 1_000_000
    now_: datetime = worlds.NOW
    written: list[str] = field(default_factory=list)

    async def reconcile(self, *, limit: int) -> None:
        """One pass of a fresh operator."""
        keeper = VettedArtifactsKeeper(objects=Objects(self), writer=self, clock=self, limit=limit)  # type: ignore[arg-type]
        assert await keeper("", EVERY) == Requeue()

    async def crash(self, *, limit: int, after: int) -> bool:
        """Whether a pass that is killed after so many writes was killed before its end."""
        self.crash_after = after
        try:
            await self.reconcile(limit=limit)
        except Crashed:
            return True
        finally:
            self.crash_after = 1_000_000
        return False

    def bodies(self) -> dict[str, dict[str, Any]]:
        """Each object by name."""
        found = self.gate.operator.request("GET", VETTED)["items"]
        return {each["metadata"]["name"]: each for each in found}

    def objects(self) -> dict[str, dict[str, Any]]:
        """Spec by name."""
        return {name: body["spec"] for name, body in self.bodies().items()}

    def admits(self, uri: str) -> bool:
        """Whether a service and a Pod of it are let in."""
        services, pods = (accepted(self.gate.developer, body) for body in self._of(uri))
        assert services == pods, uri
        return services

    def settle(self, uri: str) -> None:
        """Waits until the API server knows what lets this in."""
        for body in self._of(uri):
            self.gate.settle(accepts=body)

    def _of(self, uri: str) -> tuple[Any, Any]:
        return self.gate.service(uri=uri), self.gate.pod(uri=uri)

    # the writer

    @property
    def name(self) -> str:
        return self.writer.name

    async def vetted_artifacts(self) -> Mapping[str, Revision]:
        return await self.writer.vetted_artifacts()

    async def create_vetted_artifacts(self, body: Mapping[str, Any]) -> Revision:
        at = await self.writer.create_vetted_artifacts(body)
        self._wrote(body["metadata"]["name"])
        return at

    async def update_vetted_artifacts(self, body: Mapping[str, Any], *, at: Revision) -> Revision:
        at = await self.writer.update_vetted_artifacts(body, at=at)
        self._wrote(body["metadata"]["name"])
        return at

    async def delete_vetted_artifacts(self, name: str, *, at: Revision) -> None:
        await self.writer.delete_vetted_artifacts(name, at=at)
        self._wrote(name)

    def _wrote(self, name: str) -> None:
        self.written.append(name)
        self.crash_after -= 1
        if self.crash_after < 0:
            raise Crashed

    # the cache and the clock

    def names(self, kind: str) -> Sequence[ObjectName]:
        if kind == "vettedartifacts":
            return [ObjectName("", name) for name in self.objects()]
        return {
            "modelregistries": [ObjectName("gatehouse-system", "local")],
            "hardwareprofiles": [ObjectName("", "nvidia-l4")],
        }.get(kind, [])

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind == "vettedartifacts":
            return self.bodies()[name]
        if kind == "hardwareprofiles":
            return worlds.profile(resourceName=ACCELERATOR).model_dump(mode="json", by_alias=True)
        return worlds.registry(stages=[STAGE], serving={"vllmImage": IMAGE}).model_dump(mode="json", by_alias=True)

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return "1"

    def values(self, kind: str, index: str) -> Sequence[str]:
        return [
            VersionStanding(
                registry="gatehouse-system/local",
                version=f"team/{number}",
                uri=uri,
                digest=DIGEST,
                phase="Ready to Deploy",
                cleared_for=(STAGE,),
                policies=(),
                shut="",
                uid=f"u-{number}",
                claimed_at="2026-11-01T00:00:00Z",
                verified=True,
            ).packed()
            for number, uri in enumerate(self.cleared)
        ]

    def now(self) -> datetime:
        self.now_ += timedelta(seconds=2)
        return self.now_


@pytest.fixture
async def kept(gate: Gate) -> AsyncIterator[Kept]:
    """A keeper that finds nothing; at the end the lists are there that the other tests know."""
    async with await ApiClient.connect(kubeconfig=operator_kubeconfig(gate.plane)) as client:
        found = Kept(gate, KubernetesWriter(client, written=lambda *_: None))
        clear(found)
        try:
            yield found
        finally:
            clear(found)
            gate.vet(*(vetted(key) for key in KEYS))
            gate.settle(accepts=gate.service())
            gate.settle(accepts=gate.pod())


def clear(kept: Kept) -> None:
    """Takes all objects away, and waits until nothing is let in."""
    for name in kept.objects():
        kept.gate.operator.request("DELETE", f"{VETTED}/{name}")
    kept.gate.settle(refuses=kept.gate.service())


def uri(number: int, *, length: int = 80) -> str:
    return f"s3://models/team/granite-3.1-8b-instruct-{number:06}".ljust(length - 1, "x") + "/"


async def test_twenty_thousand_artifacts_of_one_stage_and_bucket_are_kept_and_admitted(kept: Kept) -> None:
    kept.cleared = [uri(number) for number in range(20_000)]
    await kept.reconcile(limit=LARGEST)

    objects = kept.objects()
    sizes = [len(orjson.dumps(spec)) for spec in objects.values()]
    assert sum(sizes) > 2 * ETCD_LIMIT
    assert max(sizes) < ETCD_LIMIT / 2
    assert sum(len(spec["artifacts"]) for spec in objects.values()) == 20_000
    bounds = [bound for spec in objects.values() for bound in (min(spec["artifacts"]), max(spec["artifacts"]))]
    for vetted_uri in bounds:
        kept.settle(vetted_uri)
    for stranger in ("s3://models/a/", *(f"{bound}x/" for bound in bounds), *(f"{bound[:-2]}/" for bound in bounds)):
        assert "is not cleared for production" in refusal(kept.gate.developer, kept.gate.service(uri=stranger))
    # The bucket itself is refused for its shape as well, and either policy may be the one that is heard.
    said = refusal(kept.gate.developer, kept.gate.service(uri="s3://models/"))
    assert "is not cleared for production" in said or "no folder . or .., no ?, # or %" in said

    kept.written.clear()
    kept.cleared = [each for each in kept.cleared if each != bounds[0]]
    await kept.reconcile(limit=LARGEST)
    assert len(kept.written) == 1
    kept.gate.settle(refuses=kept.gate.service(uri=bounds[0]))
    assert kept.admits(bounds[1])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((), range(0, 16, 2), id="none-to-several"),
        pytest.param((0, 2), range(0, 16, 2), id="one-to-several"),
        pytest.param(range(0, 16, 2), (0, 2), id="several-to-one"),
    ],
)
async def test_an_operator_that_is_killed_between_two_writes_leaves_no_gap(
    kept: Kept, before: Sequence[int], after: Sequence[int]
) -> None:
    strangers = [uri(number) for number in (-1, 1, 5, 9, 15, 99)]
    writes = 0
    while True:
        clear(kept)
        if before:
            kept.cleared = [uri(number) for number in before]
            await kept.reconcile(limit=SMALL)
        kept.cleared = [uri(number) for number in after]
        killed = await kept.crash(limit=SMALL, after=writes)
        assert not [stranger for stranger in strangers if kept.admits(stranger)], kept.objects()
        await kept.reconcile(limit=SMALL)
        assert not [stranger for stranger in strangers if kept.admits(stranger)], kept.objects()
        if not killed:
            break
        writes += 1
    assert writes >= 2
    for number in after:
        kept.settle(uri(number))
    assert not [stranger for stranger in strangers if kept.admits(stranger)], kept.objects()


async def test_what_is_the_same_in_every_object_is_asked_of_one_of_them(kept: Kept) -> None:
    kept.cleared = [uri(number) for number in range(20)]
    await kept.reconcile(limit=SMALL)
    assert len(kept.objects()) > 3
    kept.settle(uri(0))

    developer, runtime = kept.gate.developer, kept.gate.runtime()
    assert accepted(developer, runtime)
    strange = kept.gate.runtime({("spec", "containers", 0, "image"): "evil"})
    assert "model servers may not run this image" in refusal(developer, strange)
    container = {"name": "c", "image": "c", "resources": {"limits": {ACCELERATOR: "1"}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gpu", "namespace": kept.gate.namespace},
        "spec": {"containers": [container]},
    }
    assert refusal(developer, pod).count("requests nvidia.com/") == 1
