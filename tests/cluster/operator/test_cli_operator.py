"""`gatehouse explain` and `gatehouse template` on what the operator made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.rig import Operator
from cluster.status import Manifest, condition
from cluster.world import World, make_world
from gatehouse.cli.main import app
from gatehouse.domain.serving.template import ANNOTATION_TEMPLATE_DIGEST, ServingTemplate, to_yaml
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint


@pytest.fixture(scope="module")
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    """``granite-1`` is ready, ``too-long`` does not fit, ``absent`` has no artifact."""
    with make_world(installed, minio) as made:
        made.upload()
        shared = {"uri": made.uri("granite-1")}
        made.apply(made.registry(), made.model(), made.version())
        made.apply(made.version("too-long", artifact=shared, serving={"maxModelLen": 90_000_000}))
        made.apply(made.version("absent"))
        made.ready()
        made.phase("too-long", "Does Not Fit")
        made.phase("absent", "Artifact Missing")
        yield made


def gatehouse(installed: RunningControlPlane, *arguments: str, user: str = "ai-developer") -> Result:
    """Runs a command; of an option that is given twice the later one counts."""
    command, *rest = arguments
    return CliRunner().invoke(app, [command, f"--kubeconfig={installed.kubeconfig}", f"--context={user}", *rest])


# explain


def test_explain_prints_every_gate_of_a_ready_version(installed: RunningControlPlane, world: World) -> None:
    said = gatehouse(installed, "explain", "granite-1", "-n", world.namespace, "--all")
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines()[0] == f"{world.namespace}/granite-1 is Ready to Deploy to staging and production."
    for gate in ("Registered", "ArtifactVerified", "HardwareFits", "TemplateEmitted"):
        assert f"open {gate}\n" in said.stdout
    assert f"next: gatehouse template granite-1 -n {world.namespace} | kubectl apply -f -" in said.stdout


@pytest.mark.parametrize(
    ("name", "phase", "gate"),
    [("too-long", "Does Not Fit", "HardwareFits"), ("absent", "Artifact Missing", "ArtifactVerified")],
)
def test_explain_says_what_to_do_about_a_shut_gate(
    installed: RunningControlPlane, world: World, name: str, phase: str, gate: str
) -> None:
    said = gatehouse(installed, "explain", name, "-n", world.namespace)
    assert said.exit_code == 1
    assert (
        said.stdout.splitlines()[0] == f"{world.namespace}/{name} is not ready to deploy: {phase}, as {gate} is shut."
    )
    shut = said.stdout.split(f"shut {gate}\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in shut.splitlines()] == ["rule", "found", "expected", "do", "you"]
    assert [line.split()[0] for line in said.stdout.splitlines() if line[:4] in {"shut", "wait"}] == ["shut", "wait"]
    waiting = next(line for line in said.stdout.splitlines() if line.startswith("wait"))
    assert waiting.endswith("TemplateEmitted")
    assert "next: gatehouse template" not in said.stdout


def test_explain_as_json_is_what_the_status_says(installed: RunningControlPlane, world: World) -> None:
    said = gatehouse(installed, "explain", "too-long", "-n", world.namespace, "-o", "json")
    assert said.exit_code == 1
    found = json.loads(said.stdout)
    body = world.get("ModelVersion", "too-long")
    assert body is not None
    assert found["phase"] == "Does Not Fit"
    assert (found["ready"], found["current"], found["clearedFor"]) == (False, True, [])
    assert found["gates"] == body["status"]["gates"]
    assert found["digest"] == body["status"]["artifact"]["digest"]
    assert found["registryId"] == body["status"]["registryId"]
    assert found["summary"] == condition(body, "Ready")["message"]  # type: ignore[index]  # it has one


def test_explain_finds_the_cluster_and_the_namespace_as_kubectl_does(
    installed: RunningControlPlane, world: World, tmp_path: Path
) -> None:
    config = yaml.safe_load(installed.kubeconfig.read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = world.namespace
    mine = tmp_path / "kubeconfig"
    mine.write_text(yaml.safe_dump(config))
    said = subprocess.run(
        [sys.executable, "-m", "gatehouse", "explain", "granite-1"],
        env={**os.environ, "KUBECONFIG": str(mine)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"{world.namespace}/granite-1 is Ready to Deploy to staging and production.\n")


@pytest.mark.parametrize("command", ["explain", "template"])
def test_an_error_is_said_on_stderr_with_exit_code_2(
    installed: RunningControlPlane, world: World, command: str, tmp_path: Path
) -> None:
    absent = gatehouse(installed, command, "nobody", "-n", world.namespace)
    assert (absent.exit_code, absent.stdout) == (2, "")
    assert absent.stderr == 'error: modelversions.gatehouse.dev "nobody" not found (404 NotFound)\n'
    stranger = gatehouse(installed, command, "granite-1", "-n", world.namespace, user="stranger")
    assert (stranger.exit_code, stranger.stdout) == (2, "")
    assert "stranger" in stranger.stderr
    nowhere = gatehouse(installed, command, "granite-1", f"--kubeconfig={tmp_path / 'none'}")
    assert (nowhere.exit_code, nowhere.stdout) == (2, "")
    assert str(tmp_path / "none") in nowhere.stderr


def test_a_generation_that_nobody_has_looked_at_is_not_ready(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with make_world(installed, minio) as world:
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        world.ready()
        assert operator.stop() == 0
        world.apply(world.version(description="new"))
        for command in ("explain", "template"):
            said = gatehouse(installed, command, "granite-1", "-n", world.namespace)
            assert said.exit_code == 1
            assert "the operator has not reconciled this generation yet" in said.output
        operator.start()


# template


def objects(said: Result) -> tuple[Manifest, Manifest]:
    assert said.exit_code == 0, said.output
    runtime, service = yaml.safe_load_all(said.stdout)
    return runtime, service


def test_template_prints_the_pair_as_yaml_and_as_json(installed: RunningControlPlane, world: World) -> None:
    runtime, service = objects(gatehouse(installed, "template", "granite-1", "-n", world.namespace))
    assert (runtime["kind"], service["kind"]) == ("ServingRuntime", "InferenceService")
    assert service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]
    assert service["metadata"]["namespace"] == world.namespace
    said = gatehouse(installed, "template", "granite-1", "-n", world.namespace, "-o", "json")
    assert json.loads(said.stdout) == {"apiVersion": "v1", "kind": "List", "items": [runtime, service]}


def test_template_takes_a_stage_a_name_and_a_namespace(installed: RunningControlPlane, world: World) -> None:
    runtime, service = objects(
        gatehouse(
            installed,
            "template",
            "granite-1",
            "-n",
            world.namespace,
            "--stage=production",
            "--name=chat",
            "--namespace=apps",
        )
    )
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("chat", "apps")
    assert runtime["metadata"]["namespace"] == "apps"
    assert service["metadata"]["labels"]["gatehouse.dev/stage"] == "production"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["too-long"], 1, "is Does Not Fit, not Ready to Deploy: "),
        (["absent"], 1, "is Artifact Missing, not Ready to Deploy: nothing at s3://"),
        (["granite-1", "--stage=canary"], 1, "is not cleared for stage canary; it is cleared for staging, production"),
        (["granite-1", "--name=Not.A.Name"], 2, "Not.A.Name"),
        (["granite-1", "--namespace=Not.A.Name"], 2, "Not.A.Name"),
    ],
)
def test_template_refuses_with_the_reason(
    installed: RunningControlPlane, world: World, arguments: list[str], code: int, words: str
) -> None:
    said = gatehouse(installed, "template", *arguments, "-n", world.namespace)
    assert (said.exit_code, said.stdout) == (code, "")
    assert said.stderr.startswith("error: ")
    assert words in said.stderr


def evil(config_map: Manifest, *, digest: bool) -> dict[str, Any]:
    """The ConfigMap with another artifact in it, and the digest of that if wanted."""
    service, runtime = (
        yaml.safe_load(config_map["data"][key]) for key in ("inferenceservice.yaml", "servingruntime.yaml")
    )
    service["spec"]["predictor"]["model"]["storageUri"] = "s3://evil/model/"
    patch: dict[str, Any] = {"data": {"inferenceservice.yaml": to_yaml(service)}}
    if digest:
        forged = ServingTemplate(inference_service=service, serving_runtime=runtime).digest
        patch["metadata"] = {"annotations": {ANNOTATION_TEMPLATE_DIGEST: forged}}
    return patch


@pytest.mark.parametrize("digest", [False, True])
def test_template_refuses_one_that_somebody_changed(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, digest: bool
) -> None:
    with make_world(installed, minio) as world:
        world.upload()
        world.apply(world.registry(), world.model(), world.version())
        world.ready()
        config_map = world.get("ConfigMap", "granite-1-serving")
        assert config_map is not None
        world.patch("ConfigMap", "granite-1-serving", evil(config_map, digest=digest))
        said = gatehouse(installed, "template", "granite-1", "-n", world.namespace)
        assert (said.exit_code, said.stdout) == (2, "")
        assert "error: ConfigMap granite-1-serving: the template is sha256:" in said.stderr


def test_a_template_is_applied_by_kubectl(installed: RunningControlPlane, world: World) -> None:
    printed = gatehouse(installed, "template", "granite-1", "-n", world.namespace)
    program = Binaries().obtain(["kubectl"])["kubectl"]
    applied = subprocess.run(
        [str(program), "apply", "--filename=-", "--output=name"],
        input=printed.stdout,
        env={**os.environ, "KUBECONFIG": str(installed.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr
    runtime, service = objects(printed)
    assert applied.stdout.split() == [
        f"servingruntime.serving.kserve.io/{runtime['metadata']['name']}",
        f"inferenceservice.serving.kserve.io/{service['metadata']['name']}",
    ]
