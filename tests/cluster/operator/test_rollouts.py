"""BlueGreen and Canary on the real API server, with the real admission; KServe, the kubelet and the gateway pretend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.deployed import CHAT, MERGE, deployed_world
from cluster.rig import Operator, until
from cluster.split import PAUSE, Split
from cluster.status import condition
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

PREVIEW: dict[str, Any] = {"type": "BlueGreen", "steps": [PAUSE], "scaleDownDelay": "1h"}
WRITTEN = {"modeldeployments", "inferenceservices", "servingruntimes", "httproutes", "controllerrevisions"}
"""The kinds that a deployment writes. A sweep tells the registry what runs, whenever its time comes."""


@pytest.fixture
def deployed(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Split]:
    with deployed_world(installed, minio, operator) as made:
        yield Split(made.world, made.operator, made.plane, made.failing)


def test_a_canary_is_brought_in_by_steps_and_each_step_writes_once(deployed: Split) -> None:
    deployed.running()
    deployed.operator.wait_idle()
    before = deployed.operator.metrics()
    deployed.split("granite-2")
    deployed.paused(1)
    assert deployed.shares() == {"granite-1": 90, "granite-2": 10}
    deployed.operator.wait_idle()
    writes = deployed.operator.metrics().since(before)
    assert writes["create controllerrevisions"] == writes["apply inferenceservices"] == 1
    assert writes["patch httproutes"] == 1

    before = deployed.operator.metrics()
    deployed.resume(1)
    deployed.paused(3)
    assert deployed.shares() == {"granite-1": 50, "granite-2": 50}
    deployed.operator.wait_idle()
    writes = deployed.operator.metrics().since(before)
    own = {key: count for key, count in writes.items() if key.split()[-1] in WRITTEN}
    assert own == {"patch httproutes": 1, "patch modeldeployments": own["patch modeldeployments"]}, writes
    assert own["patch modeldeployments"] <= 4, "two steps, and what the gateway says"

    deployed.resume(3)
    found = deployed.phase("Healthy", running="granite-2")
    deployed.shared(granite_2=100)
    assert deployed.history() == [("granite-2", "Healthy"), ("granite-1", "Healthy")]
    assert len(deployed.services()) == 2
    assert found["status"]["method"]["type"] == "HTTPRoute"
    assert (condition(found, "TrafficSplit") or {})["status"] == "True"
    for name in deployed.services():
        service = deployed.object("/apis/serving.kserve.io/v1beta1", "inferenceservices", name)
        assert service is not None
        assert service["spec"]["predictor"]["model"]["args"][-1] == "--served-model-name=granite"


def test_a_restart_in_mid_canary_writes_nothing(deployed: Split) -> None:
    deployed.running()
    deployed.split("granite-2")
    deployed.paused(1)
    deployed.operator.wait_idle()
    deployed.operator.stop()
    deployed.operator.start()
    writes = deployed.operator.metrics().api_writes
    assert not {key for key in writes if key.split()[1] in WRITTEN}, writes
    deployed.resume(1)
    deployed.paused(3)


def test_a_warm_revision_gets_all_requests_back_in_one_write(deployed: Split) -> None:
    deployed.split(strategy=PREVIEW)
    first = deployed.phase("Healthy", running="granite-1")["status"]["stable"]["revision"]
    deployed.split("granite-2", strategy=PREVIEW)
    deployed.paused(0)
    deployed.shared(granite_1=100)
    deployed.resume(0)
    deployed.phase("Healthy", running="granite-2")
    deployed.shared(granite_2=100)
    deployed.operator.wait_idle()
    before = deployed.operator.metrics()
    deployed.annotate(rollback_to=first, rollback_reason="answers in French")
    deployed.phase("Degraded", running="granite-1", reason="RolledBack")
    deployed.shared(granite_1=100)
    deployed.operator.wait_idle()
    writes = deployed.operator.metrics().since(before)
    assert writes["patch httproutes"] == 1
    assert "apply inferenceservices" not in writes


@pytest.mark.parametrize("how", ["archived", "altered"])
def test_gates_that_shut_in_mid_canary_take_the_requests_back(deployed: Split, how: str) -> None:
    deployed.running()
    deployed.split("granite-2")
    deployed.paused(1)
    if how == "archived":
        deployed.world.patch("ModelVersion", "granite-2", {"spec": {"state": "Archived"}})
    else:
        deployed.world.store.put_object(Bucket=deployed.world.bucket, Key="granite-2/config.json", Body=b"{}")
        deployed.world.ask("granite-2")
    found = deployed.phase("Degraded", running="granite-1", reason="RolledBack")
    deployed.shared(granite_1=100)
    assert found["status"]["rollback"]["actor"] == "gatehouse"
    assert "granite-2" in found["status"]["rollback"]["reason"]
    until(lambda: deployed.services() == [CHAT], what=lambda: f"still there: {deployed.services()}")


def test_a_canary_that_does_not_start_is_rolled_back_and_gets_no_request(deployed: Split) -> None:
    deployed.running()
    deployed.failing.add("granite-2")
    deployed.split("granite-2", progressDeadline="10s")
    deployed.phase("Degraded", running="granite-1", reason="RolledBack")
    assert deployed.shares() == {"granite-1": 100}
    assert ("RolledBack", "granite-2") in deployed.told()


def test_weights_that_another_writer_changed_are_put_back(deployed: Split) -> None:
    deployed.running()
    deployed.split("granite-2")
    deployed.paused(1)
    route = deployed.route()
    assert route is not None
    rule = route["spec"]["rules"][0]
    rule["backendRefs"] = [{**each, "weight": 50} for each in rule["backendRefs"]]
    deployed.world.kube.request(
        "PATCH", deployed.world.kube.path_of(route), {"spec": {"rules": [rule]}}, content_type=MERGE
    )
    deployed.shared(granite_1=90, granite_2=10)


def test_deletion_in_mid_canary_leaves_nothing(deployed: Split) -> None:
    deployed.running()
    deployed.split("granite-2")
    deployed.paused(1)
    deployed.world.delete("ModelDeployment", CHAT)
    until(
        lambda: not deployed.services() and deployed.route() is None and not deployed.revisions(),
        what=lambda: f"left: {deployed.services()}, {deployed.revisions()}",
    )


def test_a_foreign_route_of_the_name_is_left_alone(deployed: Split) -> None:
    foreign = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": CHAT, "namespace": deployed.world.namespace},
        "spec": {
            "hostnames": ["other.apps.example"],
            "parentRefs": [{"name": "public"}],
            "rules": [{"backendRefs": [{"name": "other", "port": 80}]}],
        },
    }
    deployed.world.kube.apply(foreign)
    before = deployed.route()
    deployed.split()
    deployed.phase("Held", reason="RouteTaken")
    found = deployed.route()
    assert found is not None
    assert before is not None
    assert found["spec"] == before["spec"]
    deployed.world.kube.request("DELETE", deployed.world.kube.path_of(foreign))
    deployed.phase("Healthy", running="granite-1")


def test_commands_show_a_rollout_and_let_it_go_on(deployed: Split) -> None:
    deployed.running()
    home, kubeconfig = deployed.world.namespace, f"--kubeconfig={deployed.plane.kubeconfig}"

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "-n", home, kubeconfig])

    said = command("resume", CHAT)
    assert (said.exit_code, "brings in no revision" in said.stderr) == (2, True)
    deploying = ("--stage=staging", f"--namespace={home}", f"--name={CHAT}", "--force")
    said = command("deploy-version", "granite-2", *deploying, "--strategy=BlueGreen")
    assert said.exit_code == 0, said.output
    deployed.phase("Healthy", running="granite-2")
    said = command("deploy-version", "granite-1", *deploying, "--strategy=Canary")
    assert said.exit_code == 0, said.output
    deployed.shared(granite_1=10, granite_2=90)
    header, row = command("deployments").stdout.splitlines()
    assert header.split()[:6] == ["NAME", "MODEL", "VERSION", "RUNNING", "PHASE", "NEXT"]
    assert row.split()[:7] == [CHAT, "granite", "granite-1", "granite-2", "Progressing", "granite-1", "10%"]
    deployed.wait(lambda body: body["status"]["canary"]["step"]["index"] == 1, "is not at its pause")
    said = command("resume", CHAT)
    assert said.exit_code == 0, said.output
    assert "goes on after step 2" in said.stdout
    deployed.shared(granite_1=50, granite_2=50)


@pytest.mark.parametrize("after", ["service", "canary", "weight", "stable"])
def test_an_operator_that_is_killed_in_mid_canary_skips_no_step(deployed: Split, after: str) -> None:
    deployed.running()
    deployed.operator.wait_idle()
    deployed.split("granite-2")
    weights: list[int] = []
    reached = {
        "service": lambda: len(deployed.services()) == 2,
        "canary": lambda: len(deployed.history()) == 2,
        "weight": lambda: deployed.shares().get("granite-2") == 10,
        "stable": lambda: deployed.shares().get("granite-2") == 50,
    }
    if after == "stable":
        deployed.resume(1)
    until(reached[after], what=f"no {after}")
    deployed.operator.kill()
    deployed.operator.start()
    if after != "stable":
        deployed.paused(1)
        weights.append(deployed.shares()["granite-2"])
        deployed.resume(1)
    deployed.paused(3)
    weights.append(deployed.shares()["granite-2"])
    assert weights in ([10, 50], [50])
    deployed.resume(3)
    deployed.phase("Healthy", running="granite-2")
    deployed.shared(granite_2=100)
    assert deployed.history() == [("granite-2", "Healthy"), ("granite-1", "Healthy")]
