"""Deployments on the real API server, with the real admission and real controllers; KServe and the kubelet pretend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.deployed import CHAT, MERGE, REVISION, Deployed, deployed_world
from cluster.rig import Operator, until
from cluster.status import Manifest, condition
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.s3 import S3Endpoint


@pytest.fixture
def deployed(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Deployed]:
    with deployed_world(installed, minio, operator) as made:
        yield made


def test_a_version_is_deployed_promoted_and_nothing_is_written_when_nothing_changes(deployed: Deployed) -> None:
    before = deployed.operator.metrics()
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    deployed.operator.wait_idle()
    writes = deployed.operator.metrics().since(before)
    assert writes["create controllerrevisions"] == 1
    assert writes["apply servingruntimes"] == writes["apply inferenceservices"] == 1
    assert writes["patch modeldeployments"] <= 8, writes

    before = deployed.operator.metrics()
    deployed.world.ask(CHAT, kind="ModelDeployment")
    deployed.wait(lambda body: body["status"].get("lastHandledReconcileAt"), "is not reconciled")
    deployed.operator.wait_idle()
    writes = deployed.operator.metrics().since(before)
    assert {key: count for key, count in writes.items() if key != "store"} == {"patch modeldeployments": 1}

    deployed.deploy("granite-2")
    found = deployed.phase("Healthy", running="granite-2")
    assert deployed.history() == [("granite-2", "Healthy"), ("granite-1", "Healthy")]
    assert deployed.revisions() == sorted(each["revision"] for each in found["status"]["history"])
    service = deployed.service()
    assert service is not None
    assert service["spec"]["predictor"]["model"]["args"][-1] == "--served-model-name=granite"
    deployment = deployed.object("/apis/apps/v1", "deployments", f"{CHAT}-predictor")
    assert deployment is not None
    template = deployment["spec"]["template"]["metadata"]["annotations"]
    assert template[REVISION] == found["status"]["stable"]["revision"]
    assert deployed.told() == [
        ("RevisionApplied", "granite-1"),
        ("RevisionHealthy", "granite-1"),
        ("RevisionApplied", "granite-2"),
        ("RevisionHealthy", "granite-2"),
    ]


def test_a_restart_writes_nothing(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    deployed.operator.wait_idle()
    deployed.operator.stop()
    deployed.operator.start()
    writes = deployed.operator.metrics().api_writes
    assert not {key for key in writes if key.split()[1] in {"modeldeployments", "inferenceservices", "servingruntimes"}}
    assert "create controllerrevisions" not in writes


def test_a_revision_that_does_not_start_is_rolled_back_and_not_applied_again(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    deployed.failing.add("granite-2")
    deployed.deploy("granite-2", progressDeadline="10s")
    deployed.wait(lambda body: (body["status"].get("stable") or {}).get("version") == "granite-2", "not applied")
    found = deployed.phase("Degraded", running="granite-1", reason="RolledBack")
    assert deployed.history() == [("granite-1", "Healthy"), ("granite-2", "Failed"), ("granite-1", "Healthy")]
    assert found["spec"]["versionRef"]["name"] == "granite-2"
    assert ("RolledBack", "granite-2") in deployed.told()

    deployed.world.ask(CHAT, kind="ModelDeployment")
    deployed.wait(lambda body: body["status"].get("lastHandledReconcileAt"), "is not reconciled")
    assert len(deployed.history()) == 3
    deployed.failing.clear()
    deployed.annotate(retry="1")
    deployed.phase("Healthy", running="granite-2")


def test_a_person_rolls_back_and_forward_again(deployed: Deployed) -> None:
    deployed.deploy()
    first = deployed.phase("Healthy", running="granite-1")["status"]["stable"]["revision"]
    deployed.deploy("granite-2")
    deployed.phase("Healthy", running="granite-2")
    with pytest.raises(ApiRefused, match="rollback-reason is empty"):
        deployed.annotate(rollback_to=first)
    deployed.annotate(rollback_to=first, rollback_reason="answers in French")
    found = deployed.phase("Degraded", running="granite-1", reason="RolledBack")
    assert found["status"]["rollback"]["reason"] == "answers in French"
    deployed.deploy("granite-1")
    deployed.phase("Healthy", running="granite-1")


def test_a_version_that_is_altered_in_flight_is_held_and_no_target_of_a_rollback(deployed: Deployed) -> None:
    deployed.deploy()
    first = deployed.phase("Healthy", running="granite-1")["status"]["stable"]["revision"]
    deployed.failing.add("granite-2")
    deployed.deploy("granite-2")
    deployed.phase("Progressing", running="granite-2")
    deployed.world.store.put_object(Bucket=deployed.world.bucket, Key="granite-2/config.json", Body=b"{}")
    deployed.world.ask("granite-2")
    found = deployed.phase("Held", running="granite-2", reason="VersionNotReady")
    assert (condition(found, "Cleared") or {})["status"] == "False"
    assert deployed.service() is not None

    deployed.world.store.put_object(Bucket=deployed.world.bucket, Key="granite-1/config.json", Body=b"{}")
    deployed.world.ask("granite-1")
    deployed.world.wait("granite-1", lambda body: body["status"]["phase"] != "Ready to Deploy")
    deployed.annotate(rollback_to=first, rollback_reason="altered")
    deployed.wait(lambda body: (condition(body, "RolledBack") or {}).get("reason") == "VersionNotReady", "not refused")
    assert (deployed.service() or {})["metadata"]["annotations"][REVISION] != first


def test_an_archived_version_goes_on_and_does_not_start_again(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    deployed.world.patch("ModelVersion", "granite-1", {"spec": {"state": "Archived"}})
    found = deployed.phase("Held", running="granite-1", reason="VersionNotReady")
    assert (condition(found, "Available") or {})["status"] == "True"
    deployed.deploy("granite-2")
    deployed.phase("Healthy", running="granite-2")
    deployed.deploy("granite-1")
    deployed.phase("Held", running="granite-2", reason="VersionNotReady")


def test_a_version_that_is_not_cleared_for_the_stage_gets_no_service(deployed: Deployed) -> None:
    where = f"/api/v1/namespaces/{deployed.world.namespace}"
    labels = {"metadata": {"labels": {"gatehouse.dev/stage": "nowhere"}}}
    deployed.world.kube.request("PATCH", where, labels, content_type=MERGE)
    deployed.deploy()
    deployed.phase("Held", reason="NotCleared")
    assert (deployed.service(), deployed.revisions()) == (None, [])


def test_an_edit_of_the_service_is_put_back_and_said(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    before = deployed.service()
    assert before is not None
    deployed.edit_service({"spec": {"predictor": {"timeout": 1, "maxReplicas": 5}}})

    def back() -> bool:
        found = deployed.service()
        return found is not None and found["spec"] == before["spec"]

    until(back, what="the service is not put back")
    until(
        lambda: any(each["reason"] == "ServicePutBack" for each in deployed.world.all("Event")), what="nothing is said"
    )
    deployed.phase("Healthy", running="granite-1")
    assert len(deployed.history()) == 1


def test_a_deleted_service_is_made_again(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    before = deployed.service()
    assert before is not None
    deployed.world.kube.request("DELETE", deployed.world.kube.path_of(before))

    def again() -> bool:
        found = deployed.service()
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    until(again, what="no service is made")
    deployed.phase("Healthy", running="granite-1")


def test_a_deleted_deployment_takes_its_service_and_revisions_with_it(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.phase("Healthy", running="granite-1")
    deployed.world.delete("ModelDeployment", CHAT)
    until(lambda: deployed.service() is None and not deployed.revisions(), what="something is left")


def test_a_foreign_service_of_the_name_is_left_alone(deployed: Deployed) -> None:
    template = deployed.object("/api/v1", "configmaps", "granite-1-serving")
    assert template is not None
    service = yaml.safe_load(template["data"]["inferenceservice.yaml"])
    service["metadata"]["name"] = CHAT
    deployed.world.apply(yaml.safe_load(template["data"]["servingruntime.yaml"]), service)
    before = deployed.service()
    assert before is not None
    deployed.deploy("granite-2")
    deployed.phase("Held", reason="NameTaken")
    found = deployed.service()
    assert found is not None
    assert (found["spec"], found["metadata"].get("ownerReferences")) == (before["spec"], None)
    deployed.world.kube.request("DELETE", deployed.world.kube.path_of(service))
    deployed.phase("Healthy", running="granite-2")


@pytest.mark.parametrize("after", ["revision", "service", "status"])
def test_an_operator_that_is_killed_between_two_writes_goes_on_where_it_was(deployed: Deployed, after: str) -> None:
    deployed.deploy()
    first = deployed.phase("Healthy", running="granite-1")["status"]["stable"]["revision"]
    deployed.operator.wait_idle()
    deployed.deploy("granite-2")

    def revision() -> str:
        return (deployed.service() or {})["metadata"]["annotations"][REVISION]

    reached: dict[str, Callable[[], object]] = {
        "revision": lambda: len(deployed.revisions()) == 2,
        "service": lambda: revision() != first,
        "status": lambda: len(deployed.history()) == 2,
    }
    until(reached[after], what=f"no {after}")
    deployed.operator.kill()
    deployed.operator.start()
    deployed.phase("Healthy", running="granite-2")
    assert deployed.history() == [("granite-2", "Healthy"), ("granite-1", "Healthy")]
    assert len(deployed.revisions()) == 2


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"modelRef": {"name": "llama"}}, "modelRef cannot change"),
        ({"servedName": "other"}, "servedName cannot change"),
        ({"progressDeadline": "9s"}, "progressDeadline must be at least 10s"),
        ({"servedName": "two words"}, "spec.servedName"),
        ({"strategy": {"type": "Canary"}}, "needs a step with setWeight"),
        ({"strategy": {"type": "BlueGreen"}}, "need spec.hostname"),
        ({"strategy": {"type": "Recreate", "steps": [{"pause": {}}]}}, "has no steps"),
        ({"strategy": {"type": "BlueGreen", "steps": [{"setWeight": 5}]}, "hostname": "a.b"}, "moves all requests"),
        ({"strategy": {"type": "Canary", "steps": [{"setWeight": 50}, {"setWeight": 10}]}}, "must not decrease"),
        ({"strategy": {"type": "Canary", "steps": [{"setWeight": 101}]}}, "less than or equal to 100"),
        ({"strategy": {"type": "Canary", "steps": [{"setWeight": 5, "pause": {}}]}}, "exactly one of"),
        ({"strategy": {"type": "Canary", "steps": [{}]}}, "exactly one of"),
        ({"hostname": "Chat.Example"}, "spec.hostname"),
        ({"replicas": 0}, "spec.replicas"),
    ],
)
def test_the_kind_refuses_what_it_does_not_build(deployed: Deployed, spec: Manifest, said: str) -> None:
    deployed.deploy(paused=True)
    with pytest.raises(ApiRefused, match=said):
        deployed.deploy(paused=True, **spec)


# Commands


def command(deployed: Deployed, *arguments: str) -> Result:
    kubeconfig = deployed.plane.kubeconfig
    return CliRunner().invoke(app, [*arguments, "--kubeconfig", str(kubeconfig)])


def test_a_command_without_the_verb_ends_with_the_words_of_admission(deployed: Deployed) -> None:
    """RBAC lets ai-admin patch deployments here, and no role gives the verbs of the stage."""
    deployed.deploy()
    revision = deployed.phase("Healthy", running="granite-1")["status"]["stable"]["revision"]
    home, group = deployed.world.namespace, "rbac.authorization.k8s.io"
    made = {"apiVersion": f"{group}/v1", "metadata": {"name": "edits-deployments", "namespace": home}}
    edits = {"apiGroups": ["gatehouse.dev"], "resources": ["modeldeployments"], "verbs": ["*"]}
    deployed.world.apply({**made, "kind": "Role", "rules": [edits]})
    deployed.world.apply(
        {
            **made,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "edits-deployments"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "ai-admin"}],
        }
    )
    asking = ("rollback", CHAT, "-n", home, f"--to={revision}", "--reason=slow", "--context=ai-admin")

    def by_admission() -> Result | None:
        answer = command(deployed, *asking)
        return None if "cannot patch" in answer.output else answer

    said = until(by_admission, what="the binding does not hold")
    assert said.exit_code == 2
    assert "may not roll back in the stage staging" in said.output
    deploying = ("-n", home, "--stage=staging", f"--namespace={home}", f"--name={CHAT}", "--context=ai-admin")
    said = command(deployed, "deploy-version", "granite-2", *deploying, "--force")
    assert said.exit_code == 2
    assert "may not change what runs in the stage staging (spec, gatehouse.dev/deployed-by)" in said.output


def test_a_pipeline_deploys_and_rolls_back_by_commands(deployed: Deployed) -> None:
    home = deployed.world.namespace
    deploying = ("-n", home, "--stage=staging", f"--namespace={home}", f"--name={CHAT}", "--wait", "--timeout=120s")
    said = command(deployed, "deploy-version", "granite-1", *deploying)
    assert said.exit_code == 0, said.output
    assert f"modeldeployment.gatehouse.dev/{CHAT} created: granite-1" in said.stdout
    said = command(deployed, "deploy-version", "granite-2", *deploying)
    assert said.exit_code == 0, said.output

    said = command(
        deployed, "rollback", CHAT, "-n", home, "--to=granite-1", "--reason=slow", "--wait", "--timeout=120s"
    )
    assert said.exit_code == 0, said.output
    header, row = command(deployed, "deployments", "-n", home).stdout.splitlines()
    assert header.split()[:5] == ["NAME", "MODEL", "VERSION", "RUNNING", "PHASE"]
    assert row.split()[:5] == [CHAT, "granite", "granite-2", "granite-1", "Degraded"]
    [shown] = json.loads(command(deployed, "deployments", "-n", home, "-o", "json").stdout)
    assert (shown["status"]["rollback"]["reason"], shown["status"]["rollback"]["actor"]) == ("slow", "admin")
    assert {entry["actor"] for entry in shown["status"]["history"]} == {"admin"}

    said = command(deployed, "deploy-version", "granite-2", *deploying)
    assert said.exit_code == 0, "a person asks again for what was rolled back"
    said = command(deployed, "rollback", CHAT, "-n", home, "--to=nine", "--reason=slow")
    assert (said.exit_code, "has no revision nine" in said.stderr) == (2, True)
    deployed.world.patch("ModelVersion", "granite-1", {"spec": {"state": "Archived"}})
    deployed.world.phase("granite-1", "Archived")
    said = command(deployed, "deploy-version", "granite-1", *deploying)
    assert (said.exit_code, "is not cleared for staging" in said.stderr) == (2, True)
