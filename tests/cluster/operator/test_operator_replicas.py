"""Two replicas: one leads at a time, nothing is written twice, and clocks that differ by a minute change nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from cluster.rig import Operator, until
from cluster.servers import restartable_control_plane
from cluster.world import API, World, make_world
from gatehouse.api.meta import ANNOTATION_WRITER
from gatehouse.runtime.lease import LeaderOptions
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gatehouse-system/leases/gatehouse-operator"
VERSIONS = 80
NAMES = [f"v{number:02}" for number in range(VERSIONS)]
TAKEOVER = 15.0
FAKETIME = "libfaketime.so.1"
FEW_HANDS = ("--workers=4", "--patience=60s")
"""So that there is work left when the leader ends, and no check says how far it is, which is one write more."""
SHORT_LEASE = ("--lease-duration=4s", "--lease-renew-deadline=3s", "--lease-retry-period=1s")
VETTED = f"{API}/vettedartifacts"
RENEWALS = 8
"""They take longer than a Lease lasts."""


def test_the_lease_bounds_a_takeover_by_15_seconds() -> None:
    """The last renewal is seen a retry period late, and so is its end; each period is drawn up to a fifth longer."""
    options = LeaderOptions()
    assert RENEWALS * options.retry_period > options.duration
    assert options.duration + 2 * 1.2 * options.retry_period <= TAKEOVER - 1


@dataclass
class Pair:
    """Two operators on one database; the first leads."""

    first: Operator
    second: Operator
    world: World

    def start(self) -> None:
        self.first.start()
        self.second.start(wait=False)
        until(lambda: "waiting for leadership" in self.second.text(), what="the second does not wait")

    def leaders(self) -> list[Operator]:
        """The operators that say that they lead."""
        return [each for each in (self.first, self.second) if each.running and leads(each)]

    def lease(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.world.kube.request("GET", LEASE)["spec"]
        return spec


def leads(operator: Operator) -> bool:
    with contextlib.suppress(OSError):
        return bool(operator.metrics().sum("gatehouse_leader"))
    return False


def moment(lease: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(lease[name])


class ClockedOperator(Operator):
    """An operator whose wall clock is ahead; the clock that counts on is left alone."""

    ahead: timedelta

    def _environment(self) -> dict[str, str]:
        faked = {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME": f"{self.ahead.total_seconds():+.0f}s",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return {**super()._environment(), **faked}


def faketime() -> Path:
    """Debian's package libfaketime, which .ci/run installs."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{FAKETIME}"))
    assert found, f"{FAKETIME} is not below /usr/lib: apt-get install libfaketime"
    return found[0]


@contextlib.contextmanager
def make_pair(
    plane: RunningControlPlane,
    endpoint: S3Endpoint,
    folder: Path,
    *,
    first: type[Operator] = Operator,
    second: type[Operator] = Operator,
    arguments: tuple[str, ...] = (),
    database: LocalDatabase | None = None,
) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(plane, endpoint, database=database))
        made = [
            kind(plane, folder / name, namespaces=(world.namespace,), arguments=arguments)
            for name, kind in (("first", first), ("second", second))
        ]
        for operator in made:
            operator.data_dir = folder
            stack.enter_context(contextlib.closing(operator))
        yield Pair(*made, world)


@dataclass
class Written:
    """Every write to the objects of a world since it was made, as the API server tells them to a watch."""

    plane: RunningControlPlane
    world: World
    since: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("ModelVersion", "ConfigMap"):
            listed = self.world.kube.request("GET", self.world.path(kind))
            self.since[kind] = listed["metadata"]["resourceVersion"]

    def counts(self, kind: str) -> Counter[tuple[str, str]]:
        """How often each object was ADDED, MODIFIED and DELETED."""
        return Counter((event["object"]["metadata"]["name"], event["type"]) for event in self._events(kind))

    def statuses(self, name: str) -> str:
        """What was written to a version, one write a line."""
        return "\n".join(
            f"{event['type']} {json.dumps(event['object'].get('status'))}"
            for event in self._events("ModelVersion")
            if event["object"]["metadata"]["name"] == name
        )

    def _events(self, kind: str) -> list[dict[str, Any]]:
        return told(self.plane, self.world.path(kind), since=self.since[kind])


def told(plane: RunningControlPlane, path: str, *, since: str) -> list[dict[str, Any]]:
    """What a watch of the path is told since then."""
    query = f"watch=true&resourceVersion={since}&timeoutSeconds=1"
    where = urlsplit(plane.url)
    trusted = ssl.create_default_context(cafile=str(plane.authority))
    server = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=30, context=trusted)
    with contextlib.closing(server):
        headers = {"Authorization": f"Bearer {plane.tokens['admin']}"}
        server.request("GET", f"{path}?{query}", headers=headers)
        events = [json.loads(line) for line in server.getresponse()]
    assert all(event["type"] in {"ADDED", "MODIFIED", "DELETED"} for event in events), events[-1]
    return events


