"""What ``gatehouse`` takes from ``gatehouse_local``, and what it does without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.testing import CliRunner

from gatehouse.cli.local_package import LOCAL_COMMANDS, local_kubectl
from gatehouse.cli.main import app

_EVERY_COMMAND: Final = """
import sys
sys.modules["gatehouse_local"] = None
import typer
from gatehouse.cli.main import app
group = typer.main.get_command(app)
context = typer.Context(group)
for name in group.list_commands(context):
    print(group.resolve_command(context, [name])[1].name)
"""


def commands() -> list[str]:
    """The names that the help lists."""
    group = typer.main.get_command(app)
    return list(group.list_commands(typer.Context(group)))


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only kubectl of the local cluster."""
    path = tmp_path / "kubectl"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    return path


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not installed, as in the operator's image."""
    monkeypatch.setitem(sys.modules, "gatehouse_local", None)


def test_the_kubectl_of_the_local_cluster_is_found(kubectl: Path) -> None:
    assert local_kubectl() == kubectl


@pytest.mark.usefixtures("absent", "kubectl")
def test_without_the_package_there_is_no_kubectl_of_a_local_cluster() -> None:
    assert local_kubectl() is None


def test_the_help_lists_the_local_commands_in_a_checkout() -> None:
    assert set(commands()) >= LOCAL_COMMANDS


@pytest.mark.usefixtures("absent")
def test_without_the_package_the_help_does_not_list_them() -> None:
    assert set(commands()) & LOCAL_COMMANDS == set()
    assert {"run", "seed", "credentials", "store-users"} <= set(commands())


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("arguments", [["local"], ["local", "up", "--node"], ["demo", "--once"], ["demo", "--help"]])
def test_without_the_package_a_local_command_says_how_to_get_it(arguments: list[str]) -> None:
    said = CliRunner().invoke(app, arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr == (
        f"error: gatehouse {arguments[0]} is not part of this installation; to get it, clone the repository of "
        "Gatehouse and run make install there\n"
    )


def test_every_other_command_runs_without_the_package() -> None:
    said = subprocess.run((sys.executable, "-c", _EVERY_COMMAND), capture_output=True, text=True, check=True)
    assert said.stdout.split() == [name for name in commands() if name not in LOCAL_COMMANDS]
