"""The base image from Debian's packages, for machines where no image registry answers."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tarfile
import tempfile
from pathlib import Path

from gatehouse_local.errors import LocalClusterError
from gatehouse_local.images.commands import run, which
from gatehouse_local.images.host import DEBIAN_MIRROR, DEBIAN_SUITE, mirror_of, read_sources

__all__ = ["bootstrap", "bootstrapped_archive"]

_PACKAGES = ("ca-certificates", "python3", "python3-venv")
_LAYOUT = 1
# Files without use in a container, and traces of the building machine.
_EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "var/cache/ldconfig", "var/log")
_DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
_FILES = ("etc/machine-id", "etc/resolv.conf", "etc/hostname", "etc/hosts", "var/cache/debconf/templates.dat-old")


def bootstrapped_archive(folder: Path) -> Path:
    """The path of the base made from Debian's packages; the file name depends on the inputs."""
    inputs = json.dumps([_LAYOUT, DEBIAN_SUITE, _PACKAGES, platform.machine()])
    return folder / f"base-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}.tar"


def bootstrap(archive: Path, *, lock: int) -> None:
    """Makes a small Debian with Python in the tar file `archive`, by debootstrap.

    Raises:
        ProgramMissing: debootstrap is not installed.
        LocalClusterError: this process is not root.
        BuildFailed: debootstrap failed; with the end of its output.
    """
    program = which("debootstrap", package="debootstrap")
    if os.geteuid() != 0:
        raise LocalClusterError("debootstrap builds the base image and needs root. Run this command as root.")
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".unfinished-") as temporary:
        root = Path(temporary) / "root"
        mirror = mirror_of(read_sources())
        packages = f"--include={','.join(_PACKAGES)}"
        # In a separate mount namespace, so that its mounts end with it, even when it is killed.
        private = [which("unshare", package="util-linux"), "--mount", "--propagation=private"]
        run(
            [*private, program, "--variant=minbase", packages, DEBIAN_SUITE, str(root), mirror],
            doing="debootstrap",
            lock=lock,
        )
        _trim(root)
        unfinished = Path(temporary) / archive.name
        # The system's tar keeps owners, links and modes exactly; Python reads the result as a check.
        run(
            [
                "tar",
                "--sort=name",
                "--numeric-owner",
                "--one-file-system",
                "-C",
                str(root),
                "-cf",
                str(unfinished),
                ".",
            ],
            doing="packing the base image",
            lock=lock,
        )
        with tarfile.open(unfinished) as made:
            made.getmember("./usr/bin/python3")
        unfinished.rename(archive)


def _trim(root: Path) -> None:
    for folder in (*_EMPTIED, *_DROPPED):
        for path in (root / folder).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for file in _FILES:
        (root / file).unlink(missing_ok=True)
    # This machine may have its own mirror; an image names Debian's mirror.
    sources = f"deb {DEBIAN_MIRROR} {DEBIAN_SUITE} main\n"
    (root / "etc/apt/sources.list").write_text(sources)