def submit(world: World, *names: str) -> None:
    world.apply(*(world.version(name, artifact={"uri": world.uri("granite-1")}) for name in names))


def prepare(world: World) -> None:
    world.upload()
    world.apply(world.registry(), world.model())


def rows_written(operator: Operator) -> float:
    with contextlib.suppress(OSError):
        return operator.metrics().row_writes.get("model_versions", 0)
    return 0


def wait_ready(world: World, count: int) -> None:
    def done() -> bool:
        phases = [body["status"].get("phase") for body in world.all("ModelVersion")]
        return phases == ["Ready to Deploy"] * count

    until(done, what="versions do not come to an end", seconds=60)


def check_written_once(pair: Pair, written: Written, names: list[str]) -> None:
    """One status, one template, one row and one line of history each."""
    world = pair.world
    found = written.counts("ModelVersion")
    wanted = Counter({(name, event): 1 for name in names for event in ("ADDED", "MODIFIED")})
    assert found == wanted, "\n".join(written.statuses(name) for name, _ in (found - wanted))
    templates = {each: count for each, count in written.counts("ConfigMap").items() if each[0].endswith("-serving")}
    assert templates == {(f"{name}-serving", "ADDED"): 1 for name in names}
    rows = world.rows(pair.second)
    assert sorted(row["version"] for row in rows) == sorted(names)
    assert [row["version"] for row in rows if row["created_at"] != row["updated_at"]] == []
    entries = world.query(pair.second, text("SELECT version_id, COUNT(*) AS entries FROM history GROUP BY version_id"))
    assert [row["entries"] for row in entries] == [1] * len(names)


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_leader_that_ends_in_mid_work_is_followed_and_nothing_is_written_twice(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path, end: str
) -> None:
    with make_pair(installed, minio, tmp_path, arguments=FEW_HANDS) as pair:
        world = pair.world
        prepare(world)
        pair.start()
        world.final("granite", kind="RegisteredModel")
        written = Written(installed, world)
        before = pair.lease()
        # The first version claims the URI for all. A claim that an older version brings later would be one write more.
        submit(world, NAMES[0])
        world.ready(NAMES[0])
        submit(world, *NAMES[1:])
        until(lambda: rows_written(pair.first) >= 5, what=lambda: f"no rows: {pair.first.tail()}")
        if end == "killed":
            pair.first.kill()
        else:
            assert pair.first.stop() == 0
        left = pair.lease()
        unfinished = [body for body in world.all("ModelVersion") if "phase" not in body["status"]]
        assert unfinished, "the leader had nothing left to do when it ended"
        assert rows_written(pair.second) == 0
        pair.second.wait_leading()
        wait_ready(world, VERSIONS)
        pair.second.wait_idle()
        now = pair.lease()
        assert now["holderIdentity"] != before["holderIdentity"]
        assert now["leaseTransitions"] == before["leaseTransitions"] + 1
        # As both replicas wrote it down: from the last sign of the first to the first of the second.
        waited = (moment(now, "acquireTime") - moment(left, "renewTime")).total_seconds()
        options = LeaderOptions()
        if end == "killed":
            assert left["holderIdentity"] == before["holderIdentity"]
            assert options.duration <= waited <= TAKEOVER
        else:
            # It was handed over: nobody waited until it had expired.
            assert waited < options.duration
        check_written_once(pair, written, NAMES)


def test_a_leader_that_is_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    installed: RunningControlPlane, minio: S3Endpoint, mariadb: LocalDatabase, tmp_path: Path
) -> None:
    """Wherever it is stopped: MariaDB ends its transaction. SQLite, which has one operator, would keep its lock."""
    arguments = (*FEW_HANDS, *SHORT_LEASE)
    with make_pair(installed, minio, tmp_path, arguments=arguments, database=mariadb) as pair:
        world = pair.world
        prepare(world)
        pair.start()
        world.final("granite", kind="RegisteredModel")
        since = world.kube.request("GET", VETTED)["metadata"]["resourceVersion"]
        submit(world, "before")
        world.ready("before")
        until(lambda: cleared(world), what=lambda: f"nothing is cleared: {pair.first.tail()}")
        old = pair.lease()["holderIdentity"]
        pair.first.pause()
        try:
            # It finds this out when it goes on, by its watches.
            world.patch("ModelVersion", "before", {"spec": {"state": "Archived"}})
            pair.second.wait_leading()
            new = pair.lease()["holderIdentity"]
            until(lambda: not cleared(world), what=lambda: f"what is archived is cleared: {pair.second.tail()}")
            pair.second.wait_idle()
            said = pair.first.text()
            found = told(installed, VETTED, since=since)
        finally:
            pair.first.go_on()
        until(lambda: pair.first.exited() is not None, what="the old leader goes on")
        assert pair.first.exited() == 1
        assert "leadership lost" in pair.first.text().removeprefix(said)
        assert "vetted artifacts written" not in pair.first.text().removeprefix(said)
        writers = [each["object"]["metadata"]["annotations"][ANNOTATION_WRITER] for each in found]
        assert {old, new} == set(writers)
        assert old not in writers[writers.index(new) :]
        # Every list was marked by the new leader before anything else was written, and nothing came after.
        assert told(installed, VETTED, since=since) == found
        lists = world.kube.request("GET", VETTED)["items"]
        assert {each["metadata"]["annotations"][ANNOTATION_WRITER] for each in lists} == {new}


