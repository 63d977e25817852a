"""The part of a cluster that runs models, in memory: it counts what is written, and refuses on demand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gatehouse.domain.common.errors import ReconcileError, Superseded
from gatehouse.domain.deployment.answers import QueryAnswer
from gatehouse.domain.deployment.webhook import WebhookAnswer

__all__ = ["Answers", "RouteKeeper", "Serving", "loaded", "rolled_out"]


@dataclass
class Serving:
    """``written`` hears of each InferenceService; ``refuses`` is raised by the next writes of a plural."""

    written: Callable[[dict[str, Any]], object] = lambda _: None
    deleted: Callable[[dict[str, Any]], object] = lambda _: None
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

    async def delete_service(self, namespace: str, name: str, *, uid: str) -> None:
        kept = self.services.get((namespace, name))
        if kept is not None and kept["metadata"]["uid"] == uid:
            self._write("delete service", kept)
            del self.services[namespace, name]
            self.deleted(kept)

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


@dataclass
class Answers:
    """A Prometheus, in memory: ``value`` is its answer to everything, and ``asked`` counts the measurements."""

    value: float = 1.0
    asked: int = 0

    def refused(self, _: str | None) -> None:
        return None

    async def answers(self, queries: Any, *, address: str | None, namespace: str) -> Mapping[str, QueryAnswer]:
        self.asked += 1
        return {query: QueryAnswer(kind="Value", value=self.value) for query in queries}

    async def answer(self, url: str, question: Any, *, within: Any) -> WebhookAnswer:
        self.asked += 1
        return WebhookAnswer(status=int(self.value))


@dataclass
class RouteKeeper:
    """The routes of a cluster, in memory. The gateway accepts each write at once, unless ``slow``."""

    written: Callable[[dict[str, Any]], object]
    writes: list[dict[str, int]] = field(default_factory=list)
    bodies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    slow: bool = False

    async def put_route(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        orjson.dumps(body)
        name = body["metadata"]["name"]
        before = self.bodies.get((namespace, name))
        made = _without_nulls(copy.deepcopy(dict(body)))
        if before is not None:
            assert made["metadata"]["uid"] == before["metadata"]["uid"]
            made["metadata"]["ownerReferences"] = before["metadata"]["ownerReferences"]
        made["metadata"]["uid"] = f"route-of-{name}"
        self.writes.append(
            {
                each["name"].removesuffix("-predictor"): each["weight"]
                for each in made["spec"]["rules"][0]["backendRefs"]
            }
        )
        return self.store(namespace, made)

    def store(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the API server keeps, and what the gateway says."""
        generation = len(self.writes)
        body["metadata"] |= {"generation": generation, "resourceVersion": str(2_000_000 + generation)}
        said = [{"type": type_, "status": "True", "observedGeneration": generation} for type_ in _GATEWAY_SAYS]
        parents = [{"parentRef": body["spec"]["parentRefs"][0], "conditions": said}]
        body["status"] = {} if self.slow else {"parents": parents}
        self.bodies[namespace, body["metadata"]["name"]] = body
        self.written(copy.deepcopy(body))
        return copy.deepcopy(body)

    async def delete_route(self, namespace: str, name: str, *, method: str, uid: str) -> None:
        self.bodies.pop((namespace, name), None)


_GATEWAY_SAYS = ("Accepted", "ResolvedRefs")


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(each) for name, each in value.items() if each is not None}


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
