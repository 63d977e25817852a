"""The pipelines of docs/pipelines.md, each script as it stands there, by accounts of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.court import REVIEWER, SUBMITTER, Court
from cluster.deployed import CHAT, MERGE, Deployed, deployed_world
from cluster.pretend_kserve import pretend_kserve
from cluster.rig import Operator
from gatehouse_local import CHECKOUT
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

PAGE = (CHECKOUT / "docs" / "pipelines.md").read_text()
WORKFLOW, TEKTON = (re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)[0] for part in PAGE.split("\n## ")[1:])
RESULTS = {"results": {"gsm8k": {"alias": "gsm8k", "exact_match,none": 0.7}}, "date": 1763726400.4}
ACCOUNTS = {"register": SUBMITTER, "approve": REVIEWER, "staging": SUBMITTER, "production": SUBMITTER}


@dataclass
class Pipeline:
    """What runs the scripts: a checkout with results, and a kubeconfig for each account."""

    deployed: Deployed
    folder: Path
    production: str

    def run(self, script: str, *, account: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One script, as a runner runs it."""
        kubeconfig = self.folder / f"{account}.kubeconfig"
        made = yaml.safe_load(self.deployed.plane.kubeconfig.read_text())
        kubeconfig.write_text(yaml.safe_dump({**made, "current-context": account}))
        kubeconfig.chmod(0o600)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={"PATH": path, "HOME": str(self.folder), **environment, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def settings(self) -> dict[str, str]:
        """What the workflow's own ``env`` has, for this namespace."""
        world = self.deployed.world
        return {
            "MODEL": "Granite of CI",
            "TAG": "2",
            "URI": world.uri("granite-2"),
            "HOME_NAMESPACE": world.namespace,
            "STAGING": world.namespace,
            "PRODUCTION": self.production,
            "SUBMITTER": SUBMITTER,
            "DEPLOYMENT": CHAT,
            "GITHUB_RUN_ID": "17",
            "GITHUB_OUTPUT": str(self.folder / "output"),
        }


@pytest.fixture
def pipeline(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, tmp_path: Path
) -> Iterator[Pipeline]:
    with deployed_world(installed, minio, operator) as deployed:
        world = deployed.world
        court = Court(world, installed)
        court.policy(approvals=[{"stage": "staging"}, {"stage": "production"}])
        production = f"{world.namespace}-production"
        labels = {"gatehouse.dev/stage": "production"}
        world.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": production, "labels": labels}})
        registry = f"/apis/gatehouse.dev/v1alpha1/namespaces/{world.namespace}/modelregistries/registry"
        annotated = {"metadata": {"annotations": {"gatehouse.dev/default-registry": "true"}}}
        world.kube.request("PATCH", registry, annotated, content_type=MERGE)
        (tmp_path / "results.json").write_text(json.dumps(RESULTS))
        try:
            with pretend_kserve(installed, production, starts=deployed.starts):
                yield Pipeline(deployed, tmp_path, production)
        finally:
            world.kube.request("DELETE", court.policy_path)
            world.kube.request("DELETE", f"/api/v1/namespaces/{production}")
            court.reviewer.close()


def scripts(job: Mapping[str, Any]) -> Iterator[str]:
    """The scripts of a job that call Gatehouse; the others write the kubeconfig."""
    yield from (step["run"] for step in job["steps"] if "gatehouse " in step.get("run", ""))


def test_the_workflow_registers_approves_and_deploys_to_each_stage(pipeline: Pipeline) -> None:
    workflow = yaml.safe_load(WORKFLOW)
    assert set(workflow["env"]) <= {*pipeline.settings, "KUBECONFIG"}
    environment = dict(pipeline.settings)
    for name, job in workflow["jobs"].items():
        for script in scripts(job):
            done = pipeline.run(script, account=ACCOUNTS[name], **environment)
            assert done.returncode == 0, (name, script, done.stdout, done.stderr)
            outputs = Path(environment["GITHUB_OUTPUT"]).read_text().split("version=")
            environment["VERSION"] = outputs[-1].strip()
    world = pipeline.deployed.world
    where = f"/apis/gatehouse.dev/v1alpha1/namespaces/{pipeline.production}/modeldeployments/{CHAT}"
    found = world.kube.request("GET", where)
    assert (found["status"]["phase"], found["status"]["stable"]["version"]) == ("Healthy", environment["VERSION"])

    again = pipeline.run(next(scripts(workflow["jobs"]["production"])), account=SUBMITTER, **environment)
    assert again.returncode == 0, again.stderr
    assert "unchanged" in again.stdout
    promote = f"gatehouse promote {environment['VERSION']} -n {world.namespace} --to production"
    said = pipeline.run(f"{promote} --namespace {pipeline.production} --deployment {CHAT}", account=SUBMITTER)
    assert yaml.safe_load(said.stdout)["spec"] == {"versionRef": {"name": environment["VERSION"]}}, said.stderr


def test_tekton_runs_the_commands_of_the_workflow() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    _, pipeline = yaml.safe_load_all(TEKTON)
    for task in pipeline["spec"]["tasks"]:
        [said] = [param["value"] for param in task["params"] if param["name"] == "script"]
        [expected] = scripts(workflow["jobs"][task["name"]])
        assert _flags(said) == _flags(expected), task["name"]


def _flags(script: str) -> list[str]:
    """The commands and the flags of a script, without their values."""
    return re.findall(r"gatehouse [a-z-]+|--[a-z-]+|for stage in [a-z ]+", script)
