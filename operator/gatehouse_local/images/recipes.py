"""The images that can be built, as data, and the key of an image's inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from gatehouse import __version__
from gatehouse_local.errors import LocalClusterError
from gatehouse_local.programs import PROGRAMS

__all__ = ["BASE_IMAGE", "RECIPES", "Recipe", "allowed", "context_files", "key_of", "recipe"]

BASE_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
"""The base of every image but `pause`, where an image registry answers."""
_LAYOUT = 1
_NO_SOURCE = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image.

    Attributes:
        reference: the name in containerd's form.
        context: the folder with the Dockerfile, relative to the project's root; "." is the project itself, filtered by
            `.dockerignore`.
        based: whether the image uses the base image.
        stage: a stage of the Dockerfile that seldom changes and is kept for the next build.
        inputs: names and versions of inputs besides the files of the context.
        minutes: the duration of a first build on two cores.
    """

    name: str
    reference: str
    context: str
    based: bool = True
    stage: str | None = None
    inputs: tuple[str, ...] = ()
    minutes: float = 1.0


RECIPES: dict[str, Recipe] = {
    each.name: each
    for each in (
        Recipe(
            name="gatehouse",
            reference=f"localhost/gatehouse:{__version__}",
            context=".",
            stage="dependencies",
        ),
        Recipe(name="pause", reference="localhost/pause:1", context="images/pause", based=False, minutes=0.1),
        Recipe(name="mariadb", reference="docker.io/library/mariadb:10.11", context="images/mariadb"),
        Recipe(name="postgres", reference="docker.io/library/postgres:15", context="images/postgres"),
        Recipe(
            name="minio",
            reference="docker.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
            context="images/minio",
            inputs=(f"minio {PROGRAMS['minio'].version}",),
        ),
        Recipe(
            name="kube-rbac-proxy",
            reference="quay.io/brancz/kube-rbac-proxy:v0.21.0",
            context="images/kube-rbac-proxy",
            based=False,
            inputs=(f"kube-rbac-proxy {PROGRAMS['kube-rbac-proxy'].version}",),
            minutes=0.2,
        ),
        Recipe(
            name="storage-initializer",
            reference=f"docker.io/kserve/storage-initializer:{PROGRAMS['kserve'].version}",
            context="images/storage-initializer",
        ),
        Recipe(
            name="vllm-standin",
            reference="localhost/vllm-standin:1",
            context="operator/gatehouse_local/standin",
            minutes=0.3,
        ),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        LocalClusterError: no recipe has that name.
    """
    found = RECIPES.get(name)
    if found is None:
        raise LocalClusterError(f"{name} is not an image of Gatehouse; expected one of {', '.join(RECIPES)}.")
    return found


def allowed(ignorefile: str) -> tuple[str, ...]:
    """The paths that a `.dockerignore` with `*` at its start admits: the paths after `!`."""
    lines = [line.strip() for line in ignorefile.splitlines()]
    return tuple(line[1:] for line in lines if line.startswith("!"))


def context_files(root: Path, *, entries: Iterable[str]) -> Iterator[PurePosixPath]:
    """The files below `root` that are one of `entries` or in one, sorted, without caches. An entry may be missing."""
    found: set[PurePosixPath] = set()
    for entry in entries:
        start = root / entry
        paths = [start] if start.is_file() else start.rglob("*")
        for path in paths:
            relative = path.relative_to(root)
            if path.is_file() and not _NO_SOURCE.intersection(relative.parts):
                found.add(PurePosixPath(relative))
    yield from sorted(found)


def key_of(recipe: Recipe, *, root: Path, files: Iterable[PurePosixPath], machine: str) -> str:
    """Twelve hexadecimal digits that differ when any input of the image differs.

    The key contains the base image's name, not its content: a changed base of the same name causes no rebuild.
    """
    digest = hashlib.sha256()
    head = {"layout": _LAYOUT, "machine": machine, "base": BASE_IMAGE if recipe.based else "", **asdict(recipe)}
    digest.update(json.dumps(head, sort_keys=True).encode())
    for file in files:
        path = root / file
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\n{content} {executable:d} {file}".encode())
    return digest.hexdigest()[:12]
