"""Every setting of the server process, declared once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from gatehouse.app.setting_kinds import (
    ADDRESS,
    ADDRESS_OR_NONE,
    DATE,
    FILE,
    LOG_LEVEL,
    REGISTRY,
    SECONDS,
    WHOLE_NUMBER,
    WORD,
    WORDS,
    YES_OR_NO,
    ValueKind,
    matching,
    one_of,
    setting_of,
)
from gatehouse.app.settings import ProcessSettings, SettingsContradiction

__all__ = ["ProxyHeaders", "ServerSettings"]

ProxyHeaders = Literal["none", "kubeflow", "x-remote"]
_PREFIX: Final = matching(r"[^\s,|]{2,100}")


def _group_prefix(value: Any) -> str:
    """A prefix that no group of the API server's own begins with."""
    prefix = _PREFIX(value)
    if prefix.startswith("system:") or "system:".startswith(prefix):
        raise ValueError("a prefix of the API server's own groups")
    return prefix


HEADER_FAMILY: Final = ValueKind("none, kubeflow or x-remote", "FAMILY", one_of(("none", "kubeflow", "x-remote")))
GROUP_PREFIX: Final = ValueKind(
    "at least two characters without a blank, a comma or a bar, and not system:", "PREFIX", _group_prefix
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings(ProcessSettings):
    """Settings of one server process. Times are seconds."""

    command: ClassVar[str] = "gatehouse server"

    listen_address: str = field(
        default="127.0.0.1:8080",
        metadata=setting_of(
            ADDRESS, "Where the REST API answers. Outside of a Pod and without TLS only this machine should reach it."
        ),
    )
    health_address: str = field(
        default="0.0.0.0:8082",
        metadata=setting_of(
            ADDRESS_OR_NONE,
            "Where /healthz, /readyz and /metrics answer without a caller's credentials; 0 for nowhere.",
        ),
    )
    registry: str | None = field(
        default=None,
        metadata=setting_of(
            REGISTRY, "The ModelRegistry that the server shows. When absent: the only one of the cluster."
        ),
    )
    data_dir: Path = field(
        default=Path("/var/lib/gatehouse"),
        metadata=setting_of(
            FILE, "The operator's dataDir, where the registry's database is SQLite; certificates of database servers."
        ),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE,
            "Kubeconfig file of the server itself. When absent: the Pod's service account, or else KUBECONFIG "
            "or ~/.kube/config. A call for the owner of a bearer token is made with that token alone.",
        ),
    )
    context: str | None = field(
        default=None, metadata=setting_of(WORD, "Context of the kubeconfig; its current one when absent.")
    )
    log_level: str = field(
        default="info",
        metadata=setting_of(
            LOG_LEVEL, "The least level that is logged, as JSON lines on stderr. Tokens are never logged."
        ),
    )
    audiences: tuple[str, ...] = field(
        default=(),
        metadata=setting_of(
            WORDS,
            "Audiences of which a bearer token must have one. When there are none: those of the API server. The"
            " API server itself takes a token for writes only with an audience of its own.",
        ),
    )
    anonymous_reads: bool = field(
        default=False,
        metadata=setting_of(
            YES_OR_NO,
            "Calls without credentials read as system:anonymous, which needs a binding in RBAC for that user or"
            " for the group system:unauthenticated. They never write.",
        ),
    )
    loopback_identity: bool = field(
        default=False,
        metadata=setting_of(
            YES_OR_NO,
            "Calls from this machine's loopback without credentials and without a proxy's headers act as the "
            "server's own service account. For Pods whose loopback only a proxy and `kubectl exec` reach.",
        ),
    )
    proxy_headers: ProxyHeaders = field(
        default="none",
        metadata=setting_of(
            HEADER_FAMILY,
            "The headers in which a proxy names the caller, if the proxy proves itself by a secret or a client "
            "certificate: kubeflow for kubeflow-userid and kubeflow-groups, x-remote for x-remote-user and "
            "x-remote-groups.",
        ),
    )
    proxy_secret: Path | None = field(
        default=None,
        metadata=setting_of(
            FILE,
            "File with the secret that the proxy sends in the header x-gatehouse-proxy-secret, one secret a "
            "line. Several lines are for a rotation.",
        ),
    )
    proxy_names: tuple[str, ...] = field(
        default=(),
        metadata=setting_of(
            WORDS, "Common names of client certificates by which a proxy proves itself. Needs tlsClientCa."
        ),
    )
    proxy_group_prefix: str | None = field(
        default=None,
        metadata=setting_of(
            GROUP_PREFIX,
            "Groups that a proxy names count only with this prefix. The server's right to impersonate groups "
            "should name the same groups.",
        ),
    )
    tls_certificate: Path | None = field(
        default=None,
        metadata=setting_of(FILE, "Certificate chain (PEM) with which the server speaks TLS. Needs tlsKey."),
    )
    tls_key: Path | None = field(default=None, metadata=setting_of(FILE, "Private key (PEM) of tlsCertificate."))
    tls_client_ca: Path | None = field(
        default=None, metadata=setting_of(FILE, "CA certificates (PEM) of client certificates. Needs tlsCertificate.")
    )
    alpha_sunset: date | None = field(
        default=None,
        metadata=setting_of(
            DATE,
            "The day on which v1alpha3 of the REST API ends; its answers say so by Deprecation, Sunset and Link.",
        ),
    )
    max_connections: int = field(
        default=512,
        metadata=setting_of(
            WHOLE_NUMBER.within(1, 10_000), "Connections at once. A further one is answered 503 and closed."
        ),
    )
    max_body: int = field(
        default=1_048_576,
        metadata=setting_of(
            WHOLE_NUMBER.within(1_024, 16_777_216), "Bytes of a request's body. A larger one is answered 413."
        ),
    )
    head_timeout: float = field(
        default=10.0,
        metadata=setting_of(SECONDS.within(0.1, 120), "How long a client may take to send the head of a request."),
    )
    body_timeout: float = field(
        default=30.0,
        metadata=setting_of(SECONDS.within(0.1, 600), "How long a client may take to send the body of a request."),
    )
    send_timeout: float = field(
        default=30.0, metadata=setting_of(SECONDS.within(0.1, 600), "How long a client may leave an answer unread.")
    )
    keep_alive: float = field(
        default=30.0, metadata=setting_of(SECONDS.within(1, 600), "How long a connection without a request stays open.")
    )
    shutdown_grace: float = field(
        default=20.0,
        metadata=setting_of(
            SECONDS.within(0, 300),
            "How long requests in flight may take to end when the process is asked to stop. Less than the Pod's"
            " terminationGracePeriodSeconds.",
        ),
    )

    @property
    def registry_key(self) -> tuple[str, str] | None:
        """Namespace and name of the registry, or None for the only one."""
        if self.registry is None:
            return None
        namespace, _, name = self.registry.partition("/")
        return namespace, name

    def __post_init__(self) -> None:
        self._check_tls()
        self._check_proxies()

    def _check_tls(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsContradiction(
                "one of tlsCertificate and tlsKey is set; expected: both, or none of them",
                fields=("tls_certificate", "tls_key"),
            )
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise SettingsContradiction(
                "tlsClientCa is set without tlsCertificate; expected: a server that speaks TLS",
                fields=("tls_client_ca",),
            )
        if self.proxy_names and self.tls_client_ca is None:
            raise SettingsContradiction(
                "proxyNames is set without tlsClientCa, which says whose client certificates count",
                fields=("proxy_names",),
            )

    def _check_proxies(self) -> None:
        if self.proxy_headers == "none":
            return
        if self.proxy_secret is None and not self.proxy_names:
            raise SettingsContradiction(
                f"proxyHeaders is {self.proxy_headers} and no peer can prove itself; expected: proxySecret or "
                "proxyNames",
                fields=("proxy_headers",),
            )
        if self.proxy_group_prefix is None:
            raise SettingsContradiction(
                f"proxyHeaders is {self.proxy_headers} without proxyGroupPrefix; expected: the prefix of the groups "
                "that a proxy may name",
                fields=("proxy_headers",),
            )
