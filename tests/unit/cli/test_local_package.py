"""What ``gatehouse`` takes from ``gatehouse_local``, and what it does without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gatehouse.cli.local_package import local_kubectl


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
