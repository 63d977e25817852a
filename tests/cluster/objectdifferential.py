"""The two validators of an object, side by side: what the API server takes has to read, in the operator's very way."""

from __future__ import annotations

import contextlib
import http
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import orjson

import policies
import worlds
from cluster.gated import objection
from cluster.rig import until
from cluster.servers import available
from gatehouse.api import (
    GROUP,
    KINDS,
    VERSION,
    GovernancePolicy,
    HardwareProfile,
    ModelRegistry,
    ModelVersion,
    RegisteredModel,
    Resource,
    VettedArtifacts,
)
from gatehouse.api.schema import crd
from gatehouse.controllers.table import WATCHES
from gatehouse.domain.admission.contest import standing_of
from gatehouse.domain.common.readable import Unreadable, read
from gatehouse.runtime.watches import build_caches
from gatehouse_local import ephemeral
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace
from objectmaker import mutant
from unit.domain.deployment.deployments import deployment

__all__ = ["BASES", "Outcome", "bases", "run_specs", "run_statuses", "ungoverned"]

NAMESPACE = "differential"
AT_ONCE = 4


def _body(resource: Resource) -> dict[str, Any]:
    return orjson.loads(orjson.dumps(resource.model_dump(mode="json", by_alias=True, exclude_none=True)))


def bases() -> Mapping[type[Resource], dict[str, Any]]:
    """One object of each kind that has something in most places."""
    registry = worlds.registry(
        postgres={"host": "db", "database": "registry", "username": "gatehouse"},
        requiredPolicies=["strict"],
        verification={"content": True, "interval": "1h"},
        serving={"allowedArguments": ["--seed"]},
        audit={"checkpointInterval": "5m", "retention": "90h"},
    )
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}
    policy = GovernancePolicy.model_validate(
        {
            "metadata": {"name": "strict"},
            "spec": {
                "match": {"riskTiers": ["High"], "namespaceSelector": selector, "modelSelector": selector},
                "licenses": ["Apache-2.0"],
                "lineage": {"required": ["baseModel"]},
                "artifact": {"formats": ["safetensors"], "signature": {"keys": [{"name": "k", "publicKey": "k" * 80}]}},
                "evaluations": [
                    {"name": "e", "kind": "Task", "metric": "acc", "operator": ">=", "threshold": "0.5", "maxAge": "9h"}
                ],
                "approvals": [{"stage": "staging", "count": 2, "groups": ["g"]}],
                "rules": [{"name": "r", "expression": "true", "message": "no"}],
                "servingRuntimes": ["vllm"],
            },
        }
    )
    made: list[Resource] = [
        registry,
        worlds.model(license="mit", tasks=["t"], tags={"a": "b"}, owners=["o"], displayName="d"),
        worlds.version(
            metadata={"uid": ""},
            submittedBy="carol",
            serving={"maxModelLen": 4096, "extraArgs": ["--seed=1"], "env": [{"name": "A", "value": "b"}]},
            lineage={"baseModel": "b", "code": {"commit": "abcdef1"}, "hyperparameters": {"lr": "1"}},
            metrics={"acc": 0.5},
            customProperties={"a": "b"},
        ),
        HardwareProfile.model_validate(
            {
                "metadata": {"name": "nvidia-l4"},
                "spec": {
                    **_body(worlds.profile())["spec"],
                    "node": {"selector": {"a": "b"}, "tolerations": [{"key": "k", "tolerationSeconds": 3}]},
                    "resources": {"requests": {"cpu": "4"}, "limits": {"memory": "16Gi"}},
                },
            }
        ),
        policy,
        policies.evaluation(
            metrics=[{"name": "acc", "value": "0.5", "stderr": "0.1", "slices": [{"name": "de", "value": "1"}]}],
            reportUrl="https://r/1",
            notes="n",
        ),
        policies.approval(groups=["g"]),
        deployment(),
        VettedArtifacts.model_validate(
            {
                "metadata": {"name": "staging.models"},
                "spec": {
                    "stage": "staging",
                    "bucket": "models",
                    "key": "staging/models",
                    "keys": ["staging/models"],
                    "artifacts": {worlds.URI: worlds.DIGEST},
                },
            }
        ),
    ]
    found = {}
    for resource in made:
        body = _body(resource)
        metadata = {"name": body["metadata"]["name"]}
        if resource.info.namespaced:
            metadata["namespace"] = NAMESPACE
        found[type(resource)] = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": resource.info.kind,
            "metadata": metadata,
            "spec": body["spec"],
        }
    assert set(found) == set(KINDS)
    return found


