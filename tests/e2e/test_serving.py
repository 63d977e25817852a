"""Models served on real Pods by the real KServe: fetched by its initializer, reached by a real gateway, measured.

The stand-in answers with the digest of the bytes that it loaded, so each request says which version answered.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from cluster.status import Manifest
from e2e.clients import Client, send_many, traffic
from e2e.machine import until
from e2e.serving import NAMESPACE, SERVED, STAGE, Serving, serving

REQUESTS = 10_000
WITHIN = 0.03
SWITCHED_WITHIN = 5.0
"""Seconds from the request of a person to the answer of the other revision."""
KILLS = 6


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


def test_versions_show_what_their_pods_loaded(served: Serving, digests: dict[str, str]) -> None:
    def running(version: str) -> list[Manifest]:
        home = f"--namespace={served.installation.models}"
        return [
            each
            for each in served.node.get("modelversion", version, home)["status"].get("running", ())
            if each["service"] == "chat"
        ]

    place = {"stage": STAGE, "namespace": NAMESPACE, "service": "chat", "digest": digests["granite-2"]}
    wanted = [{**place, "pods": 1, "ready": 1, "approved": True}]
    until(lambda: True if running("granite-2") == wanted and running("granite-1") == [] else None)


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


def shares(answers: Counter[tuple[int, str]]) -> dict[str, float]:
    """The share of each digest; fails with what was said where a request failed."""
    failed = {answer: number for answer, number in answers.items() if answer[0] != 200}
    assert not failed
    return {digest: number / answers.total() for (_, digest), number in answers.items()}


def split(served: Serving, name: str, version: str, strategy: dict[str, Any], **spec: Any) -> None:
    served.deploy(name, version, hostname=f"{name}.example", strategy=strategy, **spec)


def asking(served: Serving, name: str) -> Client:
    return Client(address=served.gateway.address, host=f"{name}.example", model=SERVED)


def services(served: Serving, name: str) -> list[str]:
    """The InferenceServices of a deployment."""
    found = served.node.get(
        "inferenceservices", f"--namespace={NAMESPACE}", f"--selector=gatehouse.dev/deployment={name}"
    )
    return sorted(each["metadata"]["name"] for each in found["items"])


CANARY = {
    "type": "Canary",
    "steps": [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}],
    "scaleDownDelay": "30s",
}


def test_a_canary_gets_its_share_at_each_step_and_no_request_fails(served: Serving, digests: dict[str, str]) -> None:
    split(served, "canary", "granite-1", CANARY)
    served.wait_healthy("canary", "granite-1")
    client, old, new = asking(served, "canary"), digests["granite-1"], digests["granite-2"]
    until(lambda: True if client.once()[0] == 200 else None)
    with traffic(client) as meanwhile:
        split(served, "canary", "granite-2", CANARY)
        for step, weight in ((1, 10), (3, 50)):
            served.paused("canary", step)
            until(lambda: True if any(client.once()[1] == new for _ in range(30)) else None)
            found = shares(send_many(client, REQUESTS))
            print(f"{weight} %: {found}")
            assert abs(found.get(new, 0.0) - weight / 100) <= WITHIN
            assert found.keys() <= {old, new}
            served.resume("canary", step)
        served.wait_healthy("canary", "granite-2")
        until(lambda: True if all(client.once()[1] == new for _ in range(30)) else None)
        assert shares(send_many(client, REQUESTS)) == {new: 1.0}
        until(lambda: True if len(services(served, "canary")) == 1 else None, seconds=120)
        assert shares(send_many(client, 500)) == {new: 1.0}
    assert not meanwhile.failed
    assert meanwhile.digests().keys() == {old, new}


def test_blue_green_switches_and_switches_back(served: Serving, digests: dict[str, str]) -> None:
    strategy = {"type": "BlueGreen", "steps": [{"pause": {}}], "scaleDownDelay": "1h"}
    split(served, "blue", "granite-1", strategy)
    first = served.wait_healthy("blue", "granite-1")["status"]["stable"]["revision"]
    client, old, new = asking(served, "blue"), digests["granite-1"], digests["granite-2"]
    until(lambda: True if client.once()[0] == 200 else None)
    with traffic(client) as meanwhile:
        split(served, "blue", "granite-2", strategy)
        served.paused("blue", 0)
        assert shares(send_many(client, 200)) == {old: 1.0}
        begin = time.monotonic()
        served.resume("blue", 0)
        until(lambda: True if client.once()[1] == new else None, pause=0.05)
        print(f"switched after {time.monotonic() - begin:.2f} s")
        served.wait_healthy("blue", "granite-2")
        assert time.monotonic() - begin < SWITCHED_WITHIN
        begin = time.monotonic()
        served.installation.gatehouse(
            *("rollback", "blue", f"--namespace={NAMESPACE}", f"--to={first}", "--reason=answers in French")
        )
        until(lambda: True if client.once()[1] == old else None, pause=0.05)
        print(f"switched back after {time.monotonic() - begin:.2f} s")
        assert time.monotonic() - begin < SWITCHED_WITHIN
        served.wait_deployment("blue", lambda status: status.get("phase") == "Degraded")
        assert shares(send_many(client, 200)) == {old: 1.0}
    assert not meanwhile.failed


def test_a_slow_revision_is_rolled_back_by_its_analysis(served: Serving, digests: dict[str, str]) -> None:
    served.version("granite-slow", seed=4, misbehaving={"first_token_seconds": 1.0})
    strategy = {"type": "Canary", "steps": [{"setWeight": 50}, {"analysis": {}}]}
    analysis = {"interval": "10s", "window": "10s"}
    split(served, "slow", "granite-1", strategy, analysis=analysis)
    served.wait_healthy("slow", "granite-1")
    client = asking(served, "slow")
    until(lambda: True if client.once()[0] == 200 else None)
    with traffic(client, workers=8) as meanwhile:
        split(served, "slow", "granite-slow", strategy, analysis=analysis)
        began = served.wait_deployment(
            "slow", lambda status: ((status.get("canary") or {}).get("step") or {}).get("index") == 1
        )["status"]["canary"]["step"]["since"]
        found = served.wait_deployment("slow", lambda status: status.get("rollback"))["status"]
        until(lambda: True if all(client.once()[1] == digests["granite-1"] for _ in range(20)) else None)
    assert not meanwhile.failed
    reason, at = found["rollback"]["reason"], found["rollback"]["at"]
    print(f"from {began} to {at}: {reason}")
    assert "time-to-first-token" in reason
    assert datetime.fromisoformat(at) - datetime.fromisoformat(began) <= 2 * timedelta(seconds=10)
    assert found["history"][0]["outcome"] == "Failed"


def test_an_operator_that_is_killed_again_and_again_skips_no_step(served: Serving, digests: dict[str, str]) -> None:
    steps: list[dict[str, Any]] = []
    for weight in (10, 30, 60, 90):
        steps += [{"setWeight": weight}, {"pause": {"duration": "3s"}}]
    strategy = {"type": "Canary", "steps": steps}
    split(served, "killed", "granite-1", strategy)
    served.wait_healthy("killed", "granite-1")
    seen: list[int] = []
    split(served, "killed", "granite-2", strategy)
    kills, chance = 0, random.Random(15)
    deadline = time.monotonic() + 240
    while (found := served.node.get("modeldeployment", "killed", f"--namespace={NAMESPACE}")["status"]).get(
        "phase"
    ) != "Healthy" or found["stable"]["version"] != "granite-2":
        assert time.monotonic() < deadline, found
        weight = weight_of(served, "killed")
        if not seen or weight != seen[-1]:
            seen.append(weight)
        if kills < KILLS and chance.random() < 0.2:
            served.kill_operator()
            kills += 1
    print(f"{kills} kills, weights {seen}")
    assert kills >= 1
    assert seen == sorted(seen)
    assert set(seen) <= {0, 10, 30, 60, 90, 100}
    assert [(each["version"], each["outcome"]) for each in found["history"]] == [
        ("granite-2", "Healthy"),
        ("granite-1", "Healthy"),
    ]
    client = asking(served, "killed")
    until(lambda: True if all(client.once()[1] == digests["granite-2"] for _ in range(20)) else None)


def weight_of(served: Serving, name: str) -> int:
    """The percentage of the service that is not the first one."""
    rules = served.node.get("httproute", name, f"--namespace={NAMESPACE}")["spec"]["rules"]
    return sum(each["weight"] for each in rules[0]["backendRefs"] if each["name"] != f"{name}-predictor")


def test_a_version_whose_server_never_becomes_ready_is_rolled_back(served: Serving, digests: dict[str, str]) -> None:
    served.version("granite-stuck", seed=3, misbehaving={"ready": False})
    served.deploy("chat", "granite-1")
    served.wait_healthy("chat", "granite-1")
    served.deploy("chat", "granite-stuck", progressDeadline="20s")
    found = served.wait_deployment("chat", lambda status: status.get("phase") == "Degraded")["status"]
    assert (found["stable"]["version"], found["history"][1]["outcome"]) == ("granite-1", "Failed")
    assert reached(served, "chat").once() == (200, digests["granite-1"])
