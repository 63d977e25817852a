"""Installs an overlay: applies in order, waits with progress, and reports the reason of a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gatehouse.install.errors import KubectlFailed, NotComplete
from gatehouse.install.kubectl import Kubectl
from gatehouse.install.manifests import Manifest, of_kind
from gatehouse.install.overlays import OverlayPlan
from gatehouse.install.preflight import check_cluster, check_kinds
from gatehouse.install.rollout import Rollout, RolloutState, findings, warnings
from gatehouse.printing.progress import ProgressReporter

__all__ = ["SELECTOR", "Deadline", "install", "job_log", "wait_complete", "where_to_look"]

SELECTOR: Final = "--selector=app.kubernetes.io/part-of=gatehouse"
_WATCHED: Final = "deployments.apps,jobs.batch,pods,persistentvolumeclaims"
_POLL: Final = 1.0
_JOB_ENDS: Final = 60.0
_LOG_LINES: Final = 30

Sleep = Callable[[float], None]


def install(kubectl: Kubectl, plan: OverlayPlan, *, progress: ProgressReporter, seconds: float | None) -> None:
    """Applies the plan; with ``seconds``, waits that long until everything runs and every Job is complete.

    A second installation upgrades: matching objects stay unchanged, and Jobs run again.

    Raises:
        ClusterNotUsable: the cluster is unusable; raised before any change.
        KubectlFailed: the API server refused an object. Applied objects stay; run the installation again.
        NotComplete: the time is over or a Job failed; with the reasons.
    """
    with progress.step("checking the cluster"):
        version = check_cluster(kubectl)
        check_kinds(kubectl, plan)
    progress.say(f"Installing the overlay {plan.overlay} on Kubernetes {version}.")
    deadline = None if seconds is None else Deadline(seconds)
    with progress.step("applying the kinds"):
        kubectl.apply(plan.definitions)
        names = [f"customresourcedefinitions/{definition.name}" for definition in plan.definitions]
        kubectl.run("wait", "--for=condition=Established", "--timeout=60s", *names)
    with progress.step("removing the Jobs of the last installation"):
        kubectl.delete(_there(kubectl, plan.jobs), seconds=_JOB_ENDS)
    for part in plan.parts:
        with progress.step(f"applying {len(part)} objects"):
            kubectl.apply(part)
        if deadline is not None:
            workloads = of_kind(part, "Deployment", "Job")
            wait_complete(kubectl, workloads, progress=progress, deadline=deadline)


class Deadline:
    """``seconds`` from now, which several waits share."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._at


def wait_complete(
    kubectl: Kubectl,
    workloads: Sequence[Manifest],
    *,
    progress: ProgressReporter,
    deadline: Deadline,
    sleep: Sleep = time.sleep,
) -> None:
    """Waits until Deployments are available and Jobs complete, and reports each change.

    Raises:
        NotComplete: a Job failed, or the time is over.
    """
    said: dict[str, str] = {}
    with progress.step("waiting until everything runs"):
        while True:
            found = findings(workloads, kubectl.list(_WATCHED, "--all-namespaces", SELECTOR))
            for finding in found:
                if said.get(str(finding.manifest)) != str(finding):
                    said[str(finding.manifest)] = str(finding)
                    progress.say(f"  {finding}")
            failed = [finding for finding in found if finding.state is RolloutState.FAILED]
            coming = [finding for finding in found if finding.state is RolloutState.COMING]
            if failed:
                raise NotComplete("\n".join(line for finding in failed for line in _failure(kubectl, finding)))
            if not coming:
                return
            if deadline.over:
                lines = [line for finding in coming for line in _delay(kubectl, finding)]
                raise NotComplete(
                    "\n".join([f"not complete after {deadline.seconds:.0f} s; the applied objects stay", *lines])
                )
            sleep(_POLL)


def job_log(kubectl: Kubectl, job: Manifest) -> str:
    """The end of the output of a Job's last Pod; empty when unavailable."""
    try:
        return kubectl.run("logs", f"--namespace={job.namespace}", f"job/{job.name}", f"--tail={_LOG_LINES}").strip()
    except KubectlFailed:
        return ""


def where_to_look(plan: OverlayPlan) -> tuple[str, ...]:
    """Commands that show the installed objects."""
    logs = [f"kubectl logs -n {each.namespace} {each.kind.lower()}/{each.name}" for each in plan.workloads]
    return (
        "kubectl get modelregistries,hardwareprofiles -A",
        "kubectl get modelversions -A",
        f"kubectl get pods,jobs -A -l {SELECTOR.partition('=')[2]}",
        *logs,
    )


def _there(kubectl: Kubectl, jobs: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The existing Jobs: a list is faster than the deletion of missing Jobs."""
    live = {
        (body["metadata"]["namespace"], body["metadata"]["name"])
        for body in kubectl.list("jobs.batch", "--all-namespaces", SELECTOR)
    }
    return tuple(job for job in jobs if (job.namespace, job.name) in live)


def _failure(kubectl: Kubectl, finding: Rollout) -> Iterator[str]:
    yield str(finding)
    if log := job_log(kubectl, finding.manifest):
        yield from (f"  | {line}" for line in log.splitlines())


def _delay(kubectl: Kubectl, finding: Rollout) -> Iterator[str]:
    manifest = finding.manifest
    yield str(finding)
    yield from (
        f"  {words}" for words in warnings(finding, kubectl.list("events", f"--namespace={manifest.namespace}"))
    )
    if manifest.kind == "Job" and (log := job_log(kubectl, manifest)):
        yield from (f"  | {line}" for line in log.splitlines())