BASES = bases()
STATUSES: Mapping[type[Resource], dict[str, Any]] = {
    ModelVersion: {
        "observedGeneration": 1,
        "phase": "Ready to Deploy",
        "clearedFor": ["staging"],
        "deployedTo": ["staging"],
        "admittedTo": [{"stage": "staging", "namespace": "chatbots"}],
        "refusals": [{"stage": "staging", "reason": "Rejected"}],
        "claimedAt": "2026-11-29T12:00:00Z",
        "registry": "gatehouse-system/local",
        "registryId": "7",
        "recordedDigest": worlds.DIGEST,
        "artifact": {"digest": worlds.DIGEST, "totalBytes": 5, "files": 1, "dtypes": {"BF16": 5}},
        "verification": {"filesDone": 1, "files": 2, "bytesDone": 3, "bytes": 4},
        "hardware": {"verdict": "Fits", "weightsBytes": 5},
        "template": {"name": "t", "digest": worlds.DIGEST},
        "policies": [{"name": "strict", "outcome": "Complies"}],
        "gates": [{"name": "Registered", "stage": "", "open": True, "rule": "r", "found": "f", "wanted": "w"}],
    },
    ModelRegistry: {"database": "d", "models": 1, "objectStores": [{"uriPrefix": "s3://m/", "reachable": True}]},
    RegisteredModel: {"registry": "r", "registryId": "3", "versionsByPhase": [{"phase": "Draft", "count": 1}]},
    GovernancePolicy: {"versions": 1, "denied": 0, "problems": [{"rule": "r", "line": 1, "column": 1, "message": "m"}]},
}
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "R",
    "message": "m",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-29T12:00:00Z",
}


@dataclass(slots=True)
class Outcome:
    """How many objects were made and taken, and those that the API server took and the operator cannot read."""

    made: int = 0
    taken: int = 0
    disagreements: list[str] = field(default_factory=list)

    def __iadd__(self, other: Outcome) -> Self:
        self.made += other.made
        self.taken += other.taken
        self.disagreements += other.disagreements
        return self


@contextlib.contextmanager
def ungoverned() -> Iterator[RunningControlPlane]:
    """A control plane with the CRDs, an object of each kind, and nobody's policy."""
    with available(ephemeral.control_plane()) as plane, contextlib.closing(plane.client()) as client:
        client.apply(namespace(NAMESPACE))
        client.request("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings")
        for kind, base in BASES.items():
            # The API server lets go of the policies a moment later.
            until(partial(_made, client, base), what=f"a policy refuses {kind.info.plural}")
        yield plane


def _made(client: KubeClient, body: Mapping[str, Any]) -> bool:
    """Whether no policy said no."""
    return not objection(client, body, query="fieldManager=test")


def run_specs(plane: RunningControlPlane, kind: type[Resource], count: int, *, seed: int = 0) -> Outcome:
    """Creates that many objects, dry, and reads what the API server would have kept."""
    schema = _schema(kind)["spec"]
    base = BASES[kind]

    def objects(rng: random.Random) -> dict[str, Any]:
        metadata = {**base["metadata"], "name": "another"}
        return {**base, "metadata": metadata, "spec": mutant(rng, schema, base["spec"])}

    return _run(plane, kind, count, seed=seed, make=objects, method="POST", path=_collection(kind))


