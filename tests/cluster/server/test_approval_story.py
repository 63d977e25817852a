"""One version from a notebook through review into admission, and out again by curl: every door says the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from typer.testing import CliRunner

from cluster.court import SUBMITTER, Court
from cluster.rig import until
from cluster.server.doors import CATALOG, V3, Doors
from cluster.status import Manifest
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused

NAME = "granite-of-a-notebook-1"


@pytest.fixture
def court(doors: Doors, installed: RunningControlPlane) -> Iterator[Court]:
    """A policy that wants a reviewer's approval for each stage."""
    made = Court(doors.world, installed)
    made.policy(approvals=[{"stage": "staging"}, {"stage": "production"}])
    try:
        yield made
    finally:
        doors.world.kube.request("DELETE", made.policy_path)
        made.reviewer.close()


def test_registered_reviewed_admitted_and_archived_by_curl(
    doors: Doors, court: Court, installed: RunningControlPlane
) -> None:
    world = court.world
    stage = f"{world.namespace}-production"
    labels = {"gatehouse.dev/stage": "production"}
    world.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage, "labels": labels}})
    # A person: the author of what a service account submits is unknown, so that nobody could approve it.
    author = installed.tokens[SUBMITTER]
    doors.client(author).register_model(
        "Granite of a Notebook",
        world.uri("granite-1"),
        model_format_name="safetensors",
        model_format_version="1",
        version="1",
    )
    waiting = world.phase(NAME, "Pending Review")
    number = waiting["status"]["registryId"]
    assert listed(doors) == []
    # A version is cleared for one stage after the other.
    for cleared in ("staging", "production"):
        reviewed = CliRunner().invoke(
            app,
            [
                *("approve", NAME, "--stage", cleared, "--reason", "read the card", "-n", world.namespace),
                *(f"--kubeconfig={installed.kubeconfig}", "--context=ai-admin"),
            ],
        )
        assert reviewed.exit_code == 0, reviewed.output

    def cleared_for_production(version: Manifest) -> bool:
        return "production" in version["status"].get("clearedFor", ())

    world.wait(NAME, cleared_for_production, what="is not cleared for production")
    ready = world.phase(NAME, "Ready to Deploy")
    digest = ready["status"]["artifact"]["digest"]

    def shown() -> dict[str, str]:
        status, entry = doors.server.ask("GET", f"{V3}/model_versions/{number}", token=doors.viewer)
        assert status == 200
        return {name: each["string_value"] for name, each in entry["customProperties"].items()}

    until(lambda: "production" in shown().get("gatehouse.cleared_for", ""), what=lambda: str(shown()))
    assert {"Ready to Deploy": "", "gatehouse.digest": digest, "gatehouse.phase": "Ready to Deploy"}.items() <= (
        shown().items()
    )
    assert [(item["id"], item["customProperties"]["gatehouse.digest"]["string_value"]) for item in listed(doors)] == [
        (number, digest)
    ]
    template = world.get("ConfigMap", f"{NAME}-serving")
    assert template is not None
    service = yaml.safe_load(template["data"]["inferenceservice.yaml"])
    service["metadata"]["namespace"] = stage

    def refusal() -> str:
        try:
            world.kube.request("POST", f"{world.kube.path_of(service).rpartition('/')[0]}?dryRun=All", service)
        except ApiRefused as refused:
            return str(refused)
        return ""

    try:
        until(lambda: refusal() == "", what=refusal)
        # As people archive today: curl calls the body a form.
        command = [
            "curl",
            "-sf",
            "-X",
            "PATCH",
            f"{doors.url}{V3}/model_versions/{number}",
            "-d",
            '{"state": "ARCHIVED"}',
        ]
        done = subprocess.run(
            [*command, "-H", f"Authorization: Bearer {author}"], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["state"] == "ARCHIVED"
        world.phase(NAME, "Archived")
        until(lambda: listed(doors) == [], what=lambda: str(listed(doors)))
        until(lambda: f"{NAME} is Archived" in refusal(), what=refusal)
    finally:
        world.kube.request("DELETE", f"/api/v1/namespaces/{stage}")


def listed(doors: Doors) -> list[dict[str, object]]:
    """The models of the catalog."""
    status, found = doors.server.ask(
        "GET", f"{CATALOG}/models?sourceLabel=Cleared%20for%20production", token=doors.viewer
    )
    assert status == 200, found
    items: list[dict[str, object]] = found["items"]
    return items
