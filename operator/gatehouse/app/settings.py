"""Every setting of the operator process, declared once, and the types of values that settings of all processes have.

Flags, environment variables, the keys of the file and ``docs/settings.md`` all follow from the fields of
:class:`Settings`; where their values come from is in :mod:`gatehouse.app.settings_sources`. The server's settings are
in :mod:`gatehouse.app.server_settings`.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from gatehouse.runtime.lease import LeaderOptions

__all__ = [
    "File",
    "HealthAddress",
    "LogLevel",
    "Named",
    "Namespaces",
    "ProcessSettings",
    "Seconds",
    "Settings",
    "SettingsContradiction",
    "WholeNumber",
    "Word",
    "YesOrNo",
    "default_identity",
    "host_and_port",
    "listed",
]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_LEASE: Final = LeaderOptions()
_DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
REGISTRY_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"


@dataclass(frozen=True, slots=True)
class Named:
    """How a type of value is called: ``wanted`` in an error, ``placeholder`` in the help of a flag."""

    wanted: str
    placeholder: str


def _seconds(value: Any) -> Any:
    """A Go duration as in ``1h30m``, or a number of seconds."""
    value = _whole(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    return text


def _whole(value: Any) -> Any:
    """The value; pydantic would take True for 1."""
    return str(value) if isinstance(value, bool) else value


def listed(value: Any) -> Any:
    """A list, or its members with commas between them."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _address(value: Any) -> Any:
    """``HOST:PORT``, or ``0``, which YAML reads as a number."""
    if value == 0 and not isinstance(value, bool):
        return "0"
    return value if value == "0" else host_and_port(value)


def host_and_port(value: Any) -> Any:
    """``HOST:PORT``. Raises ValueError for another text."""
    if not isinstance(value, str):
        return value
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= 65535:
        raise ValueError("not an address")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Named("a duration", "DURATION")]
WholeNumber = Annotated[int, BeforeValidator(_whole), Named("a whole number", "NUMBER")]
HealthAddress = Annotated[str, BeforeValidator(_address), Named("HOST:PORT, or 0 for none", "HOST:PORT")]
Namespace = Annotated[str, StringConstraints(pattern=_DNS_LABEL), Named("the name of a namespace", "NAME")]
Name = Annotated[str, StringConstraints(pattern=_DNS_SUBDOMAIN), Named("the name of an object", "NAME")]
Namespaces = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=_DNS_LABEL)], ...],
    BeforeValidator(listed),
    Named("names of namespaces, with commas between them or as a list", "NAME"),
]
Registries = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=REGISTRY_PATTERN)], ...],
    BeforeValidator(listed),
    Named("registries as NAMESPACE/NAME, with commas between them or as a list", "NAMESPACE/NAME"),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(_lower),
    Named("debug, info, warning or error", "LEVEL"),
]
File = Annotated[Path, Named("a path", "PATH")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=253), Named("a word", "NAME")]
YesOrNo = Annotated[bool, Named("true or false", "")]


