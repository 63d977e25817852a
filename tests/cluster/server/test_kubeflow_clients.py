"""PyPI's ``model-registry``, unchanged: the newest one, and the last one that speaks v1alpha3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.server.doors import Doors
from soak.packaged import Archive, fetch

STORY = Path(__file__).with_name("client_story.py")
NEWEST = "0.3.18"
ALPHA = Archive(
    registry="pypi",
    package="model-registry",
    version="0.3.11",
    file="model_registry-0.3.11-py3-none-any.whl",
    sha256="c9ad76bfe92d6a5a82db3f26c203061ec50eaad9689ed129dca2a8c740be2a79",
    folder="",
)
"""Requires what the newest client requires, so that the environment of the tests has all of that."""


@pytest.fixture(scope="session", params=[NEWEST, ALPHA.version])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A version of the client, as a variable of the environment in which Python finds that version."""
    if request.param == NEWEST:
        return Client(NEWEST, {})
    return Client(ALPHA.version, {"PYTHONPATH": str(fetch(ALPHA, tmp_path_factory.mktemp("wheels")))})


class Client:
    """The client in a process of its own."""

    def __init__(self, version: str, variables: dict[str, str]) -> None:
        self.version = version
        self._variables = variables

    def tell(self, doors: Doors, story: str, *, token: str) -> dict[str, Any]:
        """What the client saw in a story."""
        done = subprocess.run(
            [sys.executable, str(STORY), doors.url, token, doors.world.uri("granite-1"), story],
            env={"PATH": os.environ["PATH"], **self._variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        assert seen.pop("client") == self.version
        return seen


def test_an_author_and_a_reader_with_each_client(doors: Doors, client: Client) -> None:
    seen = client.tell(doors, "author", token=doors.submitter)
    assert seen == {
        "ids": [True, True],
        "metadata": [{"double": 0.5, "text": "a b, ü", "whole": 1, "yes": True}, ["float", "str", "int", "bool"]],
        "artifact": ["Story 1: whole", "safetensors", True],
        "missing": [None, None],
        "updated": ["another", {"double": 0.5, "text": "new", "whole": 1, "yes": True}, True],
        "model": ["of a story", "eve", "LIVE"],
        "artifact updated": "the files",
        "artifacts": ["adapter", ["Story 1: whole", "adapter"]],
        "pages": [21, 21, 3],
        "newest": "model:19",
        "versions": ["latest"],
        "archived": "ARCHIVED",
        "twice": "Version v1, May already exists",
    }
    archived = doors.world.wait("story-1-whole-v1-may", lambda body: body["status"].get("phase") == "Archived")
    assert archived["spec"]["state"] == "Archived"
    declared = _declared(doors)
    assert [name for kind, name, _ in declared if kind == "ModelVersion"] == ["story-1-whole-v1-may"]

    seen = client.tell(doors, "reader", token=doors.viewer)
    assert seen["read"] == ["Story 1: whole", "v1, May", 21]
    words = [("create", "registeredmodels"), ("patch", "registeredmodels"), ("patch", "modelversions")]
    for refusal, (verb, plural) in zip(seen["refused"], words, strict=True):
        user = f"system:serviceaccount:{doors.world.namespace}:viewer"
        assert refusal.startswith("(403)")
        assert f'User \\"{user}\\" cannot {verb} resource \\"{plural}\\"' in refusal
    assert _declared(doors) == declared


def _declared(doors: Doors) -> list[tuple[str, str, Any]]:
    """The objects and what their specs say."""
    return [
        (kind, body["metadata"]["name"], body["spec"])
        for kind in ("RegisteredModel", "ModelVersion")
        for body in doors.world.all(kind)
    ]
