"""Deployments in a namespace of stage staging, on the real API server; KServe, the kubelet and the gateway pretend."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.pretend_gateway import pretend_gateway
from cluster.pretend_kserve import pretend_kserve
from cluster.rig import Operator
from cluster.status import Manifest, condition
from cluster.world import World, make_world
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.s3 import S3Endpoint

__all__ = ["CHAT", "MERGE", "REVISION", "Deployed", "deployed_world"]

CHAT = "chat"
MERGE = "application/merge-patch+json"
REVISION = "gatehouse.dev/revision"


@dataclass
class Deployed:
    """A namespace of stage staging with the versions granite-1 and granite-2, and what deploys them.

    ``failing`` are the versions whose Pods do not start.
    """

    world: World
    operator: Operator
    plane: RunningControlPlane
    failing: set[str] = field(default_factory=set)

    def starts(self, pod: Mapping[str, Any]) -> bool:
        named = pod["metadata"].get("annotations", {}).get("gatehouse.dev/model-version", "")
        return str(named).partition("/")[2] not in self.failing

    def deploy(self, version: str = "granite-1", **spec: Any) -> None:
        self.world.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": CHAT, "namespace": self.world.namespace},
                "spec": {
                    "modelRef": {"name": "granite"},
                    "versionRef": {"name": version},
                    "servedName": "granite",
                    "progressDeadline": "10m",
                    **spec,
                },
            }
        )

    def wait(self, holds: Callable[[Manifest], object], what: str) -> Manifest:
        return self.world.wait(CHAT, holds, kind="ModelDeployment", what=what)

    def phase(self, phase: str, *, running: str | None = None, reason: str | None = None) -> Manifest:
        """The deployment as soon as its current generation has the phase, and runs that version."""

        def reached(body: Manifest) -> bool:
            status = body["status"]
            ready = condition(body, "Ready") or {}
            return (
                status.get("phase") == phase
                and status["observedGeneration"] == body["metadata"]["generation"]
                and running in (None, (status.get("stable") or {}).get("version"))
                and reason in (None, ready.get("reason"))
            )

        return self.wait(reached, f"is not {phase} with {running} because of {reason}")

    def annotate(self, **values: str) -> None:
        """Writes annotations of Gatehouse's. A request for a rollback needs the name of who asks."""
        if "rollback_to" in values:
            values = {"rollback_by": ADMIN, **values}
        names = {f"gatehouse.dev/{name.replace('_', '-')}": value for name, value in values.items()}
        self.world.patch("ModelDeployment", CHAT, {"metadata": {"annotations": names}})

    def service(self) -> Manifest | None:
        return self.object("/apis/serving.kserve.io/v1beta1", "inferenceservices", CHAT)

    def object(self, root: str, plural: str, name: str) -> Manifest | None:
        try:
            return self.world.kube.request("GET", f"{root}/namespaces/{self.world.namespace}/{plural}/{name}")
        except ApiRefused as refused:
            if refused.status != 404:
                raise
            return None

    def revisions(self) -> list[str]:
        """The ControllerRevisions of the namespace."""
        path = f"/apis/apps/v1/namespaces/{self.world.namespace}/controllerrevisions"
        return sorted(each["metadata"]["name"] for each in self.world.kube.request("GET", path)["items"])

    def edit_service(self, patch: Manifest) -> None:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{self.world.namespace}/inferenceservices/{CHAT}"
        self.world.kube.request("PATCH", path, patch, content_type=MERGE)

    def told(self) -> list[tuple[str, str]]:
        """Reason and version of each audit record about the deployment."""
        rows = sorted(self.world.rows(self.operator, "audit_records"), key=lambda row: row["seq"])
        records = [json.loads(row["content"]) for row in rows]
        return [(each["reason"], each["version"]) for each in records if each["kind"] == "ModelDeployment"]

    def history(self) -> list[tuple[str, str]]:
        found = self.world.get("ModelDeployment", CHAT)
        assert found is not None
        return [(each["version"], each["outcome"]) for each in found["status"]["history"]]


@contextlib.contextmanager
def deployed_world(plane: RunningControlPlane, store: S3Endpoint, operator: Operator) -> Iterator[Deployed]:
    """A world with two versions of one model, for as long as the block lasts."""
    with make_world(plane, store, interval="1h") as world:
        for name in ("granite-1", "granite-2"):
            world.upload(name)
        labels = {"gatehouse.dev/stage": "staging"}
        where = f"/api/v1/namespaces/{world.namespace}"
        world.kube.request("PATCH", where, {"metadata": {"labels": labels}}, content_type=MERGE)
        world.apply(world.registry(), world.model(), world.version("granite-1"), world.version("granite-2"))
        world.ready("granite-1")
        world.ready("granite-2")
        world.wait_told()
        made = Deployed(world, operator, plane)
        with pretend_kserve(plane, world.namespace, starts=made.starts), pretend_gateway(plane, world.namespace):
            yield made
            with contextlib.suppress(ApiRefused):
                world.delete("ModelDeployment", CHAT)
