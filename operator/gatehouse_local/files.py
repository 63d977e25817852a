"""Private files written whole, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["exclusive", "make_private", "make_traversable", "write_private"]


def make_private(path: Path) -> Path:
    """Creates `path` as a directory that only its owner may read or enter, and returns `path`."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def make_traversable(path: Path) -> Path:
    """Creates `path` as a directory that others may pass through but not list.

    The database servers run under separate accounts and keep their data below this directory.
    """
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o711)
    return path


def write_private(path: Path, content: str | bytes) -> Path:
    """Writes `path` atomically with mode 0600: a reader sees the old content or the whole new content."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


@contextlib.contextmanager
def exclusive(path: Path, *, waiting: Callable[[], None]) -> Iterator[int]:
    """Holds the lock file `path`. If another process has the lock, calls `waiting` once and waits.

    Yields the open descriptor. A child that inherits the descriptor keeps the lock after its parent was killed, so that
    the same work never runs twice at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open_locked(path, waiting)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_locked(path: Path, waiting: Callable[[], None]) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The holder may have removed the file; other processes then lock its replacement.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
