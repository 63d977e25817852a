"""What the wheel of the operator's image takes in: the package ``gatehouse`` and the files that it applies."""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath
from typing import Any, Final

from gatehouse_local.images.recipes import allowed, context_files

ROOT: Final = Path(__file__).parents[2]
WHEEL: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
    "targets"
]["wheel"]
CONTEXT: Final = allowed((ROOT / ".dockerignore").read_text())


def test_the_wheel_has_the_package_and_nothing_of_the_local_cluster() -> None:
    assert set(WHEEL) == {"packages", "force-include"}
    assert WHEEL["packages"] == ["operator/gatehouse"]
    assert {PurePosixPath(target).parts[0] for target in WHEEL["force-include"].values()} == {"gatehouse"}


def test_all_that_the_wheel_takes_in_reaches_the_build_of_the_image() -> None:
    for source in (*WHEEL["packages"], *WHEEL["force-include"]):
        assert (ROOT / source).is_dir(), source
        assert any(PurePosixPath(source).is_relative_to(entry) for entry in CONTEXT), source


def test_nothing_of_the_local_cluster_reaches_the_build_of_the_image() -> None:
    files = [str(file) for file in context_files(ROOT, entries=CONTEXT)]
    assert "operator/gatehouse/cli/main.py" in files
    assert [file for file in files if "gatehouse_local" in file] == []
