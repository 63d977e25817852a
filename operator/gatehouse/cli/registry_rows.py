"""What a registry's database holds, for commands: read by its URL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gatehouse.cli.connection import fail, fail_for
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.registry.address import DatabaseUrlError, Target, target_of_url
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.readers import Trails, VersionRows, load_version_rows, open_trails

__all__ = ["rows_of", "trails_of"]


def rows_of(keys: Sequence[VersionKey], *, database: str, ca: Path | None) -> list[VersionRows]:
    """The rows of each key; ends the command with code 2 when they cannot be read."""
    try:
        with _target(database, ca) as target:
            return load_version_rows(target, keys)
    except ReconcileError as error:
        fail_for(error)
    except (DatabaseUrlError, OSError) as error:
        fail(str(error))


@contextmanager
def trails_of(database: str, *, ca: Path | None) -> Iterator[Trails]:
    """The audit trails at one moment. Raises DatabaseUrlError, OSError and ReconcileError."""
    with _target(database, ca) as target, open_trails(target) as trails:
        yield trails


@contextmanager
def _target(database: str, ca: Path | None) -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-rows-") as folder:
        yield target_of_url(database, ca=ca, data_dir=Path(folder))
