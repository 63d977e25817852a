"""The meaning of a driver's error: who has to act, and whether the same work may be retried at once.

Drivers classify their errors into these causes. An unknown error is ``DatabaseError``, retried with backoff.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting

__all__ = ["Cause", "Failure"]

_LOOK_AGAIN = timedelta(seconds=30)


class Cause(Enum):
    """The cause of a failure."""

    UNAVAILABLE = auto()
    CONTENTION = auto()
    READ_ONLY = auto()
    DENIED = auto()
    EXPIRED = auto()
    NOT_FOUND = auto()
    CERTIFICATE = auto()
    INSECURE = auto()
    DUPLICATE = auto()
    REJECTED = auto()
    DAMAGED = auto()
    NO_TABLE = auto()
    NO_SCHEMA = auto()
    TLS_REQUIRED = auto()
    ENCODING = auto()
    SETTING = auto()
    UNENCODABLE = auto()
    TOO_LARGE = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A classified error of a driver. ``connected`` says whether a connection existed at the time of the error."""

    cause: Cause
    connected: bool
    database: str
    detail: str

    @property
    def retry_now(self) -> bool:
        """Whether an immediate retry may succeed: it renews connections and tables, and deadlocks are over."""
        lost = self.cause in {Cause.UNAVAILABLE, Cause.NO_TABLE} and self.connected
        return lost or self.cause in {Cause.CONTENTION, Cause.DUPLICATE}

    @property
    def poisoned(self) -> bool:
        """Whether one record of a batch may be at fault, so that the others need a separate transaction."""
        return self.cause in {Cause.DUPLICATE, Cause.OTHER, *_OF_THE_ROW}

    @property
    def down(self) -> bool:
        """Whether all other operations that wait for this database would now fail the same way."""
        return self.cause in {Cause.UNAVAILABLE, Cause.DAMAGED, *_OTHERS_MEND}

    @property
    def drops_connection(self) -> bool:
        """Whether to reconnect: after a failover the name may lead to a server that accepts writes."""
        return self.down or self.cause in {Cause.READ_ONLY, Cause.NO_TABLE}

    @property
    def reason(self) -> str:
        """A stable word for conditions and metrics."""
        return _WORDS[self.cause][0]

    def error(self) -> ReconcileError:
        """A new exception for each caller: a shared exception would collect all tracebacks."""
        reason, what, remedy = _WORDS[self.cause]
        message = f"Database {self.database} {what}: {self.detail}"
        if self.cause in {Cause.DAMAGED, *_OF_THE_ROW}:
            return Stalled(reason=reason, message=message, remedy=remedy)
        if self.cause in _OTHERS_MEND:
            return Waiting(reason=reason, message=message, after=_LOOK_AGAIN, remedy=remedy)
        return Transient(reason=reason, message=message, remedy=remedy)


_OTHERS_MEND = frozenset(
    {
        Cause.DENIED,
        Cause.EXPIRED,
        Cause.NOT_FOUND,
        Cause.NO_SCHEMA,
        Cause.CERTIFICATE,
        Cause.INSECURE,
        Cause.TLS_REQUIRED,
        Cause.ENCODING,
        Cause.SETTING,
    }
)
"""Causes that an administrator fixes at the server or in the ModelRegistry; until then no connection succeeds."""
_OF_THE_ROW = frozenset({Cause.REJECTED, Cause.UNENCODABLE, Cause.TOO_LARGE})
"""Causes in which the database rejects one row and accepts the others."""
_WORDS: dict[Cause, tuple[str, str, str]] = {
    Cause.UNAVAILABLE: ("DatabaseUnavailable", "cannot be reached", ""),
    Cause.CONTENTION: ("DatabaseContention", "is contended", ""),
    Cause.READ_ONLY: (
        "DatabaseReadOnly",
        "takes no writes",
        "Name the primary in the ModelRegistry, or make this server writable.",
    ),
    Cause.DENIED: (
        "DatabaseAccessDenied",
        "refuses the user",
        (
            "Check username and passwordSecret of the ModelRegistry, and that the user may create and change tables. A "
            "password that is a token of a cloud's IAM needs auth: Token, and ends: keep the Secret renewed. A user "
            "who must connect with encryption needs tls: Required."
        ),
    ),
    Cause.EXPIRED: (
        "DatabaseTokenExpired",
        "refuses the token in passwordSecret, which has expired",
        (
            "Renew the Secret, and automate its renewal before each token expires: tokens of AWS last 15 minutes, "
            "those of Azure and Google about an hour. Gatehouse reads the Secret again within a minute."
        ),
    ),
    Cause.NOT_FOUND: (
        "DatabaseNotFound",
        "does not exist on that server",
        "Create the database, or name another one in the ModelRegistry.",
    ),
    Cause.CERTIFICATE: (
        "DatabaseCertificateRejected",
        "has a certificate that the CA in caSecret did not sign",
        "Give the server a certificate for its host, and caSecret its CA; or set tls: Disabled, if no one can listen.",
    ),
    Cause.INSECURE: (
        "DatabaseInsecure",
        "asks for the password in clear text",
        (
            "Set tls: Required, or have the user authenticate by SCRAM, ed25519 or mysql_native_password. A password "
            "that is a token of a cloud's IAM (mysql_clear_password) needs auth: Token beside tls: Required."
        ),
    ),
    Cause.NO_SCHEMA: (
        "DatabaseNotFound",
        "has no schema in which the user creates tables",
        "Create a schema that the user's search_path names, and let the user create tables in it.",
    ),
    Cause.TLS_REQUIRED: (
        "DatabaseTlsRequired",
        "accepts only encrypted connections",
        (
            "Set tls: Required in the ModelRegistry, and name the CA of the server's certificate in caSecret unless it "
            "is one of the system's."
        ),
    ),
    Cause.ENCODING: (
        "DatabaseEncoding",
        "has an encoding that cannot be converted to UTF-8",
        "Create the database again with ENCODING 'UTF8' TEMPLATE template0, and copy its contents with pg_dump.",
    ),
    Cause.SETTING: (
        "DatabaseMisconfigured",
        "has a setting that does not work with Gatehouse's tables or transactions",
        (
            "Give it InnoDB with row format DYNAMIC and binlog_format ROW or MIXED. A pool in front of it must run in "
            "session or transaction mode."
        ),
    ),
    Cause.UNENCODABLE: (
        "RowRejected",
        "cannot encode a value of the row",
        "Change the value, or move the registry to a database with the encoding UTF8 (utf8mb4), which has them all.",
    ),
    Cause.TOO_LARGE: (
        "RowRejected",
        "does not accept a row of this size",
        "Raise max_allowed_packet of the server to 16 MiB or more.",
    ),
    Cause.DUPLICATE: ("RowConflict", "has that row already", ""),
    Cause.REJECTED: ("RowRejected", "rejects the row", "Change the value that the message names."),
    Cause.DAMAGED: ("DatabaseDamaged", "is damaged", "Restore it from a backup."),
    Cause.NO_TABLE: ("DatabaseError", "lacks a table", "Let the user create tables, or restore the missing one."),
    Cause.OTHER: ("DatabaseError", "answered with an error", ""),
}