def cleared(world: World) -> bool:
    """Whether admission has been told that an artifact of the world is cleared."""
    return any(spec.get("artifacts") for spec in world.vetted())


def test_an_api_server_that_is_killed_under_both_leaves_one_leader(minio: S3Endpoint, tmp_path: Path) -> None:
    with restartable_control_plane(tmp_path / "plane") as (server, plane), make_pair(plane, minio, tmp_path) as pair:
        world = pair.world
        prepare(world)
        pair.start()
        submit(world, "before")
        first_written = world.ready("before")
        for name in ("after-one", "after-two"):
            server.kill()
            server.start()
            until(lambda: answers(world), what="the API server does not answer")
            for operator in (pair.first, pair.second):
                if operator.exited() is not None:  # it was down for longer than a lease may go without a renewal
                    assert operator.exited() == 1
                    operator.start(wait=False)
            written = Written(plane, world)
            submit(world, name)
            world.ready(name)
            until(lambda: len(pair.leaders()) == 1, what="there is not one leader")
            assert written.counts("ModelVersion") == Counter({(name, "ADDED"): 1, (name, "MODIFIED"): 1})
        assert world.get("ModelVersion", "before") == first_written
        [leader] = pair.leaders()
        assert leader.metrics().sum("gatehouse_leader") == 1
        assert [world.history(pair.first, name) for name in ("before", "after-one", "after-two")] == [
            ["Ready to Deploy"]
        ] * 3


def answers(world: World) -> bool:
    with contextlib.suppress(OSError):
        return world.get("ModelVersion", "before") is not None
    return False


def ahead(seconds: float) -> type[Operator]:
    class Ahead(ClockedOperator):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.ahead = timedelta(seconds=seconds)

    return Ahead


@pytest.mark.parametrize("who", ["the leader", "the other"])
def test_a_clock_that_is_a_minute_ahead_neither_takes_nor_keeps_the_lease(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path, who: str
) -> None:
    """By their clocks the lease of the one would have been over for long, or would last a minute more."""
    kinds = {"first" if who == "the leader" else "second": ahead(60)}
    with make_pair(installed, minio, tmp_path, **kinds) as pair:
        world = pair.world
        prepare(world)
        pair.start()
        submit(world, "before")
        world.ready("before")
        begun = pair.lease()
        skew = moment(begun, "renewTime") - datetime.now(moment(begun, "renewTime").tzinfo)
        assert (skew > timedelta(seconds=50)) == (who == "the leader"), "the clock is not the one that is wanted"
        if who == "the other":
            # Somebody who compared the times would have taken it at once.
            renewals = {begun["renewTime"]}
            until(
                lambda: renewals.add(pair.lease()["renewTime"]) or len(renewals) > RENEWALS,
                what="the lease is not renewed",
            )
        assert pair.lease()["holderIdentity"] == begun["holderIdentity"]
        assert pair.leaders() == [pair.first]
        pair.first.kill()
        last = pair.lease()
        submit(world, "after")
        pair.second.wait_leading()
        world.ready("after")
        now = pair.lease()
        assert now["leaseTransitions"] == last["leaseTransitions"] + 1
        assert now["holderIdentity"] != last["holderIdentity"]
        other = moment(now, "acquireTime") - moment(last, "renewTime")
        apart = timedelta(seconds=-60 if who == "the leader" else 60)
        # Less than a minute: nobody waits until the time that the leader wrote down is over.
        assert timedelta(seconds=LeaderOptions().duration) <= other - apart < timedelta(seconds=60)
        pair.second.wait_idle()
        assert [world.history(pair.second, name) for name in ("before", "after")] == [["Ready to Deploy"]] * 2
