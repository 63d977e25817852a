"""Finds the programs of the control plane: installed, cached, downloaded or built, in this order."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from gatehouse.printing.progress import ProgressReporter, Silent
from gatehouse_local.envtest import INDEX_URL, download, unpack
from gatehouse_local.errors import DownloadUnavailable, ProgramMissing
from gatehouse_local.files import exclusive
from gatehouse_local.golang import build, find_go
from gatehouse_local.programs import KUBERNETES_VERSION, PROGRAMS, Program

__all__ = ["Binaries", "default_cache"]

_ENVTEST_FOLDER = "envtest-" + KUBERNETES_VERSION.rpartition(".")[0]
_UNFINISHED = ".unfinished-"


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/gatehouse`, or the same below `~/.cache`."""
    base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gatehouse"


class Binaries:
    """The programs of the local cluster, by name.

    `Binaries` searches `KUBEBUILDER_ASSETS`, then the cache; then it fetches envtest's release archive, or else builds
    with Go. Fetched or built programs are moved into the cache in one step, under a lock shared by all runs.
    """

    def __init__(
        self,
        *,
        cache: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        progress: ProgressReporter | None = None,
        envtest_index: str = INDEX_URL,
    ) -> None:
        self._cache = cache or default_cache(environ)
        self._environ = environ
        self._progress = progress or Silent()
        self._envtest_index = envtest_index

    def find(self, name: str) -> Path | None:
        """The program if it is already installed or cached; never downloads or builds."""
        program = _known(name)
        folders = [self._folder / program.folder]
        if program.in_envtest:
            folders.append(self._folder / _ENVTEST_FOLDER)
        if assets := self._environ.get("KUBEBUILDER_ASSETS"):
            folders.insert(0, Path(assets))
        for folder in folders:
            candidate = folder / name
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
        return None

    def obtain(self, names: Iterable[str]) -> dict[str, Path]:
        """The paths of the named programs. Fetches or builds missing programs.

        Raises:
            ProgramMissing: a program cannot be found, downloaded or built.
        """
        chosen = tuple(names)
        if self._missing(chosen):
            with exclusive(self._folder / ".lock", waiting=self._say_waiting) as lock:
                self._clear_unfinished()
                if any(program.in_envtest for program in self._missing(chosen)):
                    self._fetch_envtest()
                for program in self._missing(chosen):
                    self._build(program, lock=lock)
        return {name: self._found(name) for name in chosen}

    @property
    def _folder(self) -> Path:
        return self._cache / "bin"

    def _missing(self, names: Iterable[str]) -> list[Program]:
        return [PROGRAMS[name] for name in names if self.find(name) is None]

    def _found(self, name: str) -> Path:
        path = self.find(name)
        if path is None:
            raise ProgramMissing(
                f"{name} was installed but is missing in {self._folder}; does another process delete files there?"
            )
        return path

    def _say_waiting(self) -> None:
        self._progress.say(f"Another run is fetching or building programs into {self._folder}; waiting for it.")

    def _clear_unfinished(self) -> None:
        for leftover in self._folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _fetch_envtest(self) -> None:
        names = frozenset(program.name for program in PROGRAMS.values() if program.in_envtest)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=_UNFINISHED) as folder:
            archive = Path(folder) / "archive"
            programs = Path(folder) / "programs"
            programs.mkdir()
            try:
                with self._progress.step("downloading the envtest release"):
                    download(archive, kubernetes=KUBERNETES_VERSION, index_url=self._envtest_index)
                    unpack(archive, programs, names=names)
            except DownloadUnavailable as reason:
                self._progress.say(f"No prebuilt programs ({reason}); building them instead.")
                return
            target = self._folder / _ENVTEST_FOLDER
            shutil.rmtree(target, ignore_errors=True)
            programs.rename(target)

    def _build(self, program: Program, *, lock: int) -> None:
        go = find_go(cache=self._cache, environ=self._environ, progress=self._progress)
        target = self._folder / program.folder / program.name
        target.parent.mkdir(parents=True, exist_ok=True)
        label = f"building {program.name} {program.version} with {go} (the first time some {program.minutes:g} min)"
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=_UNFINISHED) as folder:
            output = Path(folder) / program.name
            with self._progress.step(label):
                build(program, target=output, go=go, environ=self._environ, lock=lock)
            output.rename(target)


def _known(name: str) -> Program:
    program = PROGRAMS.get(name)
    if program is None:
        raise ProgramMissing(f"{name} is not a program of the local cluster; it has {', '.join(sorted(PROGRAMS))}.")
    return program
