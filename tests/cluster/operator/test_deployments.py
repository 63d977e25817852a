"""Deployments on the real API server, with the real admission and real controllers; KServe and the kubelet pretend."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.pretend_kserve import pretend_kserve
from cluster.rig import Operator, until
from cluster.status import Manifest, condition
from cluster.world import World, make_world
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.s3 import S3Endpoint

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


@pytest.fixture
def deployed(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Deployed]:
    with make_world(installed, minio, interval="1h") as world:
        for name in ("granite-1", "granite-2"):
            world.upload(name)
        labels = {"gatehouse.dev/stage": "staging"}
        where = f"/api/v1/namespaces/{world.namespace}"
        world.kube.request("PATCH", where, {"metadata": {"labels": labels}}, content_type=MERGE)
        world.apply(world.registry(), world.model(), world.version("granite-1"), world.version("granite-2"))
        world.ready("granite-1")
        world.ready("granite-2")
        world.wait_told()
        made = Deployed(world, operator, installed)
        with pretend_kserve(installed, world.namespace, starts=made.starts):
            yield made
            with contextlib.suppress(ApiRefused):
                world.delete("ModelDeployment", CHAT)


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
    deployed.annotate(rollback_to=first)
    deployed.wait(
        lambda body: (condition(body, "RolledBack") or {}).get("reason") == "RollbackReasonMissing", "not refused"
    )
    deployed.annotate(rollback_reason="answers in French")
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
        ({"strategy": {"type": "Canary"}}, "Unsupported value"),
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
    assert shown["status"]["rollback"]["reason"] == "slow"

    said = command(deployed, "deploy-version", "granite-2", *deploying)
    assert said.exit_code == 0, "a person asks again for what was rolled back"
    said = command(deployed, "rollback", CHAT, "-n", home, "--to=nine", "--reason=slow")
    assert (said.exit_code, "has no revision nine" in said.stderr) == (2, True)
    deployed.world.patch("ModelVersion", "granite-1", {"spec": {"state": "Archived"}})
    deployed.world.phase("granite-1", "Archived")
    said = command(deployed, "deploy-version", "granite-1", *deploying)
    assert (said.exit_code, "is not cleared for staging" in said.stderr) == (2, True)
