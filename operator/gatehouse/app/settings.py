"""Every setting of the operator process, declared once.

Flags, environment variables, the keys of the file and ``docs/settings.md`` all follow from the fields of
:class:`Settings`. :mod:`gatehouse.app.settings_declared` derives the names; :mod:`gatehouse.app.settings_sources` reads
the values. The help of the flags imports the declaration, so the declaration needs the standard library only.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gatehouse.runtime.lease import LeaderOptions

__all__ = ["SECONDS", "Settings", "ValueKind", "default_identity", "short_duration"]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_LEASE: Final = LeaderOptions()
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_LEVELS: Final = ("debug", "info", "warning", "error")
_SWITCH: Final = {"1": True, "on": True, "t": True, "true": True, "y": True, "yes": True} | {
    "0": False,
    "off": False,
    "f": False,
    "false": False,
    "n": False,
    "no": False,
}


@dataclass(frozen=True, slots=True)
class ValueKind:
    """A kind of value: ``wanted`` names the kind in an error, ``placeholder`` in the help of a flag.

    ``read`` makes the value of text or of plain YAML. The errors of ``read`` are ValueError, TypeError, LookupError and
    OverflowError.
    """

    wanted: str
    placeholder: str
    read: Callable[[Any], Any]

    def within(self, low: float, high: float) -> ValueKind:
        """The numbers of this kind from ``low`` to ``high``."""

        def read(value: Any) -> Any:
            number = self.read(value)
            if not low <= number <= high:
                raise ValueError(number)
            return number

        between = f"from {low} to {high}"
        if self.placeholder == "DURATION":
            between = f"from {short_duration(low)} to {short_duration(high)}, as in 90s or 1h30m"
        return replace(self, wanted=f"{self.wanted} {between}", read=read)


def short_duration(seconds: float) -> str:
    """A duration in the largest unit that leaves a whole number."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _seconds(value: Any) -> float:
    """A Go duration as in ``1h30m``, or a number of seconds."""
    if isinstance(value, str):
        text = value.strip()
        parts = _PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    return float(_number(value))


def _whole_seconds(value: Any) -> float:
    return float(_whole(_seconds(value)))


def _whole(value: Any) -> int:
    number = int(value) if isinstance(value, str) else value
    if int(_number(number)) != number:
        raise ValueError(value)
    return int(number)


def _number(value: Any) -> Any:
    """The value; Python takes True for 1, and the digits of every script."""
    if isinstance(value, bool) or not str(value).isascii():
        raise ValueError(value)
    return value


def _path(value: Any) -> Path:
    return Path(value)


def _yes_or_no(value: Any) -> bool:
    return _SWITCH[str(value).lower()]


def _level(value: Any) -> str:
    return _LEVELS[_LEVELS.index(value.strip().lower() if isinstance(value, str) else value)]


def _address(value: Any) -> str:
    """``HOST:PORT``, or ``0``, which YAML reads as a number."""
    if str(value) == "0":
        return "0"
    host, _, port = _text(value).rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= 65535:
        raise ValueError(value)
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _matching(pattern: str) -> Callable[[Any], str]:
    matches = re.compile(pattern).fullmatch

    def read(value: Any) -> str:
        if matches(_text(value)) is None:
            raise ValueError(value)
        return str(value)

    return read


