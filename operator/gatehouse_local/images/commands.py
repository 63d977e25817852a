"""Runs the programs that build images."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from gatehouse_local.errors import BuildFailed, ProgramMissing

__all__ = ["run", "search_path", "succeeds", "which"]

_TAIL_LINES = 25
_PROBE_SECONDS = 20.0
# Debian installs some programs in folders that only root's PATH has.
_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path(environ: Mapping[str, str] = os.environ) -> str:
    """PATH, with the folders of system programs at its end."""
    return os.pathsep.join([environ.get("PATH", os.defpath), *_FOLDERS])


def which(program: str, *, package: str) -> str:
    """The path of a program.

    Raises:
        ProgramMissing: the program is not installed; the message names its Debian package.
    """
    found = shutil.which(program, path=search_path())
    if found is None:
        raise ProgramMissing(
            f"{program} is not on the PATH. Install it, on Debian or Ubuntu with: apt-get install {package}"
        )
    return found


def run(argv: Sequence[str], *, doing: str, environ: Mapping[str, str] | None = None, lock: int | None = None) -> str:
    """Runs a program to its end and returns its stdout.

    The program gets `lock` as its stdin: if this process is killed, no other run begins before the program ends. Other
    descriptors are not safe: debootstrap, for example, uses 3 and 4.

    Raises:
        BuildFailed: the program failed; with `doing` and the end of its output.
    """
    done = subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL if lock is None else lock,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PATH": search_path(), **(environ or {})},
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-_TAIL_LINES:])
        raise BuildFailed(f"{doing} failed with exit code {done.returncode}:\n{tail}")
    return done.stdout


def succeeds(argv: Sequence[str], *, environ: Mapping[str, str] | None = None, seconds: float = _PROBE_SECONDS) -> bool:
    """Whether a program exists and succeeds within `seconds`."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env={**os.environ, "PATH": search_path(), **(environ or {})},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