class SettingsContradiction(ValueError):
    """The values of several settings contradict each other. ``fields`` are the settings."""

    def __init__(self, message: str, *, fields: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fields = fields


class ProcessSettings(BaseModel):
    """What the settings of every process have in common. Times are seconds.

    ``command`` is the command that takes the settings. ``from_pod`` names variables of the Pod that go before a
    default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)
    command: ClassVar[str]
    from_pod: ClassVar[Mapping[str, str]] = {}


class Settings(ProcessSettings):
    """Settings of one operator process."""

    command: ClassVar[str] = "gatehouse run"
    from_pod: ClassVar[Mapping[str, str]] = {"lease_namespace": "POD_NAMESPACE"}

    data_dir: File = Field(
        default=Path("/var/lib/gatehouse"),
        description="Where the databases of registries on SQLite live, and the certificates of database servers.",
    )
    kubeconfig: File | None = Field(
        default=None,
        description="Kubeconfig file. When absent: the Pod's service account, or else KUBECONFIG or ~/.kube/config.",
    )
    context: Word | None = Field(default=None, description="Context of the kubeconfig; its current one when absent.")
    namespaces: Namespaces = Field(
        default=(), description="Watch only these namespaces; all of them when there are none."
    )
    health_address: HealthAddress = Field(
        default="0.0.0.0:8081",
        description="Where /healthz, /readyz and /metrics answer; 0 for nowhere.",
    )
    log_level: LogLevel = Field(default="info", description="The least level that is logged, as JSON lines on stderr.")
    leader_elect: YesOrNo = Field(
        default=True,
        description="Work only while holding the Lease. Needed with more than one replica, and where the policy "
        "gatehouse-fencing is bound, as the overlays do.",
    )
    lease_namespace: Namespace = Field(
        default="gatehouse-system", description="Namespace of the Lease; POD_NAMESPACE goes before the default."
    )
    lease_name: Name = Field(default="gatehouse-operator", description="Name of the Lease.")
    lease_duration: Seconds = Field(
        default=_LEASE.duration,
        ge=3,
        le=120,
        multiple_of=1,
        description="How long a Lease stands without a renewal, in whole seconds. Another replica leads at the latest "
        "this and two and a half retry periods after the leader died.",
    )
    lease_renew_deadline: Seconds = Field(
        default=_LEASE.renew_deadline,
        ge=1,
        le=119,
        description="How long after its last renewal the leader gives up and ends. Less than the Lease's duration.",
    )
    lease_retry_period: Seconds = Field(
        default=_LEASE.retry_period,
        ge=0.2,
        le=30,
        description="How often the Lease is renewed, or tried for. Less than the deadline.",
    )
    workers: WholeNumber = Field(
        default=64,
        ge=1,
        le=256,
        description="Versions reconciled at once. Each waits most of its time, and the rows of those that wait share "
        "a transaction.",
    )
    patience: Seconds = Field(
        default=2.0,
        ge=0,
        le=60,
        description="How long a reconcile waits for a check of an artifact before it shows progress instead.",
    )
    sweep_interval: Seconds = Field(
        default=600.0,
        ge=10,
        le=86_400,
        description="How often the caches are compared with the API server, and templates with what they should be.",
    )
    probe_interval: Seconds = Field(
        default=60.0,
        ge=1,
        le=3_600,
        description="How often the database and the object stores of a registry are asked, and its rows compared with "
        "the objects; and how often KServe's configuration is read.",
    )
    service_interval: Seconds = Field(
        default=15.0,
        ge=1,
        le=3_600,
        description="How often the InferenceServices are listed, to tell which version runs in which stage.",
    )
    secret_interval: Seconds = Field(
        default=60.0,
        ge=1,
        le=3_600,
        description="How long a rotated Secret may go unnoticed while the old one still works. One that is refused is "
        "read again at once.",
    )
    workload_identity_for: Registries = Field(
        default=(),
        description="ModelRegistries whose stores may be read with the operator's own identity at the cloud "
        "(workloadIdentity of an object store). It may read more than the author of a registry: none by default.",
    )
    audit_key: File | None = Field(
        default=None,
        description="Private ed25519 key in PEM that checkpoints of the audit trails are signed with. Without one the "
        "records are chained, and nothing is signed.",
    )
    audit_checkpoint_interval: Seconds = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="How often a checkpoint of an audit trail is signed when there are new records, where the registry "
        "does not say. There is one at least each 1,000 records.",
    )
    shutdown_grace: Seconds = Field(
        default=20.0,
        ge=0,
        le=300,
        description="How long reconciles in flight may take to end when the process is asked to stop. Less than the "
        "Pod's terminationGracePeriodSeconds.",
    )
    stall_limit: Seconds = Field(
        default=300.0,
        ge=10,
        le=3_600,
        description="How long work may be ready while no worker makes progress before /healthz fails.",
    )

    @property
    def leader_options(self) -> LeaderOptions:
        """Raises ValueError when the times contradict each other."""
        return LeaderOptions(
            duration=int(self.lease_duration),
            renew_deadline=self.lease_renew_deadline,
            retry_period=self.lease_retry_period,
        )

    @model_validator(mode="after")
    def _lease_times_agree(self) -> Settings:
        try:
            _ = self.leader_options
        except ValueError as error:
            times = ("lease_duration", "lease_renew_deadline", "lease_retry_period")
            raise SettingsContradiction(str(error), fields=times) from error
        return self


def default_identity() -> str:
    """The Pod's name, or the host's, and something that two lives of one Pod do not share."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid4().hex[:8]}"
