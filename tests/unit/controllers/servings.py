"""The part of a cluster that runs models, in memory: it counts what is written, and refuses on demand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gatehouse.domain.common.errors import ReconcileError, Superseded

__all__ = ["Serving", "loaded", "rolled_out"]


@dataclass
class Serving:
    """``written`` hears of each InferenceService; ``refuses`` is raised by the next writes of a plural."""

    written: Callable[[dict[str, Any]], object] = lambda _: None
    templates: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    revisions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    runtimes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    services: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    rollouts: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    refuses: dict[str, ReconcileError] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    _made: int = 0

    async def template(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.templates.get((namespace, name))

    async def revision(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return copy.deepcopy(self.revisions.get((namespace, name)))

    async def rollout(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.rollouts.get((namespace, name))

    async def keep_revision(self, namespace: str, body: Mapping[str, Any]) -> None:
        self._write("revision", body)
        if (namespace, body["metadata"]["name"]) in self.revisions:
            raise Superseded(reason="Conflict", message="already exists")
        self.revisions[namespace, body["metadata"]["name"]] = copy.deepcopy(dict(body))

    async def forget_revision(self, namespace: str, name: str, *, owner_uid: str) -> None:
        kept = self.revisions.get((namespace, name))
        if kept is not None and owner_uid in {owner["uid"] for owner in kept["metadata"]["ownerReferences"]}:
            self.writes.append(f"delete revision {name}")
            del self.revisions[namespace, name]

    async def put_runtime(self, namespace: str, body: Mapping[str, Any]) -> None:
        self._write("runtime", body)
        self.runtimes[namespace, body["metadata"]["name"]] = copy.deepcopy(dict(body))

    async def put_service(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self._write("service", body)
        return self.store(namespace, body)

    def store(self, namespace: str, body: Mapping[str, Any], **status: Any) -> dict[str, Any]:
        """What the API server keeps of an InferenceService, and whoever watches hears of it."""
        key = (namespace, body["metadata"]["name"])
        before = self.services.get(key)
        kept = copy.deepcopy(dict(body))
        self._made += 1
        kept["metadata"]["resourceVersion"] = str(1_000_000 + self._made)
        if before is None:
            kept["metadata"] |= {"uid": f"service-{self._made}", "generation": 1}
        else:
            assert kept["metadata"].get("uid", before["metadata"]["uid"]) == before["metadata"]["uid"]
            same = before["spec"] == kept["spec"]
            generation = before["metadata"]["generation"] + (not same)
            kept["metadata"] |= {"uid": before["metadata"]["uid"], "generation": generation}
        kept["status"] = status or (before or {}).get("status", {})
        self.services[key] = kept
        self.written(copy.deepcopy(kept))
        return copy.deepcopy(kept)

    def _write(self, what: str, body: Mapping[str, Any]) -> None:
        orjson.dumps(body)
        self.writes.append(f"{what} {body['metadata']['name']}")
        if what in self.refuses:
            raise self.refuses[what]


def loaded(**changes: Any) -> dict[str, Any]:
    """The status of an InferenceService whose newest Pods have loaded the model."""
    return {
        "conditions": [
            {"type": "PredictorReady", "status": "True", "reason": "NewReplicaSetAvailable"},
            {"type": "IngressReady", "status": "True"},
            {"type": "Ready", "status": "True"},
        ],
        "modelStatus": {
            "transitionStatus": "UpToDate",
            "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            "copies": {"totalCopies": 1, "failedCopies": 0},
        },
        **changes,
    }


def rolled_out(revision: str, **changes: Any) -> dict[str, Any]:
    """The Deployment of a service that has rolled a revision out."""
    counts = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": {"gatehouse.dev/revision": revision}}}},
        "status": {**counts, **changes},
    }
