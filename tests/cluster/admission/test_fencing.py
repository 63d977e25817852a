"""Two operators that both believe that they lead, on the real API server: the lists of the newer one stand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.gated import DIGEST, HOLDER, KEYS, LEASE, LEASES, NO_LIST, Gate, lead, objection, vetted
from cluster.operator.kubeconfigs import operator_kubeconfig
from cluster.rig import until
from cluster.status import Manifest
from cluster.world import API
from gatehouse.api.meta import ANNOTATION_WRITER
from gatehouse.cluster.client import ApiClient
from gatehouse.cluster.writer import KubernetesWriter
from gatehouse.domain.common.errors import Superseded
from gatehouse.domain.common.revision import Revision
from gatehouse_local.errors import ApiRefused

VETTED = f"{API}/vettedartifacts"
OLD, NEW = "gatehouse-operator-a_1", "gatehouse-operator-b_2"
WIDE = {f"s3://models/fenced-{number}/": DIGEST for number in range(2)}
NARROW = dict(list(WIDE.items())[:1])


def fenced(artifacts: dict[str, str] | None = None, *, bucket: str = "fenced") -> Manifest:
    """A list that no other test looks at, as the keeper makes it: without a mark."""
    body = vetted(f"fencing/{bucket}", artifacts=WIDE if artifacts is None else artifacts, keys=list(KEYS))
    return {**body, "metadata": {"name": body["metadata"]["name"]}}


NAME = fenced()["metadata"]["name"]


@dataclass
class Writers:
    """Two of them with their connections, and what was asked of the API server."""

    gate: Gate
    old: KubernetesWriter
    new: KubernetesWriter
    client: ApiClient
    asked: list[tuple[str, int]] = field(default_factory=list)

    def leads(self, holder: str) -> None:
        """Returns when the API server has heard of it."""
        lead(self.gate.operator, holder)
        until(lambda: self.refused_to(holder) == "", what=lambda: self.refused_to(holder))

    def refused_to(self, writer: str) -> str:
        """What somebody of that name is told who makes a list; nothing is kept."""
        body = fenced(bucket="probe")
        body["metadata"]["annotations"] = {ANNOTATION_WRITER: writer}
        return objection(self.gate.operator, body)

    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gate.admin.request("GET", f"{VETTED}/{NAME}")
        return found

    def artifacts(self) -> dict[str, str]:
        found: dict[str, str] = self.now()["spec"]["artifacts"]
        return found


@pytest.fixture
async def writers(gate: Gate) -> AsyncIterator[Writers]:
    asked: list[tuple[str, int]] = []
    observe = lambda verb, _, status: asked.append((verb, status))  # noqa: E731
    async with await ApiClient.connect(kubeconfig=operator_kubeconfig(gate.plane), observe=observe) as client:
        old, new = (KubernetesWriter(client, written=lambda *_: None, name=name) for name in (OLD, NEW))
        made = Writers(gate, old, new, client, asked)
        made.leads(OLD)
        try:
            yield made
        finally:
            made.leads(HOLDER)
            for body in (fenced(), fenced(bucket="other")):
                with contextlib.suppress(ApiRefused):
                    where = f"{VETTED}/{body['metadata']['name']}"
                    gate.vet(body)
                    gate.operator.request("DELETE", where)


async def test_one_that_is_stopped_between_computing_and_writing_is_refused_and_the_newer_list_stands(
    writers: Writers,
) -> None:
    """Whatever admission has heard of: the API server it asks may be behind."""
    read = await writers.old.create_vetted_artifacts(fenced(WIDE))
    # Here the old one is stopped, with a list in hand that is wider than the next one.
    writers.leads(NEW)
    narrowed = await writers.new.update_vetted_artifacts(fenced(NARROW), at=read)
    writers.asked.clear()
    with pytest.raises(Superseded) as raised:
        await writers.old.update_vetted_artifacts(fenced(WIDE), at=read)
    assert raised.value.reason == "Conflict"
    with pytest.raises(Superseded):
        await writers.old.delete_vetted_artifacts(NAME, at=read)
    assert [verb for verb, _ in writers.asked] == ["patch", "delete"]
    assert writers.artifacts() == NARROW
    assert Revision.of(writers.now()["metadata"]) == narrowed
    assert narrowed.writer == NEW


WRITES: dict[str, Callable[[KubernetesWriter, Revision], Awaitable[Any]]] = {
    "create": lambda writer, _: writer.create_vetted_artifacts(fenced(bucket="other")),
    "update": lambda writer, at: writer.update_vetted_artifacts(fenced(WIDE), at=at),
    "update of what bears no mark": lambda writer, at: writer.update_vetted_artifacts(
        fenced(WIDE), at=Revision(at.uid, at.resource_version)
    ),
    "mark": lambda writer, at: writer.mark_vetted_artifacts(fenced(), at=at),
    "delete": lambda writer, at: writer.delete_vetted_artifacts(NAME, at=at),
}


@pytest.mark.parametrize("write", WRITES)
async def test_only_the_holder_of_the_lease_writes_though_nothing_changed_meanwhile(
    writers: Writers, write: str
) -> None:
    at = await writers.old.create_vetted_artifacts(fenced(NARROW))
    writers.leads(NEW)
    with pytest.raises(Superseded) as raised:
        await WRITES[write](writers.old, at)
    assert raised.value.reason == "NotLeading"
    assert f"is held by {NEW}" in raised.value.message
    assert Revision.of(writers.now()["metadata"]) == at
    # The new one deletes nothing either before it has marked it.
    if write == "delete":
        with pytest.raises(Superseded):
            await WRITES[write](writers.new, at)
        at = await writers.new.mark_vetted_artifacts(fenced(), at=at)
    assert writers.artifacts() == NARROW
    await WRITES[write](writers.new, at)


async def test_what_was_changed_meanwhile_is_no_longer_written_or_deleted(writers: Writers) -> None:
    at = await writers.old.create_vetted_artifacts(fenced(NARROW))
    with pytest.raises(Superseded, match="Conflict"):
        await writers.old.create_vetted_artifacts(fenced(WIDE))
    newer = await writers.old.update_vetted_artifacts(fenced(WIDE), at=at)
    for write in ("update", "mark", "delete"):
        with pytest.raises(Superseded, match="Conflict"):
            await WRITES[write](writers.old, at)
    assert Revision.of(writers.now()["metadata"]) == newer
    await writers.old.delete_vetted_artifacts(NAME, at=newer)
    with pytest.raises(Superseded, match="gone"):
        await writers.old.update_vetted_artifacts(fenced(WIDE), at=newer)
    await writers.old.delete_vetted_artifacts(NAME, at=newer)


@pytest.fixture
def leaderless(gate: Gate) -> Iterator[None]:
    yield
    lead(gate.operator, HOLDER)


@pytest.mark.parametrize("how", ["no Lease", "a Lease that was given back"])
async def test_while_nobody_leads_nobody_writes(writers: Writers, leaderless: None, how: str) -> None:
    at = await writers.old.create_vetted_artifacts(fenced(NARROW))
    if how == "no Lease":
        writers.gate.admin.request("DELETE", f"{LEASES}/{LEASE}")
    else:
        lead(writers.gate.operator, "")
    said = NO_LIST if how == "no Lease" else "is held by no one"
    until(lambda: said in writers.refused_to(OLD), what=lambda: writers.refused_to(OLD))
    for name in ("", OLD):
        assert said in writers.refused_to(name)
    with pytest.raises(Superseded, match="NotLeading"):
        await writers.old.update_vetted_artifacts(fenced(WIDE), at=at)
    assert writers.artifacts() == NARROW


@dataclass
class Left:
    seconds: float

    def time_left(self) -> float:
        return self.seconds


async def test_whoever_may_have_lost_the_lease_asks_for_nothing_and_in_time_the_api_server_is_told_how_long_it_has(
    writers: Writers,
) -> None:
    left = Left(5.0)
    writer = KubernetesWriter(writers.client.fenced(left), written=lambda *_: None, name=OLD)
    at = await writer.create_vetted_artifacts(fenced(NARROW))
    at = await writer.update_vetted_artifacts(fenced(WIDE), at=at)
    left.seconds = 0.0
    writers.asked.clear()
    for write in WRITES.values():
        with pytest.raises(Superseded, match="NotLeading"):
            await write(writer, at)
    assert writers.asked == []
    # Reading is for everybody.
    assert await writer.vetted_artifacts()
    left.seconds = 5.0
    await writer.delete_vetted_artifacts(NAME, at=at)
