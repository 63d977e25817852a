"""The one connection to a database, and the meaning of its errors."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gatehouse.registry.address import Credentials, Target
from gatehouse.registry.drivers import driver_for
from gatehouse.registry.failures import Cause, Failure
from gatehouse.registry.tokens import ends_at, says_expired

__all__ = ["Connector"]

_LONGEST_DETAIL = 300


class Connector:
    """An engine with at most one connection. Its URL has no credentials; its errors show no parameters."""

    def __init__(self, target: Target) -> None:
        kind = target.address.kind
        self.name = str(target.address)
        self.driver = driver_for(kind)
        self._target = target
        self._secrets = target.credentials.secrets
        driver = self.driver
        self._file = target.address.file
        self._opened: tuple[int, int] | None = None

        def connect() -> Any:
            connection = driver.connect(self._target)
            self._opened = _identity(self._file)
            return connection

        isolation = {} if kind == "sqlite" else {"isolation_level": "READ COMMITTED"}
        self.engine: Engine = create_engine(
            driver.URL,
            creator=connect,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            hide_parameters=True,
            **isolation,
        )
        event.listen(self.engine, "begin", driver.begin)

    def renew(self, credentials: Credentials) -> None:
        """Uses these credentials for the next connection; an open connection stays. Callable from any thread."""
        # A server that is answering a request may still repeat the old token in its message.
        self._secrets = (*credentials.secrets, *self._target.credentials.secrets)
        self._target = replace(self._target, credentials=credentials)

    def moved(self) -> bool:
        """Whether SQLite's file was replaced or removed after it was opened, as when a backup is restored."""
        return self._opened is not None and _identity(self._file) != self._opened

    def failure_of(self, error: SQLAlchemyError | OSError, *, connected: bool) -> Failure:
        """Classifies an error of the engine. Removes secrets from its message, in case a server repeats them."""
        if isinstance(error, DBAPIError):
            cause, words = self.driver.cause_of(error.orig)
        elif isinstance(error, ssl.SSLError):
            cause, words = Cause.CERTIFICATE, error.reason or type(error).__name__
        elif isinstance(error, OSError):
            cause, words = Cause.UNAVAILABLE, error.strerror or type(error).__name__
        else:
            cause, words = Cause.OTHER, type(error).__name__
        if cause is Cause.DENIED and self._target.address.token:
            cause, words = self._of_token(words)
        return Failure(cause=cause, connected=connected, database=self.name, detail=self._clean(words))

    def _of_token(self, words: str) -> tuple[Cause, str]:
        """Whether an expired token caused the refusal, by the server's message or by the token itself."""
        end = ends_at(self._target.credentials.password or "")
        if end is not None and end <= datetime.now(UTC):
            return Cause.EXPIRED, f"{words}; it ended at {end:%Y-%m-%dT%H:%M:%SZ}"
        return (Cause.EXPIRED if says_expired(words) else Cause.DENIED), words

    def _clean(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(secret, "***")
        line = " ".join(words.split())
        return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}…"


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Device and inode; None for no file."""
    if file is None:
        return None
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
