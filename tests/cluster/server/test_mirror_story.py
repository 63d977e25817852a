"""A registry whose mirror is another server: copied, archived, down for a while, and caught up. Nothing comes back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from cluster.rig import Operator, until
from cluster.server.processes import ServerProcess, make_account
from cluster.status import condition
from cluster.tokens import account_kubeconfig
from cluster.world import World, make_world, secret
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.net import LOOPBACK, free_port
from gatehouse_local.s3 import S3Endpoint

V3 = "/api/model_registry/v1alpha3"


def served(
    plane: RunningControlPlane, world: World, operator: Operator, folder: Path, *, name: str, port: int = 0
) -> ServerProcess:
    """A server of the world's registry."""
    make_account(world.kube, world.namespace, "server", "gatehouse-server", everywhere=True)
    (folder / name).mkdir(exist_ok=True)
    kubeconfig = account_kubeconfig(plane, world.namespace, "server", folder=folder / name)
    arguments = [f"--registry={world.namespace}/registry", f"--data-dir={operator.data_dir}"]
    server = ServerProcess(folder / name, kubeconfig, *arguments, port=port)
    until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
    return server


def in_step(world: World, status: str, reason: str) -> Any:
    def holds(found: Any) -> bool:
        said = condition(found, "MirrorsInStep")
        return said is not None and (said["status"], said["reason"]) == (status, reason)

    return world.wait("registry", holds, kind="ModelRegistry", what=f"MirrorsInStep is not {status} {reason}")


def test_a_mirror_is_kept_in_step_and_caught_up_after_an_outage(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, tmp_path: Path
) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        here, there = (stack.enter_context(make_world(installed, minio)) for _ in range(2))
        there.apply(there.registry(defaults={"namespace": there.namespace}))
        there.final("registry", kind="ModelRegistry")
        writer = make_account(there.kube, there.namespace, "writer", "gatehouse-submitter")
        here.apply(secret("mirror", here.namespace, {"token": writer}))
        mirror = {
            "url": f"http://{LOOPBACK}:{port}",
            "tls": "Disabled",
            "tokenSecret": {"name": "mirror", "key": "token"},
        }
        here.apply(here.registry(defaults={"namespace": here.namespace}, mirrors=[mirror]))
        here.final("registry", kind="ModelRegistry")
        person = make_account(here.kube, here.namespace, "person", "gatehouse-submitter")
        own = stack.enter_context(contextlib.closing(served(installed, here, operator, tmp_path, name="own")))
        other = served(installed, there, operator, tmp_path, name="other", port=port)
        stack.enter_context(contextlib.closing(other))

        def made(path: str, body: object) -> str:
            status, answer = own.ask("POST", f"{V3}/{path}", body, token=person)
            assert status == 201, answer
            return str(answer["id"])

        model = made("registered_models", {"name": "A model: é", "owner": "ann"})
        version = made("model_versions", {"name": "1.0", "registeredModelId": model, "description": "first"})
        made(f"model_versions/{version}/artifacts", {"artifactType": "model-artifact", "uri": "https://example.com/x"})

        def listed(kind: str) -> list[dict[str, Any]]:
            status, answer = other.ask("GET", f"{V3}/{kind}", token=writer)
            assert status == 200, answer
            items: list[dict[str, Any]] = answer["items"]
            return items

        until(lambda: len(listed("model_artifacts")) == 1, what=operator.tail)
        [copied], [copy], [artifact] = (
            listed(kind) for kind in ("registered_models", "model_versions", "model_artifacts")
        )
        assert (copied["name"], copied["owner"]) == ("A model: é", "ann")
        assert (copy["name"], copy["description"], copy["registeredModelId"]) == ("1.0", "first", copied["id"])
        assert artifact["uri"] == "https://example.com/x"
        in_step(here, "True", "InStep")
        assert own.ask("PATCH", f"{V3}/model_versions/{version}", {"state": "ARCHIVED"}, token=person)[0] == 200
        until(lambda: listed("model_versions")[0]["state"] == "ARCHIVED", what=operator.tail)

        other.stop()
        made("registered_models", {"name": "made in an outage"})
        found = in_step(here, "False", "MirrorUnavailable")
        assert writer not in str(found)
        assert (condition(found, "Ready") or {})["status"] == "True"
        other = served(installed, there, operator, tmp_path, name="other", port=port)
        stack.enter_context(contextlib.closing(other))
        in_step(here, "True", "InStep")
        assert {each["name"] for each in listed("registered_models")} == {"A model: é", "made in an outage"}
        # What the mirror's users write stays there.
        body = {"name": "made there"}
        assert other.ask("POST", f"{V3}/registered_models", body, token=writer)[0] == 201
        made("registered_models", {"name": "made later"})
        until(lambda: len(listed("registered_models")) == 4, what=operator.tail)
        status, answer = own.ask("GET", f"{V3}/registered_models", token=person)
        assert (status, answer["size"]) == (200, 3)
        assert writer not in operator.text()


def test_a_mirror_without_tls_says_so(installed: RunningControlPlane, minio: S3Endpoint) -> None:
    with make_world(installed, minio) as world:
        for url in ("http://mirror.example.com", "https://user:pw@mirror.example.com", "https://m.example.com?x=1"):
            with pytest.raises(ApiRefused):
                world.apply(world.registry(mirrors=[{"url": url}]))
        world.apply(world.registry(mirrors=[{"url": "https://mirror.example.com/model-registry/private-ai"}]))
