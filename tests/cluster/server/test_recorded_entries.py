"""No recorded entry can ever be ready, cleared or admitted: tried through every door."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.rig import Operator, until
from cluster.server.doors import CATALOG, V1, V3, Doors
from gatehouse.cli.commands import COMMANDS
from gatehouse.cli.main import app
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused

TITLE, VERSION, KEY = "A pickle", "1", "a-pickle-1"
ELSEWHERE = "s3://elsewhere/pickle/"
READY = "Ready to Deploy"
CLAIMS: Mapping[str, Any] = {
    "gatehouse.phase": READY,
    "gatehouse.digest": "sha256:" + "0" * 64,
    "gatehouse.cleared_for": "production",
    "gatehouse.fit": "Fits",
    "gatehouse.blocked_by": "nothing",
    "gatehouse.anything": "x",
    "Gatehouse.Phase": READY,
    "gate\u200bhouse.phase": READY,
    "Ready to Deploy": "",
    "ready  to deploy": "",
}
"""What a client may want an entry to say of itself, in spellings that a reader takes for Gatehouse's word."""
ABOUT_VERSIONS = (
    *("explain", "template", "approve", "reject", "request-changes", "withdraw"),
    *("submit", "promote", "deprecate", "archive", "restore", "deploy-version"),
)
"""The commands whose argument is a ModelVersion; a test holds the list to the table of commands."""
OPTIONS = ("--stage=production", "--reason=why not", "--to=production")
UNKNOWN = ("not found", "no ModelVersion", "no decision of", "does not exist")


@dataclass
class Recorded:
    """One recorded model, version and artifact, beside a governed version that is ready."""

    doors: Doors
    model: str
    version: str
    artifact: str
    stray: str
    ready_uri: str

    def entries(self, *, token: str) -> Iterator[Mapping[str, Any]]:
        for path in self.paths:
            status, answer = self.doors.server.ask("GET", path, token=token)
            assert status == 200, answer
            yield answer

    @property
    def paths(self) -> tuple[str, ...]:
        return (
            f"{V3}/registered_models/{self.model}",
            f"{V3}/model_versions/{self.version}",
            f"{V1}/model_versions/{self.version}",
            f"{V3}/model_artifacts/{self.artifact}",
            f"{V1}/artifacts/{self.artifact}",
        )


@pytest.fixture
def recorded(doors: Doors) -> Recorded:
    world = doors.world

    def made(path: str, body: Mapping[str, Any]) -> str:
        status, answer = doors.server.ask("POST", path, body, token=doors.submitter)
        assert status in {200, 201}, answer
        return str(answer["id"])

    model = made(f"{V3}/registered_models", {"name": TITLE})
    version = made(f"{V3}/model_versions", {"name": VERSION, "registeredModelId": model})
    pickle = {"artifactType": "model-artifact", "name": "weights", "uri": ELSEWHERE, "modelFormatName": "pickle"}
    artifact = made(f"{V3}/model_versions/{version}/artifacts", pickle)
    # These bytes are in a store of the registry, and no version asks for them.
    stray = world.uri("stray")
    world.upload("stray")
    alone = {"artifactType": "model-artifact", "name": "alone", "uri": stray, "state": "LIVE"}
    made(f"{V3}/artifacts", alone)
    run = made(f"{V3}/experiment_runs", {"name": "1", "experimentId": made(f"{V3}/experiments", {"name": "tuning"})})
    made(f"{V3}/experiment_runs/{run}/artifacts", {**alone, "name": "of a run"})
    world.apply(world.model(), world.version())
    world.phase("granite-1", READY)
    return Recorded(doors, model, version, artifact, stray, world.uri("granite-1"))


def test_the_words_of_gatehouse_are_refused_from_clients(recorded: Recorded) -> None:
    doors = recorded.doors
    before = list(recorded.entries(token=doors.viewer))
    for name, text in CLAIMS.items():
        claim = {"customProperties": {name: {"metadataType": "MetadataStringValue", "string_value": text}}}
        new = [
            ("POST", f"{V3}/registered_models", {"name": f"with {name}"}),
            ("POST", f"{V1}/model_versions", {"name": f"with {name}", "registeredModelId": recorded.model}),
            ("POST", f"{V3}/artifacts", {"artifactType": "doc-artifact", "name": f"with {name}"}),
            ("POST", f"{V3}/model_versions/{recorded.version}/artifacts", {"artifactType": "doc-artifact"}),
        ]
        old: list[tuple[str, str, dict[str, Any]]] = [
            ("PATCH", path, {"artifactType": "model-artifact"} if "/artifacts/" in path else {})
            for path in recorded.paths
        ]
        for method, path, body in (*new, *old):
            status, answer = doors.server.ask(method, path, {**body, **claim}, token=doors.submitter)
            assert status == (400 if method == "POST" else 409), (method, path, name, answer)
            assert "only Gatehouse writes it" in answer["message"]
    for state in (READY, "CLEARED", "READY", "Submitted", "LIVE "):
        for path in recorded.paths:
            status, answer = doors.server.ask("PATCH", path, {"state": state}, token=doors.submitter)
            assert status == 400, (path, state, answer)
    assert list(recorded.entries(token=doors.viewer)) == before
    for entry in before:
        assert not [name for name in entry.get("customProperties", {}) if name in CLAIMS]


