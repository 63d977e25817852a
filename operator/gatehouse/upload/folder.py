"""The files of a folder as objects: names, sizes, identities. Only safe links are followed.

A link may lead to a file below the folder, or, where the folder is a snapshot in the cache of Hugging Face, to the
cache's blobs. Any other link could publish a file by accident: a downloaded model may contain a link to a private key.
The scan leaves out names that begin with a dot, files that tools leave behind, and the manifest that Gatehouse writes.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gatehouse.domain.artifact.foreign import left_by
from gatehouse.domain.artifact.layout import MANIFEST, MAX_FILES
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import shown
from gatehouse.errors import InputInvalid

__all__ = ["FileIdentity", "FolderFiles", "LocalFile", "scan"]

_MAX_DEPTH: Final = 32
_MAX_LEFT_OUT: Final = 1_000


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Properties that change when a file is written or replaced."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """The identity in the result of a stat."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """One file: its path in the artifact (bytes that are not UTF-8 as lone surrogates) and its real path."""

    path: str
    real: Path
    identity: FileIdentity

    @property
    def size(self) -> int:
        """Bytes."""
        return self.identity.size


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFiles:
    """The content of a folder; ``left_out`` are files and folders that are not sent."""

    root: Path
    files: tuple[LocalFile, ...]
    left_out: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()


def scan(root: Path, *, exclude: Sequence[str] = (), follow_links: bool = False) -> FolderFiles:
    """Lists every file below ``root``, at most one more than an artifact may have.

    ``exclude`` are shell patterns for paths, in which a star also matches slashes. With ``follow_links`` links may
    lead anywhere. Rules of the problems: LinkBroken, LinkLoop, LinkOutside, NotAFile, TooDeep. Raises InputInvalid when
    ``root`` is no folder, OSError when something cannot be read.
    """
    if not root.is_dir():
        raise InputInvalid(f"{root} is no folder; expected: the folder that holds the files of one model")
    resolved = root.resolve()
    walk = _Walk(resolved, exclude=tuple(exclude), inside=None if follow_links else _allowed(root, resolved))
    files = tuple(walk.files(resolved, "", ()))
    return FolderFiles(root=resolved, files=files, left_out=tuple(walk.left_out), problems=tuple(walk.problems))


def _allowed(root: Path, resolved: Path) -> tuple[Path, ...]:
    """The folders that links may lead into."""
    for folder in (Path(os.path.abspath(root)), resolved):  # noqa: PTH100 - resolve() would follow the links
        # models--org--name/snapshots/<revision>/config.json -> ../../blobs/<hash>
        if folder.parent.name == "snapshots":
            blobs = folder.parent.parent / "blobs"
            if blobs.is_dir():
                return (resolved, blobs.resolve())
    return (resolved,)


@dataclass
class _Walk:
    root: Path
    exclude: tuple[str, ...]
    inside: tuple[Path, ...] | None
    left_out: list[str] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    found: int = 0

    def files(self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[LocalFile]:
        """The files below ``folder``, whose path in the artifact is ``prefix``; ``above`` are its parent folders."""
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            self._problem("LinkLoop", prefix, "a link to a parent folder", "links to existing files")
            return
        if len(above) >= _MAX_DEPTH:
            self._problem("TooDeep", prefix, f"a folder {len(above)} levels down", f"at most {_MAX_DEPTH} levels")
            return
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            path = prefix + name
            if self._is_left_out(path, name):
                self._leave_out(path)
            elif self.found <= MAX_FILES:
                yield from self._entry(folder / name, path, (*above, here))

    def _entry(self, entry: Path, path: str, above: tuple[tuple[int, int], ...]) -> Iterator[LocalFile]:
        try:
            real = entry.resolve(strict=True)
            status = real.stat()
        except FileNotFoundError:
            self._problem("LinkBroken", path, "a link to a missing file", "links to existing files")
            return
        except (RuntimeError, OSError) as error:
            if isinstance(error, OSError) and not entry.is_symlink():
                raise
            self._problem("LinkLoop", path, "a link that leads to itself", "links to existing files")
            return
        if entry.is_symlink() and not self._may_follow(real):
            self._problem(
                "LinkOutside",
                path,
                f"a link to {shown(str(real))}, outside the folder",
                "links to files of the folder, or of the Hugging Face cache that it is in",
                "Copy the file into the folder, or use --follow-links to publish the target of the link.",
            )
        elif stat.S_ISDIR(status.st_mode):
            yield from self.files(real, f"{path}/", above)
        elif stat.S_ISREG(status.st_mode):
            self.found += 1
            yield LocalFile(path=path, real=real, identity=FileIdentity.of(status))
        else:
            self._problem("NotAFile", path, "a device, socket or pipe", "files and folders")

    def _may_follow(self, real: Path) -> bool:
        return self.inside is None or any(real.is_relative_to(folder) for folder in self.inside)

    def _is_left_out(self, path: str, name: str) -> bool:
        return (
            name.startswith(".")
            or path == MANIFEST
            or left_by(path) is not None
            or any(fnmatch.fnmatchcase(path, pattern) for pattern in self.exclude)
        )

    def _leave_out(self, path: str) -> None:
        if len(self.left_out) < _MAX_LEFT_OUT:
            self.left_out.append(path)

    def _problem(
        self, rule: str, path: str, found: str, wanted: str, remedy: str = "Remove it, or leave it out with --exclude."
    ) -> None:
        self.problems.append(Finding(reason=rule, found=f"{shown(path)}: {found}", expected=wanted, remedy=remedy))
