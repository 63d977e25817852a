"""A kind cluster for `make kind`: created if absent, with the image built and loaded."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gatehouse.install.errors import DeployError
from gatehouse.printing.progress import ProgressReporter

__all__ = ["KindUnavailable", "context_of", "prepare_kind"]

_INSTEAD: Final = "without Docker, start a whole node from binaries: gatehouse local up --node (Linux, as root)"

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
Which = Callable[[str], "str | None"]


class KindUnavailable(DeployError):
    """kind is missing, or Docker is missing or does not answer."""


def context_of(name: str) -> str:
    """The context that kind writes into the kubeconfig."""
    return f"kind-{name}"


def prepare_kind(
    name: str,
    *,
    image: str,
    source: Path,
    progress: ProgressReporter,
    run: Run | None = None,
    which: Which = shutil.which,
) -> None:
    """Ensures a kind cluster of that name with the image, built from the Dockerfile in ``source``.

    Raises:
        KindUnavailable: Docker or kind is missing; the message names an alternative.
        DeployError: one of them failed.
    """
    execute = run or _run
    if which("docker") is None:
        raise KindUnavailable(f"docker is not on the PATH; install it, or {_INSTEAD}")
    if execute(["docker", "info"]).returncode != 0:
        raise KindUnavailable(f"Docker does not answer (docker info fails); start it, or {_INSTEAD}")
    if which("kind") is None:
        raise KindUnavailable(f"kind is not on the PATH; install it, or {_INSTEAD}")
    if not (source / "Dockerfile").is_file():
        raise KindUnavailable(f"there is no Dockerfile in {source}; run this in a checkout of the project")
    if name not in _checked(execute, ["kind", "get", "clusters"]).split():
        with progress.step(f"creating the kind cluster {name}"):
            _checked(execute, ["kind", "create", "cluster", "--name", name, "--wait", "120s"])
    with progress.step(f"building {image}"):
        _checked(execute, ["docker", "build", "--tag", image, str(source)])
    with progress.step(f"loading {image} into {name}"):
        _checked(execute, ["kind", "load", "docker-image", image, "--name", name])


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(command), capture_output=True, text=True, errors="replace", check=False)


def _checked(execute: Run, command: Sequence[str]) -> str:
    answer = execute(command)
    if answer.returncode != 0:
        tail = "\n".join(answer.stderr.strip().splitlines()[-20:])
        raise DeployError(f"{' '.join(command[:3])} failed with exit code {answer.returncode}:\n{tail}")
    return answer.stdout
