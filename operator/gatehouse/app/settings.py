"""Every setting of the operator process, declared once, and what the settings of all processes have in common.

Flags, environment variables, the keys of the file and ``docs/settings.md`` all follow from the fields of
:class:`Settings`. :mod:`gatehouse.app.settings_declared` derives the names; :mod:`gatehouse.app.settings_sources` reads
the values. The server's settings are in :mod:`gatehouse.app.server_settings`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Final
from uuid import uuid4

from gatehouse.app.setting_kinds import (
    ADDRESS_OR_NONE,
    FILE,
    GATEWAY,
    LOG_LEVEL,
    NAME,
    NAMESPACE,
    NAMESPACES,
    REGISTRIES,
    REGISTRY,
    SECONDS,
    WEB_ADDRESS,
    WEB_ADDRESSES,
    WHOLE_NUMBER,
    WHOLE_SECONDS,
    WORD,
    YES_OR_NO,
    setting_of,
)
from gatehouse.runtime.lease import LeaderOptions

__all__ = ["ProcessSettings", "Settings", "SettingsContradiction", "default_identity"]

_LEASE: Final = LeaderOptions()


class SettingsContradiction(ValueError):
    """The values of several settings contradict each other. ``fields`` are the settings."""

    def __init__(self, message: str, *, fields: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fields = fields


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSettings:
    """What the settings of every process have in common.

    ``command`` is the command that takes the settings. ``from_pod`` names variables of the Pod that go before a
    default.
    """

    command: ClassVar[str]
    from_pod: ClassVar[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(ProcessSettings):
    """Settings of one operator process. Times are seconds."""

    command: ClassVar[str] = "gatehouse run"
    from_pod: ClassVar[Mapping[str, str]] = MappingProxyType({"lease_namespace": "POD_NAMESPACE"})

    data_dir: Path = field(
        default=Path("/var/lib/gatehouse"),
        metadata=setting_of(
            FILE, "Where the databases of registries on SQLite live, and the certificates of database servers."
        ),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE, "Kubeconfig file. When absent: the Pod's service account, or else KUBECONFIG or ~/.kube/config."
        ),
    )
    context: str | None = field(
        default=None, metadata=setting_of(WORD, "Context of the kubeconfig; its current one when absent.")
    )
    namespaces: tuple[str, ...] = field(
        default=(), metadata=setting_of(NAMESPACES, "Watch only these namespaces; all of them when there are none.")
    )
    health_address: str = field(
        default="0.0.0.0:8081",
        metadata=setting_of(ADDRESS_OR_NONE, "Where /healthz, /readyz and /metrics answer; 0 for nowhere."),
    )
    log_level: str = field(
        default="info", metadata=setting_of(LOG_LEVEL, "The least level that is logged, as JSON lines on stderr.")
    )
    leader_elect: bool = field(
        default=True,
        metadata=setting_of(
            YES_OR_NO,
            "Work only while holding the Lease. Needed with more than one replica, and where the policy "
            "gatehouse-fencing is bound, as the overlays do.",
        ),
    )
    lease_namespace: str = field(
        default="gatehouse-system",
        metadata=setting_of(NAMESPACE, "Namespace of the Lease; POD_NAMESPACE goes before the default."),
    )
    lease_name: str = field(default="gatehouse-operator", metadata=setting_of(NAME, "Name of the Lease."))
    lease_duration: float = field(
        default=float(_LEASE.duration),
        metadata=setting_of(
            WHOLE_SECONDS.within(3, 120),
            "How long a Lease stands without a renewal, in whole seconds. Another replica leads at the latest "
            "this and two and a half retry periods after the leader died.",
        ),
    )
    lease_renew_deadline: float = field(
        default=_LEASE.renew_deadline,
        metadata=setting_of(
            SECONDS.within(1, 119),
            "How long after its last renewal the leader gives up and ends. Less than the Lease's duration.",
        ),
    )
    lease_retry_period: float = field(
        default=_LEASE.retry_period,
        metadata=setting_of(
            SECONDS.within(0.2, 30), "How often the Lease is renewed, or tried for. Less than the deadline."
        ),
    )
    workers: int = field(
        default=64,
        metadata=setting_of(
            WHOLE_NUMBER.within(1, 256),
            "Versions reconciled at once. Each waits most of its time, and the rows of those that wait share "
            "a transaction.",
        ),
    )
    patience: float = field(
        default=2.0,
        metadata=setting_of(
            SECONDS.within(0, 60),
            "How long a reconcile waits for a check of an artifact before it shows progress instead.",
        ),
    )
    sweep_interval: float = field(
        default=600.0,
        metadata=setting_of(
            SECONDS.within(10, 86_400),
            "How often the caches are compared with the API server, and templates with what they should be.",
        ),
    )
    probe_interval: float = field(
        default=60.0,
        metadata=setting_of(
            SECONDS.within(1, 3_600),
            "How often the database and the object stores of a registry are asked, and its rows compared with "
            "the objects; and how often KServe's configuration is read.",
        ),
    )
    service_interval: float = field(
        default=15.0,
        metadata=setting_of(
            SECONDS.within(1, 3_600),
            "How often the API server is asked whether it serves InferenceServices, HTTPRoutes and OpenShift's "
            "Routes, while they are not watched. The watch tells which version runs in which stage.",
        ),
    )
    pod_interval: float = field(
        default=15.0,
        metadata=setting_of(
            SECONDS.within(1, 3_600),
            "How often the Pods of InferenceServices and LLMInferenceServices are listed. What they run is compared "
            "with what is approved.",
        ),
    )
    secret_interval: float = field(
        default=60.0,
        metadata=setting_of(
            SECONDS.within(1, 3_600),
            "How long a rotated Secret may go unnoticed while the old one still works. One that is refused is "
            "read again at once.",
        ),
    )
    workload_identity_for: tuple[str, ...] = field(
        default=(),
        metadata=setting_of(
            REGISTRIES,
            "ModelRegistries whose stores may be read with the operator's own identity at the cloud "
            "(workloadIdentity of an object store). It may read more than the author of a registry: none by default.",
        ),
    )
    catalog_source: str | None = field(
        default=None,
        metadata=setting_of(
            REGISTRY,
            "ModelRegistry whose versions that are Ready to Deploy are a source of OpenShift AI's model catalog: the "
            "operator keeps an entry in the ConfigMap model-catalog-sources of its namespace. None by default.",
        ),
    )
    deployment_gateway: str | None = field(
        default=None,
        metadata=setting_of(
            GATEWAY,
            "Gateway of the HTTPRoutes of ModelDeployments that have a hostname and no gatewayRef, and one of its "
            "listeners. None by default: such a deployment gets a Route of OpenShift where that kind is.",
        ),
    )
    audit_key: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE,
            "Private ed25519 key in PEM that checkpoints of the audit trails are signed with. Without one the "
            "records are chained, and nothing is signed.",
        ),
    )
    audit_checkpoint_interval: float = field(
        default=300.0,
        metadata=setting_of(
            SECONDS.within(1, 86_400),
            "How often a checkpoint of an audit trail is signed when there are new records, where the registry "
            "does not say. There is one at least each 1,000 records.",
        ),
    )
    prometheus_address: str | None = field(
        default=None,
        metadata=setting_of(
            WEB_ADDRESS,
            "Prometheus, or what answers like it, for the analysis of deployments whose spec names no other. Without "
            "one a step named analysis is refused.",
        ),
    )
    prometheus_token_file: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE,
            "Bearer token for prometheus-address, read at each measurement. No other address gets the token, and the "
            "address needs https.",
        ),
    )
    prometheus_ca_file: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE, "Authorities in PEM that Prometheus servers may have, in addition to those of the system."
        ),
    )
    prometheus_timeout: float = field(
        default=10.0,
        metadata=setting_of(
            SECONDS.within(1, 30), "How long one query may take. All queries of a measurement end after 30s."
        ),
    )
    further_prometheus_addresses: tuple[str, ...] = field(
        default=(),
        metadata=setting_of(
            WEB_ADDRESSES,
            "Further Prometheus servers that spec.analysis.prometheus.address may name, or paths below them; none by "
            "default. The operator asks them without a token.",
        ),
    )
    webhook_addresses: tuple[str, ...] = field(
        default=(),
        metadata=setting_of(
            WEB_ADDRESSES,
            "Webhooks that steps of deployments may name, or paths below them; none by default, because the operator "
            "may reach more than the author of a deployment.",
        ),
    )
    webhook_key_file: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE,
            "Key of Standard Webhooks, as whsec_ and base64, that signs the questions to webhooks. Without one they "
            "are not signed.",
        ),
    )
    shutdown_grace: float = field(
        default=20.0,
        metadata=setting_of(
            SECONDS.within(0, 300),
            "How long reconciles in flight may take to end when the process is asked to stop. Less than the "
            "Pod's terminationGracePeriodSeconds.",
        ),
    )
    stall_limit: float = field(
        default=300.0,
        metadata=setting_of(
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
        try:
            _ = self.leader_options
        except ValueError as error:
            times = ("lease_duration", "lease_renew_deadline", "lease_retry_period")
            raise SettingsContradiction(str(error), fields=times) from error
        if self.prometheus_token_file is not None and not (self.prometheus_address or "https://").startswith(
            "https://"
        ):
            raise SettingsContradiction(
                "a token is sent by https only, and prometheus_address has http",
                fields=("prometheus_address", "prometheus_token_file"),
            )


def default_identity() -> str:
    """The Pod's name, or the host's, and something that two lives of one Pod do not share."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid4().hex[:8]}"