def run_statuses(plane: RunningControlPlane, kind: type[Resource], count: int, *, seed: int = 0) -> Outcome:
    """The same with the status of an object that is there."""
    schema = _schema(kind)["status"]
    base = {**BASES[kind], "status": {"conditions": [CONDITION], **STATUSES.get(kind, {})}}
    name = base["metadata"]["name"]

    def objects(rng: random.Random) -> dict[str, Any]:
        return {**base, "status": mutant(rng, schema, base["status"])}

    path = f"{_collection(kind)}/{name}"
    with contextlib.closing(plane.client()) as client:
        known = client.request("GET", path)
    base["metadata"] = {**base["metadata"], "resourceVersion": known["metadata"]["resourceVersion"]}
    return _run(plane, kind, count, seed=seed, make=objects, method="PUT", path=f"{path}/status")


def _run(
    plane: RunningControlPlane, kind: type[Resource], count: int, *, seed: int, make: Any, method: str, path: str
) -> Outcome:
    def some(worker: int) -> Outcome:
        client = plane.client()
        found = Outcome()
        try:
            for number in range(worker, count, AT_ONCE):
                rng = random.Random(f"{kind.info.plural} {method} {seed} {number}")
                found += _try(client, kind, make(rng), method=method, path=path, label=f"{seed}/{number}")
        finally:
            client.close()
        return found

    whole = Outcome()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for part in pool.map(some, range(AT_ONCE)):
            whole += part
    return whole


def _try(
    client: KubeClient, kind: type[Resource], made: Mapping[str, Any], *, method: str, path: str, label: str
) -> Outcome:
    status, _, answer = client._send(
        method, f"{path}?dryRun=All&fieldValidation=Ignore", made, content_type="application/json"
    )
    if status >= http.HTTPStatus.BAD_REQUEST:
        assert status < http.HTTPStatus.INTERNAL_SERVER_ERROR, answer[:500]
        return Outcome(made=1)
    found = Outcome(made=1, taken=1)
    found.disagreements += [f"{label}: {each}" for each in disagreements(kind, orjson.loads(answer))]
    return found


def disagreements(kind: type[Resource], body: dict[str, Any]) -> Iterator[str]:
    """What goes wrong in the operator's way with an object, from the watch to the controllers.

    A member of a status that does not read counts as none, for the operator and for admission alike.
    """
    resource = read(kind, body)
    if isinstance(resource, Unreadable):
        yield resource.message
        return
    try:
        resource.status.wire()
        orjson.dumps(body)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a disagreement
        yield f"{kind.info.kind}: {type(error).__name__}: {error}"
    if isinstance(resource, ModelVersion):
        yield from _opens(resource, body)
    for watch in WATCHES:
        if watch.kind != kind.info.plural:
            continue
        steps = {**watch.indexes, **{f"part {n}": made.relevant for n, made in enumerate(watch.fan_outs)}}
        for name, step in steps.items():
            try:
                list(step(body) or ())  # type: ignore[call-overload, arg-type]
            except Exception as error:  # noqa: BLE001 - as above
                yield f"{kind.info.kind}: {name}: {type(error).__name__}: {error}"
        for fan_out in watch.fan_outs:
            try:
                list(fan_out.dependents(body, build_caches(WATCHES)))
            except Exception as error:  # noqa: BLE001 - as above
                yield f"{kind.info.kind}: dependents: {type(error).__name__}: {error}"


def _opens(version: ModelVersion, body: dict[str, Any]) -> Iterator[str]:
    """What admission would let through of a status that the operator itself does not read so."""
    try:
        standing = standing_of(body)
    except Exception as error:  # noqa: BLE001 - as above
        yield f"{version.info.kind}: its standing: {type(error).__name__}: {error}"
        return
    if standing is None:
        return
    status = version.status
    ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions)
    if not set(standing.cleared_for) <= (set(status.cleared_for) if ready else set()):
        yield f"{version.info.kind}: cleared for {standing.cleared_for} by a status that does not say so"
    if not set(standing.admitted_to) <= {(each.stage, each.namespace) for each in status.admitted_to}:
        yield f"{version.info.kind}: goes on in {standing.admitted_to} by a status that does not say so"


def _schema(kind: type[Resource]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return schema


def _collection(kind: type[Resource]) -> str:
    scope = f"/namespaces/{NAMESPACE}" if kind.info.namespaced else ""
    return f"/apis/{GROUP}/{VERSION}{scope}/{kind.info.plural}"
