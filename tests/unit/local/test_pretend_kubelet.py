"""What stands where a node would in other tests goes on when what a Pod needs goes before the Pod, as a node does."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

import pytest

from cluster.pretend_kubelet import Pod, pretend_kubelet
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused

JOB_POD: Pod = {
    "metadata": {"name": "work", "namespace": "team", "labels": {"batch.kubernetes.io/job-name": "work"}},
    "spec": {"containers": [{"name": "main"}]},
}
BROKEN = 500


class Plane:
    """One Pod of a Job; it is also the client of itself."""

    def __init__(self) -> None:
        self.patches: list[Mapping[str, Any]] = []
        self.ended = threading.Event()

    def client(self) -> Plane:
        return self

    def close(self) -> None:
        pass

    def request(self, method: str, path: str, body: Any = None, **_: Any) -> Mapping[str, Any]:
        if method == "GET":
            return {"items": [{**JOB_POD, "status": self.patches[-1]["status"] if self.patches else {}}]}
        self.patches.append(body)
        self.ended.set()
        return {}


def refusing(plane: Plane, *statuses: int) -> list[int]:
    """Runs the Pod's Job on a node; the API server refuses it what it needs so often. The exit codes."""
    left, codes = list(statuses), []

    def run_job(_: Pod) -> int:
        if left:
            status = left.pop(0)
            if status == BROKEN:
                plane.ended.set()
            raise ApiRefused("GET", "/api/v1/namespaces/team/configmaps/work", status, "refused")
        codes.append(0)
        return 0

    with pretend_kubelet(cast("RunningControlPlane", plane), run_job=run_job):
        assert plane.ended.wait(30)
    return codes


def test_a_pod_whose_things_are_gone_waits_for_them() -> None:
    plane = Plane()
    assert refusing(plane, 404, 403, 409) == [0]
    assert [each["status"]["phase"] for each in plane.patches] == ["Succeeded"]


def test_what_fails_otherwise_fails_the_test() -> None:
    with pytest.raises(ApiRefused, match="500"):
        refusing(Plane(), BROKEN)
