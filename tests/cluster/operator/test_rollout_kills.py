"""kill -9 at random moments of canaries: the same end, no step skipped, nothing started whose gates are shut."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.deployed import deployed_world
from cluster.rig import Operator, until
from cluster.split import ROUTES, Split
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import trust
from gatehouse_local.net import LOOPBACK
from gatehouse_local.s3 import S3Endpoint

KILLS = int(os.environ.get("ROLLOUT_KILLS", "6"))
"""More of them take longer and find more."""
SEED = int(os.environ.get("ROLLOUT_SEED", "0")) or secrets.randbelow(2**31) + 1
PER_CANARY = 2
LONGEST = 5.0
"""Seconds from the change, or from the last start, in which a kill comes."""
STEPS = [{"setWeight": 10}, {"pause": {"duration": "1s"}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]
CANARY: dict[str, Any] = {"type": "Canary", "steps": STEPS}

Shares = dict[str, int]


@dataclass
class RouteWatch:
    """Every weight that the route of a namespace has had, by service; one that follows itself counts once."""

    plane: RunningControlPlane
    namespace: str
    seen: list[Shares] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[RouteWatch]:
        root, plural = ROUTES
        port = int(self.plane.url.rpartition(":")[2])
        connection = http.client.HTTPSConnection(LOOPBACK, port, context=trust(self.plane.authority))
        path = f"{root}/namespaces/{self.namespace}/{plural}?watch=1&timeoutSeconds=3600"
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.plane.tokens[ADMIN]}"})
        sock = connection.sock
        answer = connection.getresponse()
        assert answer.status == 200

        def work() -> None:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                for line in answer:
                    self._note(json.loads(line)["object"])

        thread = threading.Thread(target=work, name="watch", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(2)
            thread.join(10)
            answer.close()
            sock.close()
            connection.close()

    def wait(self, count: int) -> None:
        """Returns when the watch has told that many weights."""
        until(lambda: len(self.seen) >= count, what=lambda: f"the watch saw {self.seen}")

    def _note(self, route: dict[str, Any]) -> None:
        services = route["spec"]["rules"][0]["backendRefs"]
        shares = {each["name"]: each["weight"] for each in services if each["weight"]}
        if self.seen[-1:] != [shares]:
            self.seen.append(shares)


def by_steps(seen: list[Shares]) -> list[Shares]:
    """What the route has to have had, with the names of the services that it had."""
    (stable,) = seen[0]
    wanted: list[Shares] = [{stable: 100}]
    for shares in seen[3::3]:
        (following,) = list(shares)[:1]
        wanted += [{stable: 90, following: 10}, {stable: 50, following: 50}, {following: 100}]
        stable = following
    return wanted


@pytest.fixture
def deployed(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Split]:
    with deployed_world(installed, minio, operator) as made:
        yield Split(made.world, made.operator, made.plane, made.failing)


def kill(operator: Operator, moments: random.Random) -> None:
    """Kills the operator at a moment from now on, and starts another without a wait for its lead."""
    threading.Event().wait(moments.uniform(0, LONGEST))
    operator.kill()
    operator.start(wait=False)


@pytest.mark.timeout(180 + 30 * KILLS)
def test_kills_at_random_moments_skip_no_step_and_no_revision(deployed: Split) -> None:
    print(f"ROLLOUT_SEED={SEED}")
    moments = random.Random(SEED)
    canaries = max(1, KILLS // PER_CANARY)
    names = [f"granite-{number}" for number in range(1, canaries + 2)]
    for name in names[2:]:
        deployed.world.upload(name)
        deployed.world.apply(deployed.world.version(name))
        deployed.world.ready(name)
    with RouteWatch(deployed.plane, deployed.world.namespace).running() as route:
        deployed.split(names[0], strategy=CANARY, revisionHistoryLimit=50)
        deployed.phase("Healthy", running=names[0])
        deployed.shared(granite_1=100)
        for number, name in enumerate(names[1:], start=2):
            deployed.split(name, strategy=CANARY, revisionHistoryLimit=50)
            for _ in range(PER_CANARY):
                kill(deployed.operator, moments)
            deployed.phase("Healthy", running=name)
            assert deployed.shares() == {name: 100}
            assert deployed.history() == [(each, "Healthy") for each in reversed(names[:number])]
            route.wait(3 * number - 2)
            assert route.seen == by_steps(route.seen), route.seen
        assert len(route.seen) == 3 * canaries + 1, route.seen


def test_kills_start_nothing_whose_gates_are_shut(deployed: Split) -> None:
    print(f"ROLLOUT_SEED={SEED}")
    moments = random.Random(SEED)
    deployed.running()
    deployed.world.patch("ModelVersion", "granite-2", {"spec": {"state": "Archived"}})
    deployed.world.phase("granite-2", "Archived")
    before = deployed.services(), deployed.revisions()
    deployed.split("granite-2")
    kill(deployed.operator, moments)
    deployed.phase("Held", running="granite-1", reason="VersionNotReady")
    assert (deployed.services(), deployed.revisions()) == before
    assert deployed.shares() == {"granite-1": 100}