def _listed(pattern: str) -> Callable[[Any], tuple[str, ...]]:
    """A list, or its members with commas between them."""
    member = _matching(pattern)

    def read(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return tuple(map(member, value))

    return read


SECONDS: Final = ValueKind("a duration", "DURATION", _seconds)
WHOLE_SECONDS: Final = ValueKind("a duration", "DURATION", _whole_seconds)
WHOLE_NUMBER: Final = ValueKind("a whole number", "NUMBER", _whole)
ADDRESS: Final = ValueKind("HOST:PORT, or 0 for none", "HOST:PORT", _address)
NAMESPACE: Final = ValueKind("the name of a namespace", "NAME", _matching(_DNS_LABEL))
NAME: Final = ValueKind("the name of an object", "NAME", _matching(_DNS_SUBDOMAIN))
NAMESPACES: Final = ValueKind("names of namespaces, with commas between them or as a list", "NAME", _listed(_DNS_LABEL))
REGISTRIES: Final = ValueKind(
    "registries as NAMESPACE/NAME, with commas between them or as a list",
    "NAMESPACE/NAME",
    _listed(f"{_DNS_LABEL}/{_DNS_SUBDOMAIN}"),
)
LOG_LEVEL: Final = ValueKind("debug, info, warning or error", "LEVEL", _level)
FILE: Final = ValueKind("a path", "PATH", _path)
WORD: Final = ValueKind("a word", "NAME", _matching(r"(?s:.){1,253}"))
YES_OR_NO: Final = ValueKind("true or false", "", _yes_or_no)


def _meta(kind: ValueKind, description: str) -> Mapping[str, Any]:
    return {"kind": kind, "description": description}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of one operator process. Times are seconds."""

    data_dir: Path = field(
        default=Path("/var/lib/gatehouse"),
        metadata=_meta(
            FILE, "Where the databases of registries on SQLite live, and the certificates of database servers."
        ),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=_meta(
            FILE, "Kubeconfig file. When absent: the Pod's service account, or else KUBECONFIG or ~/.kube/config."
        ),
    )
    context: str | None = field(
        default=None, metadata=_meta(WORD, "Context of the kubeconfig; its current one when absent.")
    )
    namespaces: tuple[str, ...] = field(
        default=(), metadata=_meta(NAMESPACES, "Watch only these namespaces; all of them when there are none.")
    )
    health_address: str = field(
        default="0.0.0.0:8081", metadata=_meta(ADDRESS, "Where /healthz, /readyz and /metrics answer; 0 for nowhere.")
    )
    log_level: str = field(
        default="info", metadata=_meta(LOG_LEVEL, "The least level that is logged, as JSON lines on stderr.")
    )
    leader_elect: bool = field(
        default=True,
        metadata=_meta(
            YES_OR_NO,
            "Work only while holding the Lease. Needed with more than one replica, and where the policy "
            "gatehouse-fencing is bound, as the overlays do.",
        ),
    )
    lease_namespace: str = field(
        default="gatehouse-system",
        metadata=_meta(NAMESPACE, "Namespace of the Lease; POD_NAMESPACE goes before the default."),
    )
    lease_name: str = field(default="gatehouse-operator", metadata=_meta(NAME, "Name of the Lease."))
    lease_duration: float = field(
        default=float(_LEASE.duration),
        metadata=_meta(
            WHOLE_SECONDS.within(3, 120),
            "How long a Lease stands without a renewal, in whole seconds. Another replica leads at the latest "
            "this and two and a half retry periods after the leader died.",
        ),
    )
    lease_renew_deadline: float = field(
        default=_LEASE.renew_deadline,
        metadata=_meta(
            SECONDS.within(1, 119),
            "How long after its last renewal the leader gives up and ends. Less than the Lease's duration.",
        ),
    )
    lease_retry_period: float = field(
        default=_LEASE.retry_period,
        metadata=_meta(
            SECONDS.within(0.2, 30), "How often the Lease is renewed, or tried for. Less than the deadline."
        ),
    )
    workers: int = field(
        default=64,
        metadata=_meta(
            WHOLE_NUMBER.within(1, 256),
            "Versions reconciled at once. Each waits most of its time, and the rows of those that wait share "
            "a transaction.",
        ),
    )
    patience: float = field(
        default=2.0,
        metadata=_meta(
            SECONDS.within(0, 60),
            "How long a reconcile waits for a check of an artifact before it shows progress instead.",
        ),
    )
    sweep_interval: float = field(
        default=600.0,
        metadata=_meta(
            SECONDS.within(10, 86_400),
            "How often the caches are compared with the API server, and templates with what they should be.",
        ),
    )
    probe_interval: float = field(
        default=60.0,
        metadata=_meta(
            SECONDS.within(1, 3_600),
            "How often the database and the object stores of a registry are asked, and its rows compared with "
            "the objects; and how often KServe's configuration is read.",
        ),
    )
    service_interval: float = field(
        default=15.0,
        metadata=_meta(
            SECONDS.within(1, 3_600),
            "How often the API server is asked whether it serves InferenceServices, while they are not "
            "watched. The watch tells which version runs in which stage.",
        ),
    )
    secret_interval: float = field(
        default=60.0,
        metadata=_meta(
            SECONDS.within(1, 3_600),
            "How long a rotated Secret may go unnoticed while the old one still works. One that is refused is "
            "read again at once.",
        ),
    )
    workload_identity_for: tuple[str, ...] = field(
        default=(),
        metadata=_meta(
            REGISTRIES,
            "ModelRegistries whose stores may be read with the operator's own identity at the cloud "
            "(workloadIdentity of an object store). It may read more than the author of a registry: none by default.",
        ),
    )
    audit_key: Path | None = field(
        default=None,
        metadata=_meta(
            FILE,
            "Private ed25519 key in PEM that checkpoints of the audit trails are signed with. Without one the "
            "records are chained, and nothing is signed.",
        ),
    )
    audit_checkpoint_interval: float = field(
        default=300.0,
        metadata=_meta(
            SECONDS.within(1, 86_400),
            "How often a checkpoint of an audit trail is signed when there are new records, where the registry "
            "does not say. There is one at least each 1,000 records.",
        ),
    )
    shutdown_grace: float = field(
        default=20.0,
        metadata=_meta(
            SECONDS.within(0, 300),
            "How long reconciles in flight may take to end when the process is asked to stop. Less than the "
            "Pod's terminationGracePeriodSeconds.",
        ),
    )
    stall_limit: float = field(
        default=300.0,
        metadata=_meta(
            SECONDS.within(10, 3_600),
            "How long work may be ready while no worker makes progress before /healthz fails.",
        ),
    )

    @property
    def leader_options(self) -> LeaderOptions:
        """Raises ValueError when the times contradict each other."""
        return LeaderOptions(
            duration=int(self.lease_duration),
            renew_deadline=self.lease_renew_deadline,
            retry_period=self.lease_retry_period,
        )

    def __post_init__(self) -> None:
        _ = self.leader_options


def default_identity() -> str:
    """The Pod's name, or the host's, and something that two lives of one Pod do not share."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid4().hex[:8]}"
