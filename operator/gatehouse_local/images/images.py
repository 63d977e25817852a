"""Container images as archives in the cache: built once for the same inputs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from platform import machine

from gatehouse.printing.progress import ProgressReporter, Silent
from gatehouse_local import CHECKOUT
from gatehouse_local.binaries import Binaries, default_cache
from gatehouse_local.errors import LocalClusterError
from gatehouse_local.files import exclusive
from gatehouse_local.images.base import bootstrap, bootstrapped_archive
from gatehouse_local.images.builders import Build, Builder, find_builder
from gatehouse_local.images.commands import run, which
from gatehouse_local.images.host import build_secrets
from gatehouse_local.images.recipes import BASE_IMAGE, Recipe, allowed, context_files, key_of, recipe

__all__ = ["Images", "load"]

_UNFINISHED = ".unfinished-"
_KEPT_ARCHIVES = 2
_LOCAL_BASE = "localhost/gatehouse-base"


class Images:
    """Archives of container images, below the cache of the local cluster.

    An image is built when the cache has no archive of the same inputs. The inputs are its Dockerfile, its files and the
    versions of downloads. Concurrent runs share the cache under a lock.
    """

    def __init__(
        self,
        *,
        cache: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        progress: ProgressReporter | None = None,
        binaries: Binaries | None = None,
    ) -> None:
        self._cache = cache or default_cache(environ)
        self._environ = environ
        self._progress = progress or Silent()
        self._binaries = binaries or Binaries(cache=self._cache, environ=environ, progress=self._progress)

    def find(self, name: str) -> Path | None:
        """The archive of an image if the cache has it for the present inputs; never builds.

        Raises:
            LocalClusterError: no image has that name.
        """
        return self._at_hand([recipe(name)]).get(name)

    def obtain(self, names: Iterable[str]) -> dict[str, Path]:
        """The archive (docker-archive, a tar file) of each named image. Builds missing archives.

        Raises:
            ProgramMissing: no builder works; the message names the programs to install.
            BuildFailed: the build failed; with the end of the builder's output.
            LocalClusterError: no image has that name.
        """
        chosen = [recipe(name) for name in names]
        found = self._at_hand(chosen)
        if len(found) < len(chosen):
            with exclusive(self._folder / ".lock", waiting=self._say_waiting) as lock:
                self._clear_unfinished()
                found = self._at_hand(chosen)
                missing = [each for each in chosen if each.name not in found]
                if missing:
                    found |= self._build_all(missing, lock=lock)
        return {each.name: found[each.name] for each in chosen}

    @property
    def _folder(self) -> Path:
        return self._cache / "images"

    def _archive(self, recipe: Recipe, context: Path) -> Path:
        files = context_files(context, entries=_entries(recipe, context))
        return self._folder / f"{recipe.name}-{key_of(recipe, root=context, files=files, machine=machine())}.tar"

    def _at_hand(self, recipes: Iterable[Recipe]) -> dict[str, Path]:
        archives = {each.name: self._archive(each, CHECKOUT / each.context) for each in recipes}
        return {name: archive for name, archive in archives.items() if archive.is_file()}

    def _say_waiting(self) -> None:
        self._progress.say(f"Another run is building images into {self._folder}; waiting for it.")

    def _clear_unfinished(self) -> None:
        for leftover in self._folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _build_all(self, recipes: Iterable[Recipe], *, lock: int) -> dict[str, Path]:
        archives = {}
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=_UNFINISHED) as temporary:
            builder = find_builder(self._folder / "buildah")
            secrets = build_secrets(Path(temporary), environ=self._environ)
            for each in recipes:
                context = _copy(each, Path(temporary) / each.name)
                # The key of the copy, because the source may change meanwhile.
                archives[each.name] = archive = self._archive(each, context)
                self._add_inputs(each, context)
                build = Build(
                    context=context,
                    reference=each.reference,
                    base=self._base(builder, lock=lock) if each.based else None,
                    secrets=secrets,
                    stage=each.stage,
                )
                duration = f"the first time some {each.minutes:g} min"
                with self._progress.step(f"building {each.reference} with {builder.name} ({duration})"):
                    builder.build(build, lock=lock)
                    unfinished = Path(temporary) / archive.name
                    builder.save(each.reference, unfinished)
                    unfinished.rename(archive)
                    builder.tidy(each.reference)
                self._prune(each, newest=archive)
        return archives

    def _base(self, builder: Builder, *, lock: int) -> str:
        """The name of the base image: from a registry, or made from Debian's packages."""
        archive = bootstrapped_archive(self._folder)
        made = f"{_LOCAL_BASE}:{archive.stem.removeprefix('base-')}"
        for reference in (BASE_IMAGE, made):
            if builder.has(reference):
                return reference
        if not archive.exists():
            with self._progress.step(f"fetching {BASE_IMAGE}"):
                if builder.pull(BASE_IMAGE):
                    return BASE_IMAGE
            self._progress.say(f"No image registry answers for {BASE_IMAGE}; building a base from Debian's packages.")
            with self._progress.step("building the base image from Debian's packages (some 45 s)"):
                bootstrap(archive, lock=lock)
        builder.add_base(archive, made)
        return made

    def _add_inputs(self, recipe: Recipe, context: Path) -> None:
        """Adds inputs that are not files of the source; the recipe's `inputs` represent them in the key."""
        if recipe.name == "pause":
            compiler = which("gcc", package="gcc libc6-dev")
            argv = [compiler, "-static", "-Os", "-s", "-o", str(context / "pause"), str(context / "pause.c")]
            run(argv, doing="compiling pause.c")
        if recipe.name in {"minio", "kube-rbac-proxy"}:
            shutil.copy2(self._binaries.obtain([recipe.name])[recipe.name], context / recipe.name)

    def _prune(self, recipe: Recipe, *, newest: Path) -> None:
        """Keeps the new archive and the one before, which another run may be loading."""
        others = [path for path in self._folder.glob(f"{recipe.name}-*.tar") if path != newest]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[_KEPT_ARCHIVES - 1 :]:
            path.unlink(missing_ok=True)


def load(archive: Path, *, address: Path) -> None:
    """Loads the image of an archive into the containerd at the socket `address`, for Kubernetes.

    Raises:
        ProgramMissing: ctr is not installed.
        BuildFailed: containerd refused the image.
    """
    ctr = which("ctr", package="containerd")
    if not address.exists():
        raise LocalClusterError(f"There is no containerd at {address}. Start the node: gatehouse local up --node")
    run(
        [ctr, f"--address={address}", "--namespace=k8s.io", "images", "import", str(archive)],
        doing=f"loading {archive.name} into containerd at {address}",
    )


def _copy(recipe: Recipe, target: Path) -> Path:
    """Copies only the files of the image, so that the key and the build see the same files."""
    source = CHECKOUT / recipe.context
    for file in context_files(source, entries=_entries(recipe, source)):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / file, target / file)
    return target


def _entries(recipe: Recipe, context: Path) -> tuple[str, ...]:
    if recipe.context != ".":
        return (".",)
    return ("Dockerfile", ".dockerignore", *allowed((context / ".dockerignore").read_text()))
