"""Deployments whose requests a gateway splits, and what tests ask of them."""

from __future__ import annotations

from typing import Any

from cluster.deployed import CHAT, Deployed
from cluster.rig import until
from cluster.status import Manifest

__all__ = ["CANARY", "PAUSE", "ROUTES", "Split"]

HOST = "chat.apps.example"
PAUSE: dict[str, Any] = {"pause": {}}
CANARY: dict[str, Any] = {"type": "Canary", "steps": [{"setWeight": 10}, PAUSE, {"setWeight": 50}, PAUSE]}
ROUTES = ("/apis/gateway.networking.k8s.io/v1", "httproutes")


class Split(Deployed):
    """A deployment whose requests a gateway splits."""

    def split(self, version: str = "granite-1", *, strategy: dict[str, Any] = CANARY, **spec: Any) -> None:
        gateway = {"name": "public", "namespace": "gateways"}
        self.deploy(version, **{"hostname": HOST, "gatewayRef": gateway, "strategy": strategy, **spec})

    def route(self) -> Manifest | None:
        return self.object(*ROUTES, CHAT)

    def shares(self) -> dict[str, int]:
        """The weights of the route, by the version that a service has."""
        route, shares = self.route(), dict[str, int]()
        for each in [] if route is None else route["spec"]["rules"][0]["backendRefs"]:
            name = each["name"].removesuffix("-predictor")
            service = self.object("/apis/serving.kserve.io/v1beta1", "inferenceservices", name)
            said = "gone" if service is None else service["metadata"]["annotations"]["gatehouse.dev/model-version"]
            if each["weight"]:
                shares[said.rpartition("/")[2]] = each["weight"]
        return shares

    def services(self) -> list[str]:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{self.world.namespace}/inferenceservices"
        return sorted(each["metadata"]["name"] for each in self.world.kube.request("GET", path)["items"])

    def shared(self, **wanted: int) -> None:
        """Returns when the route has these weights, by version; ``_`` stands for a dash."""
        named = {name.replace("_", "-"): weight for name, weight in wanted.items()}
        until(lambda: self.shares() == named, what=lambda: f"{self.shares()} is not {named}")

    def paused(self, step: int) -> Manifest:
        """The deployment as soon as it waits at a step."""

        def waits(body: Manifest) -> bool:
            at = ((body["status"].get("canary") or {}).get("step") or {}).get("index")
            return (body["status"].get("phase"), at) == ("Paused", step)

        return self.wait(waits, f"does not wait at step {step}")

    def resume(self, step: int) -> None:
        canary = self.paused(step)["status"]["canary"]
        self.annotate(resume=f"{canary['revision']}/{step}")

    def running(self) -> None:
        """Version granite-1 has all requests."""
        self.split()
        self.phase("Healthy", running="granite-1")
        self.shared(granite_1=100)
