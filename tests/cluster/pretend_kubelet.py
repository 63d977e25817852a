"""Stands where a node would: Pods of Deployments become ready, Pods of Jobs end with the code of a function.

So Deployments and Jobs of a control plane without nodes come to their ends by their real controllers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cluster.polling import polling
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient

__all__ = ["pretend_kubelet"]

_NOT_NOW = frozenset({403, 404, 409})
"""Answers about a Pod, or what it needs, that is going, gone or changed since it was listed: it stays as it is."""

Pod = Mapping[str, Any]
RunJob = Callable[[Pod], int]


@contextlib.contextmanager
def pretend_kubelet(
    plane: RunningControlPlane, *, run_job: RunJob, starts: Callable[[Pod], bool] = lambda _: True
) -> Iterator[None]:
    """For as long as the block lasts. ``run_job`` is told each new Pod of a Job, and answers its exit code.

    A Pod that does not start stays Pending, as does one of which something that it needs is gone.
    """

    def work(client: KubeClient) -> None:
        for pod in client.request("GET", "/api/v1/pods")["items"]:
            if starts(pod):
                _try(client, pod, run_job)

    with polling(plane, work, name="kubelet"):
        yield


def _try(client: KubeClient, pod: Pod, run_job: RunJob) -> None:
    """A Pod may outlive its Job for a while, and its ConfigMap or account be gone before it: then it stays Pending."""
    try:
        _advance(client, pod, run_job)
    except ApiRefused as refused:
        if refused.status not in _NOT_NOW:
            raise


def _advance(client: KubeClient, pod: Pod, run_job: RunJob) -> None:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") not in (None, "Pending"):
        return
    names = [container["name"] for container in pod["spec"]["containers"]]
    if "batch.kubernetes.io/job-name" in pod["metadata"]["labels"]:
        code = run_job(pod)
        phase, state = "Failed" if code else "Succeeded", {"terminated": {"exitCode": code}}
        conditions: list[dict[str, str]] = []
    else:
        phase, state = "Running", {"running": {}}
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
    answer = {
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [
                {
                    "name": name,
                    "state": state,
                    "ready": phase == "Running",
                    "restartCount": 0,
                    "image": "",
                    "imageID": "",
                }
                for name in names
            ],
        }
    }
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
    client.request("PATCH", path, answer, content_type="application/merge-patch+json")
