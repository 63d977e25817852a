"""What is said of workloads that come, do not come, or fail."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.install.manifests import Manifest
from gatehouse.install.rollout import Rollout, RolloutState, findings, warnings

LABELS = {"app": "db"}


def wanted(kind: str = "Deployment") -> Manifest:
    return Manifest(api_version="apps/v1", kind=kind, namespace="ai", name="db", body={})


def deployment(*, generation: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "db", "namespace": "ai", "generation": generation},
        "spec": {"replicas": 2, "selector": {"matchLabels": LABELS}},
        "status": {"observedGeneration": 1, **status},
    }


def job(*conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    return {
        "kind": "Job",
        "metadata": {"name": "db", "namespace": "ai"},
        "spec": {"selector": {"matchLabels": LABELS}},
        "status": {"conditions": list(conditions), **status},
    }


def pod(*, labels: dict[str, str] | None = None, namespace: str = "ai", **status: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": "db-x", "namespace": namespace, "labels": labels or LABELS},
        "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "data"}}, {"emptyDir": {}}]},
        "status": status,
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"name": "db", "state": {"waiting": {"reason": reason, "message": message}}}]}


def one(body: dict[str, Any], *others: dict[str, Any]) -> Rollout:
    (found,) = findings([wanted(body["kind"])], [body, *others])
    return found


@pytest.mark.parametrize(
    ("body", "state", "standing"),
    [
        (deployment(replicas=2, updatedReplicas=2, availableReplicas=2), RolloutState.DONE, "2 of 2 available"),
        (deployment(replicas=2, updatedReplicas=2, availableReplicas=1), RolloutState.COMING, "1 of 2 available"),
        # an upgrade: the old ones answer, the new ones do not yet
        (deployment(replicas=3, updatedReplicas=1, availableReplicas=2), RolloutState.COMING, "1 of 2 available"),
        (deployment(replicas=3, updatedReplicas=2, availableReplicas=3), RolloutState.COMING, "2 of 2 available"),
        (
            deployment(generation=2, replicas=2, updatedReplicas=2, availableReplicas=2),
            RolloutState.COMING,
            "not reconciled yet",
        ),
        (deployment(), RolloutState.COMING, "0 of 2 available"),
        (job(), RolloutState.COMING, "running"),
        (job(failed=2), RolloutState.COMING, "2 tries failed, running"),
        (job({"type": "SuccessCriteriaMet", "status": "True"}), RolloutState.COMING, "running"),
        (job({"type": "Complete", "status": "True"}), RolloutState.DONE, "complete"),
        (
            job({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}),
            RolloutState.FAILED,
            "failed: BackoffLimitExceeded: too often",
        ),
    ],
)
def test_how_far_a_workload_is(body: dict[str, Any], state: RolloutState, standing: str) -> None:
    found = one(body)
    assert (found.state, found.standing) == (state, standing)


def test_what_is_not_there_yet_is_waited_for() -> None:
    (found,) = findings([wanted()], [])
    assert (found.state, str(found)) == (RolloutState.COMING, "Deployment ai/db: does not exist yet")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (waiting("ImagePullBackOff", "not  found\n"), "Pod db-x, container db: ImagePullBackOff: not found"),
        (waiting("CrashLoopBackOff"), "Pod db-x, container db: CrashLoopBackOff"),
        (
            {"containerStatuses": [{"name": "db", "state": {"terminated": {"exitCode": 3}}}]},
            "Pod db-x, container db: ended with exit code 3",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"}]},
            "Pod db-x is not scheduled: 0/1 nodes: Insufficient memory",
        ),
        (waiting("ContainerCreating"), None),
        ({"containerStatuses": [{"name": "db", "state": {"terminated": {"exitCode": 0}}}]}, None),
    ],
)
def test_the_reasons_come_from_the_pods(status: dict[str, Any], reason: str | None) -> None:
    assert one(deployment(), pod(**status)).reasons == ((reason,) if reason else ())


def test_init_containers_count_too() -> None:
    status = {"initContainerStatuses": [{"name": "bucket", "state": {"terminated": {"exitCode": 1}}}]}
    assert one(deployment(), pod(**status)).reasons == ("Pod db-x, container bucket: ended with exit code 1",)


def test_pods_of_others_say_nothing() -> None:
    broken = waiting("ImagePullBackOff")
    assert one(deployment(), pod(labels={"app": "x"}, **broken), pod(namespace="b", **broken)).reasons == ()


def test_what_is_done_has_no_reasons() -> None:
    done = deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    assert one(done, pod(**waiting("ImagePullBackOff"))).reasons == ()


def test_a_volume_that_is_not_bound_and_pods_that_are_refused_are_reasons() -> None:
    refusal = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "violates PodSecurity"}
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "ai"},
        "status": {"phase": "Pending"},
    }
    found = one(deployment(conditions=[refusal]), pod(), pod(), claim)
    assert found.reasons == (
        "FailedCreate: violates PodSecurity",
        "PersistentVolumeClaim data is not bound: is there a StorageClass, and a default one?",
    )


def test_a_long_message_is_cut() -> None:
    (reason,) = one(deployment(), pod(**waiting("ErrImagePull", "x" * 5000))).reasons
    assert len(reason) < 400
    assert reason.endswith("…")


def event(name: str, message: str, at: str, *, kind: str = "Warning", namespace: str = "ai") -> dict[str, Any]:
    return {
        "type": kind,
        "reason": "Failed",
        "message": message,
        "lastTimestamp": at,
        "metadata": {},
        "involvedObject": {"kind": "Pod", "name": name, "namespace": namespace},
    }


def test_the_newest_warning_of_each_object_is_told() -> None:
    events = [
        event("db-x", "new", "2026-01-02T00:00:00Z"),
        event("db-x", "old", "2026-01-01T00:00:00Z"),
        event("db-y", "fine", "2026-01-01T00:00:00Z", kind="Normal"),
        event("dbx", "of another", "2026-01-01T00:00:00Z"),
        event("db", "elsewhere", "2026-01-01T00:00:00Z", namespace="b"),
    ]
    assert warnings(one(deployment()), events) == ("Pod db-x: Failed: new",)
