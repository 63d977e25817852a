from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatehouse_local.cli.local import app


@pytest.mark.parametrize("command", ["up", "env", "status", "down", "programs"])
def test_help_has_examples_and_exit_codes(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"gatehouse local {command}" in shown.stdout
    assert "Exit codes: 0" in shown.stdout


def test_an_unknown_database_is_wrong_usage(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["up", "--database", "oracle", "--dir", str(tmp_path / "new")])
    assert refused.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_without_a_cluster_status_says_how_to_start_one(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["status", "--dir", str(tmp_path)])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Start one with: gatehouse local up" in refused.stderr
    assert list(tmp_path.iterdir()) == []
