"""Models served on real Pods by the real KServe: fetched by its initializer, reached by a real gateway, measured.

The stand-in answers with the digest of the bytes that it loaded, so each request says which version answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from cluster.status import Manifest
from e2e.clients import Client, send_many, traffic
from e2e.machine import until
from e2e.serving import GATEWAY, NAMESPACE, SERVED, Serving, serving
from gatehouse_local.accounts import PROGRAMS_NAMESPACE

REQUESTS = 10_000
WITHIN = 0.03


@pytest.fixture(scope="module")
def served(aside: None) -> Iterator[Serving]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def digests(served: Serving) -> dict[str, str]:
    """Two versions that are Ready to Deploy, and the digest of each."""
    return {"granite-1": served.version("granite-1", seed=1), "granite-2": served.version("granite-2", seed=2)}


def pods(served: Serving, service: str) -> list[Manifest]:
    """The Pods of an InferenceService."""
    selector = f"--selector=serving.kserve.io/inferenceservice={service}"
    found: list[Manifest] = served.node.get("pods", f"--namespace={NAMESPACE}", selector)["items"]
    return found


def reached(served: Serving, service: str, *, model: str = SERVED) -> Client:
    """A client inside the cluster, without a gateway."""
    spec = served.node.get("service", f"{service}-predictor", f"--namespace={NAMESPACE}")["spec"]
    # A headless Service has no address of its own: its Pods are reached.
    [pod] = pods(served, service)
    address = pod["status"]["podIP"] if spec["clusterIP"] == "None" else spec["clusterIP"]
    port = 8080 if spec["clusterIP"] == "None" else 80
    return Client(address=(address, port), host="anything", model=model)


def test_a_deployment_serves_the_vetted_bytes_under_its_name(served: Serving, digests: dict[str, str]) -> None:
    served.deploy("chat", "granite-1")
    served.wait_healthy("chat", "granite-1")
    [pod] = pods(served, "chat")
    assert [each["image"] for each in pod["spec"]["initContainers"]] == ["kserve/storage-initializer:v0.20.0"]
    client = reached(served, "chat")
    assert client.once() == client.once(stream=True) == (200, digests["granite-1"])
    assert reached(served, "chat", model="llama").once()[0] == 404

    served.deploy("chat", "granite-2")
    served.wait_healthy("chat", "granite-2")
    assert reached(served, "chat").once() == (200, digests["granite-2"])


def test_prometheus_tells_pods_apart(served: Serving, digests: dict[str, str]) -> None:
    [pod] = pods(served, "chat")
    client = reached(served, "chat")
    assert client.once()[0] == 200
    selected = f'{{namespace="{NAMESPACE}",pod="{pod["metadata"]["name"]}",model_name="{SERVED}"}}'

    def counted() -> bool | None:
        found = served.query(f"sum(vllm:request_success_total{selected})")
        return True if found and float(found[0]["value"][1]) >= 2 else None

    until(counted)
    [labels] = [each["metric"] for each in served.query(f"vllm:num_requests_running{selected}")]
    assert labels["serving_kserve_io_inferenceservice"] == "chat"
    assert served.query(f"vllm:time_to_first_token_seconds_count{selected}")


def route(weights: dict[str, int], *, host: str) -> Manifest:
    """An HTTPRoute over InferenceServices, as somebody would write it by hand."""
    backends = [{"name": f"{name}-predictor", "port": 80, "weight": weight} for name, weight in weights.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "by-hand", "namespace": NAMESPACE},
        "spec": {
            "hostnames": [host],
            "parentRefs": [{"name": GATEWAY, "namespace": PROGRAMS_NAMESPACE}],
            "rules": [{"backendRefs": backends}],
        },
    }


def shares(answers: Counter[tuple[int, str]]) -> dict[str, float]:
    """The share of each digest; fails with what was said where a request failed."""
    failed = {answer: number for answer, number in answers.items() if answer[0] != 200}
    assert not failed
    return {digest: number / answers.total() for (_, digest), number in answers.items()}


def test_requests_go_from_one_version_to_the_other_and_none_fails(served: Serving, digests: dict[str, str]) -> None:
    host = "split.example"
    services = {"old": "granite-1", "new": "granite-2"}
    for service, version in services.items():
        served.deploy(service, version)
    for service, version in services.items():
        served.wait_healthy(service, version)
    client = Client(address=served.gateway.address, host=host, model=SERVED)
    old, new = digests["granite-1"], digests["granite-2"]
    served.node.apply(route({"old": 100, "new": 0}, host=host))
    until(lambda: True if client.once()[0] == 200 else None)
    with traffic(client) as meanwhile:
        for weight in (10, 50, 100):
            served.node.apply(route({"old": 100 - weight, "new": weight}, host=host))
            until(lambda: True if any(client.once()[1] == new for _ in range(20)) else None)
            found = shares(send_many(client, REQUESTS))
            assert abs(found.get(new, 0.0) - weight / 100) <= WITHIN
            assert found.keys() <= {old, new}
    assert not meanwhile.failed
    assert meanwhile.digests().total() > 0


def test_a_version_whose_server_never_becomes_ready_is_rolled_back(served: Serving, digests: dict[str, str]) -> None:
    served.version("granite-stuck", seed=3, misbehaving={"ready": False})
    served.deploy("chat", "granite-1")
    served.wait_healthy("chat", "granite-1")
    served.deploy("chat", "granite-stuck", progressDeadline="20s")
    found = served.wait_deployment("chat", lambda status: status.get("phase") == "Degraded")["status"]
    assert (found["stable"]["version"], found["history"][1]["outcome"]) == ("granite-1", "Failed")
    assert reached(served, "chat").once() == (200, digests["granite-1"])
