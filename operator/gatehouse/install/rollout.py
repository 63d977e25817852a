"""The progress of an installation in a cluster, with reasons for incomplete workloads. All functions are pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from gatehouse.install.manifests import Manifest

__all__ = ["Rollout", "RolloutState", "findings", "warnings"]

Body = Mapping[str, Any]

_TRANSIENT: Final = frozenset({"ContainerCreating", "PodInitializing"})
_LONGEST: Final = 300


class RolloutState(Enum):
    """The state of a workload."""

    DONE = "done"
    COMING = "coming"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One Deployment or Job. ``standing`` is its progress; ``reasons`` say why it is not done, as far as Pods show."""

    manifest: Manifest
    state: RolloutState
    standing: str
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.manifest}: {'; '.join((self.standing, *self.reasons))}"


def findings(manifests: Sequence[Manifest], objects: Sequence[Body]) -> tuple[Rollout, ...]:
    """The rollout of each applied Deployment and Job, from the cluster's Deployments, Jobs, Pods and claims."""
    found = {_key(body): body for body in objects}
    pods = [body for body in objects if body.get("kind") == "Pod"]
    claims = {
        (body["metadata"]["namespace"], body["metadata"]["name"]): body
        for body in objects
        if body.get("kind") == "PersistentVolumeClaim"
    }
    return tuple(
        _finding(manifest, found.get((manifest.kind, manifest.namespace, manifest.name)), pods, claims)
        for manifest in manifests
    )


def warnings(finding: Rollout, events: Iterable[Body]) -> tuple[str, ...]:
    """The newest warning Event about each object whose name starts with the workload's, oldest first."""
    manifest, said = finding.manifest, dict[str, str]()
    about = (event for event in events if event.get("type") == "Warning")
    for event in sorted(about, key=_moment):
        target = event.get("involvedObject", {})
        name = str(target.get("name", ""))
        ours = name == manifest.name or name.startswith(f"{manifest.name}-")
        if ours and target.get("namespace") == manifest.namespace:
            said[f"{target.get('kind')} {name}"] = f"{event.get('reason')}: {_short(event.get('message'))}"
    return tuple(f"{target}: {words}" for target, words in said.items())


def _finding(manifest: Manifest, body: Body | None, pods: Sequence[Body], claims: Mapping[Any, Body]) -> Rollout:
    if body is None:
        return Rollout(manifest=manifest, state=RolloutState.COMING, standing="does not exist yet")
    state, standing = _deployment(body) if manifest.kind == "Deployment" else _job(body)
    reasons: list[str] = []
    if state is not RolloutState.DONE:
        own = [pod for pod in pods if _belongs(pod, body)]
        reasons = [*_refusals(body), *(reason for pod in own for reason in _pod_reasons(pod, claims))]
    return Rollout(manifest=manifest, state=state, standing=standing, reasons=tuple(dict.fromkeys(reasons)))


def _deployment(body: Body) -> tuple[RolloutState, str]:
    replicas = int(body.get("spec", {}).get("replicas", 1))
    status = body.get("status", {})
    if int(status.get("observedGeneration", 0)) < int(body["metadata"].get("generation", 0)):
        return RolloutState.COMING, "not reconciled yet"
    updated, available = int(status.get("updatedReplicas", 0)), int(status.get("availableReplicas", 0))
    old = int(status.get("replicas", 0)) - updated
    if updated >= replicas and available >= replicas and old <= 0:
        return RolloutState.DONE, f"{available} of {replicas} available"
    return RolloutState.COMING, f"{min(updated, available)} of {replicas} available"


def _job(body: Body) -> tuple[RolloutState, str]:
    for condition in body.get("status", {}).get("conditions") or ():
        if condition.get("status") != "True":
            continue
        if condition.get("type") == "Complete":
            return RolloutState.DONE, "complete"
        if condition.get("type") == "Failed":
            return RolloutState.FAILED, f"failed: {condition.get('reason')}: {_short(condition.get('message'))}"
    failed = int(body.get("status", {}).get("failed", 0))
    return RolloutState.COMING, f"{failed} tries failed, running" if failed else "running"


def _refusals(body: Body) -> Iterator[str]:
    """The reasons why the controller could not create Pods: quota, Pod security, a missing account."""
    for condition in body.get("status", {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            yield f"{condition.get('reason')}: {_short(condition.get('message'))}"


def _pod_reasons(pod: Body, claims: Mapping[Any, Body]) -> Iterator[str]:
    name, namespace, status = pod["metadata"]["name"], pod["metadata"]["namespace"], pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"Pod {name} is not scheduled: {_short(condition.get('message'))}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting") or {}
        ended = container.get("state", {}).get("terminated") or {}
        if waiting.get("reason") and waiting["reason"] not in _TRANSIENT:
            words = _short(waiting.get("message"))
            yield f"Pod {name}, container {container.get('name')}: {waiting['reason']}{f': {words}' if words else ''}"
        elif ended.get("exitCode"):
            yield f"Pod {name}, container {container.get('name')}: ended with exit code {ended['exitCode']}"
    for volume in pod.get("spec", {}).get("volumes") or ():
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and (claims.get((namespace, claim)) or {}).get("status", {}).get("phase") == "Pending":
            yield f"PersistentVolumeClaim {claim} is not bound: is there a StorageClass, and a default one?"


def _belongs(pod: Body, owner: Body) -> bool:
    """Whether the owner's selector matches the Pod."""
    labels = pod["metadata"].get("labels") or {}
    selector = owner.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    same = pod["metadata"].get("namespace") == owner["metadata"].get("namespace")
    return bool(selector) and same and all(labels.get(key) == value for key, value in selector.items())


def _key(body: Body) -> tuple[str, str, str]:
    metadata = body.get("metadata", {})
    return str(body.get("kind")), str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _moment(event: Body) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _short(words: object) -> str:
    line = " ".join(str(words or "").split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
