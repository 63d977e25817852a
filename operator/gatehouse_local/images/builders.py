"""The programs that can build an image: docker, podman or buildah, whichever works."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatehouse_local.errors import BuildFailed, ProgramMissing
from gatehouse_local.images.commands import run, succeeds

__all__ = ["Build", "Buildah", "Builder", "Docker", "find_builder"]

_PULL_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build.

    Attributes:
        base: the build argument BASE.
        secrets: files by the names that the Dockerfile mounts them under.
        stage: the stage of the Dockerfile that seldom changes and is kept for the next build.
        epoch: the time of the files and the image, in seconds.
    """

    context: Path
    reference: str
    base: str | None
    secrets: Mapping[str, Path]
    stage: str | None = None
    epoch: int = 0

    def arguments(self) -> list[str]:
        """The common options of the three programs."""
        options = ["--network=host", f"--file={self.context / 'Dockerfile'}"]
        options += [f"--secret=id={name},src={path}" for name, path in sorted(self.secrets.items())]
        if self.base is not None:
            options.append(f"--build-arg=BASE={self.base}")
        return options


class Builder(Protocol):
    """Builds images and keeps them until `save`."""

    name: str

    def has(self, reference: str) -> bool:
        """Whether the builder has the image."""
        ...

    def pull(self, reference: str) -> bool:
        """Pulls an image; False if no registry delivers the image."""
        ...

    def add_base(self, archive: Path, reference: str) -> None:
        """Makes an image from a file system in a tar file."""
        ...

    def build(self, build: Build, *, lock: int) -> None:
        """Builds an image.

        Raises:
            BuildFailed: the program failed; with the end of its output.
        """
        ...

    def save(self, reference: str, target: Path) -> None:
        """Writes the image as a docker-archive."""
        ...

    def tidy(self, reference: str) -> None:
        """Removes the image, and layers that no kept image needs."""
        ...


class Docker:
    """docker or podman, with their usual storage."""

    def __init__(self, name: str) -> None:
        self.name = name

    def has(self, reference: str) -> bool:
        return succeeds([self.name, "image", "inspect", reference])

    def pull(self, reference: str) -> bool:
        return succeeds([self.name, "pull", "--quiet", reference], seconds=_PULL_SECONDS)

    def add_base(self, archive: Path, reference: str) -> None:
        run([self.name, "import", str(archive), reference], doing=f"importing the base into {self.name}")

    def build(self, build: Build, *, lock: int) -> None:
        run(
            [self.name, "build", *build.arguments(), f"--tag={build.reference}", str(build.context)],
            doing=f"building {build.reference} with {self.name}",
            environ={"DOCKER_BUILDKIT": "1", "SOURCE_DATE_EPOCH": str(build.epoch)},
            lock=lock,
        )

    def save(self, reference: str, target: Path) -> None:
        run([self.name, "save", f"--output={target}", reference], doing=f"saving {reference}")

    def tidy(self, reference: str) -> None:
        """Does nothing: the owner may use the image."""


class Buildah:
    """buildah with separate storage below `folder`, so that other storage of this machine stays unchanged.

    Raises:
        BuildFailed: buildah does not run here.
    """

    name = "buildah"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A chroot instead of a container runtime also works inside a container.
        self._environ = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder / "tmp")}
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        self._command = self._working_command()

    def has(self, reference: str) -> bool:
        return succeeds([*self._command, "inspect", "--type=image", reference], environ=self._environ)

    def pull(self, reference: str) -> bool:
        return succeeds([*self._command, "pull", "--quiet", reference], environ=self._environ, seconds=_PULL_SECONDS)

    def add_base(self, archive: Path, reference: str) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder / "tmp") as folder:
            (Path(folder) / "Dockerfile").write_text('FROM scratch\nADD base.tar /\nCMD ["python3"]\n')
            (Path(folder) / "base.tar").hardlink_to(archive)
            options = ["--timestamp=0", "--layers=false", f"--tag={reference}", folder]
            self._run("bud", *options, doing="making the base image")

    def build(self, build: Build, *, lock: int) -> None:
        options = [*build.arguments(), "--pull-never", f"--timestamp={build.epoch}"]
        if build.stage is None:
            ends = [["--layers=false", f"--tag={build.reference}"]]
        else:
            # A separate name keeps the stage when `tidy` removes the image's other stages.
            kept = f"{build.reference.rpartition(':')[0]}-{build.stage}:kept"
            ends = [["--layers", f"--target={build.stage}", f"--tag={kept}"], ["--layers", f"--tag={build.reference}"]]
        for end in ends:
            self._run(
                "bud", *options, *end, str(build.context), doing=f"building {build.reference} with buildah", lock=lock
            )

    def save(self, reference: str, target: Path) -> None:
        self._run("push", "--quiet", reference, f"docker-archive:{target}:{reference}", doing=f"saving {reference}")

    def tidy(self, reference: str) -> None:
        self._run("rmi", reference, doing=f"removing {reference} from the storage of buildah")
        self._run("rmi", "--prune", doing="clearing the storage of buildah")

    def _run(self, *arguments: str, doing: str, lock: int | None = None) -> str:
        return run([*self._command, *arguments], doing=doing, environ=self._environ, lock=lock)

    def _working_command(self) -> list[str]:
        """The command with overlay storage where supported; else with whole copies, which take more time and space."""
        for driver in ("overlay", "vfs"):
            storage = self._folder / driver
            command = ["buildah", f"--root={storage}", f"--runroot={storage / 'run'}", f"--storage-driver={driver}"]
            # Removes mounts that a killed build left.
            if succeeds([*command, "rm", "--all"], environ=self._environ):
                return command
        raise BuildFailed(
            f"buildah does not run here. To see its error, run: buildah --root={self._folder / 'vfs'} info"
        )


def find_builder(folder: Path) -> Builder:
    """Docker, Podman or buildah: the first that works.

    Args:
        folder: the folder of buildah's storage.

    Raises:
        ProgramMissing: none of the three works.
    """
    if succeeds(["docker", "info"]):
        return Docker("docker")
    if succeeds(["podman", "info"]):
        return Docker("podman")
    if succeeds(["buildah", "--version"]) and os.geteuid() == 0:
        return Buildah(folder)
    raise ProgramMissing(
        "No program here can build an image: neither docker nor podman answers, and buildah is not installed or not "
        "run by root. Start Docker, or install buildah, on Debian or Ubuntu with: apt-get install buildah"
    )