def test_the_catalog_has_only_what_is_ready(recorded: Recorded) -> None:
    server, token = recorded.doors.server, recorded.doors.submitter
    for query in ("", "?q=pickle", "?filterQuery=name%20LIKE%20%27%25%27", "?source=gatehouse"):
        status, answer = server.ask("GET", f"{CATALOG}/models{query}", token=token)
        names = ["granite/granite-1"] if query != "?q=pickle" else []
        assert (status, [item["name"] for item in answer["items"]]) == (200, names)
    for name in ("a-pickle/1", "A%20pickle/1", "a-pickle", recorded.version, "alone", f"a-pickle/{recorded.version}"):
        for ending in ("", "/artifacts", "/artifacts/performance"):
            status, _ = server.ask("GET", f"{CATALOG}/sources/gatehouse/models/{name}{ending}", token=token)
            assert status == 404, (name, ending)


def test_the_list_of_commands_about_versions_is_complete() -> None:
    taking: dict[str, Callable[..., object]] = {}
    for entry in (entry for group, entries in COMMANDS.items() if group != "Operate" for entry in entries):
        with contextlib.suppress(ImportError):
            command = getattr(import_module(f"gatehouse.cli.{entry.module}"), entry.name.replace("-", "_"), None)
            if command is not None:
                taking[entry.name] = command
    named = {
        name
        for name, command in taking.items()
        if "NameArgument" in str(inspect.signature(command).parameters.get("name", ""))
    }
    assert named == set(ABOUT_VERSIONS)


def test_no_command_takes_a_recorded_version_for_one(
    recorded: Recorded, installed: RunningControlPlane, operator: Operator, tmp_path: Path
) -> None:
    world = recorded.doors.world
    objects = {kind: world.all(kind) for kind in ("RegisteredModel", "ModelVersion")}
    rows = f"--database={world.database_url(operator)}"
    for command in (*ABOUT_VERSIONS, f"evidence export --output={tmp_path / 'evidence.zip'} {rows}"):
        for name in (KEY, "1", recorded.version):
            said = run(installed, world.namespace, *command.split(), name)
            assert said.exit_code != 0, (command, name, said.output)
            assert any(words in said.output for words in UNKNOWN), (command, name, said.output)
    assert [body["metadata"]["name"] for body in objects["ModelVersion"]] == ["granite-1"]
    assert world.templates() == ["granite-1-serving"]


def run(plane: RunningControlPlane, namespace: str, *arguments: str) -> Any:
    """A command as the administrator, with whatever options it needs."""
    described = CliRunner().invoke(app, [*arguments[:-1], "--help"]).stdout
    options = [option for option in OPTIONS if option.partition("=")[0] in described]
    return CliRunner().invoke(
        app,
        [*arguments, *options, "-n", namespace, f"--kubeconfig={plane.kubeconfig}", "--context=admin"],
    )


def test_admission_admits_what_is_cleared_and_nothing_that_is_recorded(recorded: Recorded) -> None:
    world = recorded.doors.world
    stage = f"{world.namespace}-stage"
    labels = {"gatehouse.dev/stage": "production"}
    world.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage, "labels": labels}})
    world.wait_told()
    cleared = {uri for shard in world.vetted() for uri in shard["artifacts"]}
    assert cleared == {recorded.ready_uri}
    template = world.get("ConfigMap", "granite-1-serving")
    assert template is not None
    text = template["data"]["inferenceservice.yaml"]

    def created(uri: str) -> str:
        body = yaml.safe_load(text.replace(recorded.ready_uri, uri))
        body["metadata"]["namespace"] = stage
        try:
            world.kube.request("POST", f"{world.kube.path_of(body).rpartition('/')[0]}?dryRun=All", body)
        except ApiRefused as refused:
            return str(refused)
        return ""

    try:
        until(lambda: created(recorded.ready_uri) == "", what=lambda: created(recorded.ready_uri))
        for uri in (ELSEWHERE, recorded.stray, world.uri("other")):
            assert "is not vetted" in created(uri) or uri in created(uri), created(uri)
    finally:
        world.kube.request("DELETE", f"/api/v1/namespaces/{stage}")
