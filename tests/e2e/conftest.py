"""One real node for the tests in this folder, with real Pods.

A machine that cannot run a node (it needs Linux, root and some packages) skips the tests, with the reason; with CI=true
they fail. There can be one node on a machine, so one worker runs all files but those that need none.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from e2e.machine import SERVING_IMAGES, Machine
from gatehouse_local.cluster import LocalCluster
from gatehouse_local.errors import NodeImpossible, ProgramMissing
from gatehouse_local.images.images import Images
from gatehouse_local.images.recipes import RECIPES

_HERE = Path(__file__).parent
_NEED_NO_NODE = frozenset({"test_analysis.py", "test_kserve.py", "test_registry_tokens.py"})
_MOST_SECONDS = 900
"""The first test on a machine waits for its images to be built."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(_MOST_SECONDS))


class OneNode(LoadFileScheduling):
    """The first worker has the node."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        return str(file) if file.name in _NEED_NO_NODE else str(file.parent)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneNode:
    """Who runs what, where several workers do."""
    return OneNode(config, log)


@pytest.fixture(scope="session")
def node() -> Iterator[Machine]:
    """A bare cluster with a node that pretends to have a GPU, with the images of every overlay."""
    # Pods of any user read below it, and pytest's own folders are closed to them.
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-e2e-"))
    cluster = LocalCluster(folder / "cluster")
    try:
        with _possible():
            archives = Images().obtain([name for name in RECIPES if name not in SERVING_IMAGES])
            cluster.up(bare=True, node=True, gpu=True, operator=False)
        machine = Machine(cluster)
        machine.load(archives)
        yield machine
    finally:
        cluster.down(purge=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def namespace(node: Machine) -> Iterator[str]:
    """A fresh namespace, deleted with all it holds after the test."""
    name = f"e2e-{secrets.token_hex(4)}"
    node.kubectl("create", "namespace", name)
    yield name
    node.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def aside(node: Machine) -> Iterator[None]:
    """The session's node is down during the tests of a module, so that another one can be up; then it goes on."""
    node.cluster.down()
    try:
        yield
    finally:
        node.cluster.up(operator=False)


@contextlib.contextmanager
def _possible() -> Iterator[None]:
    try:
        yield
    except (NodeImpossible, ProgramMissing) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
