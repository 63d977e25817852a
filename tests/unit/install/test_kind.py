"""`make kind`, against programs that only write down how they were called."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gatehouse.install.errors import DeployError
from gatehouse.install.kind import KindUnavailable, prepare_kind
from gatehouse.printing.progress import Silent


class Programs:
    """Docker and kind: ``clusters`` are there, ``broken`` commands fail."""

    def __init__(self, *present: str, clusters: str = "", broken: Sequence[str] = ()) -> None:
        self._present, self._clusters, self._broken = present, clusters, tuple(broken)
        self.called: list[str] = []

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self._present else None

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        self.called.append(line)
        failed = line.startswith(self._broken) if self._broken else False
        return subprocess.CompletedProcess(
            list(command), returncode=int(failed), stdout=self._clusters, stderr="no space left"
        )


def prepare(programs: Programs, source: Path) -> None:
    prepare_kind("demo", image="i:1", source=source, progress=Silent(), run=programs.run, which=programs.which)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").touch()
    return tmp_path


def test_the_cluster_is_made_and_gets_the_image(source: Path) -> None:
    programs = Programs("docker", "kind", clusters="other\n")
    prepare(programs, source)
    assert programs.called == [
        "docker info",
        "kind get clusters",
        "kind create cluster --name demo --wait 120s",
        f"docker build --tag i:1 {source}",
        "kind load docker-image i:1 --name demo",
    ]


def test_a_cluster_that_is_there_is_used(source: Path) -> None:
    programs = Programs("docker", "kind", clusters="other\ndemo\n")
    prepare(programs, source)
    assert not [line for line in programs.called if "create" in line]


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        (Programs(), "docker is not on the PATH"),
        (Programs("docker", "kind", broken=["docker info"]), "Docker does not answer"),
        (Programs("docker"), "kind is not on the PATH"),
    ],
)
def test_without_docker_the_way_out_is_named(source: Path, programs: Programs, said: str) -> None:
    with pytest.raises(KindUnavailable, match=f"{said}.*gatehouse local up --node"):
        prepare(programs, source)
    assert not [line for line in programs.called if "create" in line]


def test_a_failure_has_the_words_of_the_program(source: Path) -> None:
    with pytest.raises(DeployError, match="docker build --tag failed with exit code 1:\nno space left"):
        prepare(Programs("docker", "kind", clusters="demo", broken=["docker build"]), source)


def test_elsewhere_than_in_a_checkout_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(KindUnavailable, match="there is no Dockerfile in"):
        prepare(Programs("docker", "kind"), tmp_path)
