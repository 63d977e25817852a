"""Every setting of the server process, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from gatehouse.app.settings import (
    REGISTRY_PATTERN,
    File,
    HealthAddress,
    LogLevel,
    Named,
    ProcessSettings,
    Seconds,
    SettingsContradiction,
    WholeNumber,
    Word,
    YesOrNo,
    host_and_port,
    listed,
)

__all__ = ["ProxyHeaders", "ServerSettings"]


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _group_prefix(value: Any) -> Any:
    """A prefix that no group of the API server's own begins with."""
    if isinstance(value, str) and (value.startswith("system:") or "system:".startswith(value)):
        raise ValueError("a prefix of the API server's own groups")
    return value


ProxyHeaders = Literal["none", "kubeflow", "x-remote"]

ListenAddress = Annotated[str, BeforeValidator(host_and_port), Named("HOST:PORT", "HOST:PORT")]
Registry = Annotated[
    str, StringConstraints(pattern=REGISTRY_PATTERN), Named("a registry as NAMESPACE/NAME", "NAMESPACE/NAME")
]
Words = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=253)], ...],
    BeforeValidator(listed),
    Named("words, with commas between them or as a list", "NAME"),
]
HeaderFamily = Annotated[ProxyHeaders, BeforeValidator(_lower), Named("none, kubeflow or x-remote", "FAMILY")]
GroupPrefix = Annotated[
    str,
    BeforeValidator(_group_prefix),
    StringConstraints(min_length=2, max_length=100, pattern=r"^[^\s,|]+$"),
    Named("at least two characters without a blank, a comma or a bar, and not system:", "PREFIX"),
]


class ServerSettings(ProcessSettings):
    """Settings of one server process."""

    command: ClassVar[str] = "gatehouse server"

    listen_address: ListenAddress = Field(
        default="127.0.0.1:8080",
        description="Where the REST API answers. Outside of a Pod and without TLS only this machine should reach it.",
    )
    health_address: HealthAddress = Field(
        default="0.0.0.0:8082",
        description="Where /healthz, /readyz and /metrics answer without a caller's credentials; 0 for nowhere.",
    )
    registry: Registry | None = Field(
        default=None,
        description="The ModelRegistry that the server shows. When absent: the only one of the cluster.",
    )
    data_dir: File = Field(
        default=Path("/var/lib/gatehouse"),
        description="The operator's dataDir, where the registry's database is SQLite; certificates of database "
        "servers.",
    )
    kubeconfig: File | None = Field(
        default=None,
        description="Kubeconfig file of the server itself. When absent: the Pod's service account, or else KUBECONFIG "
        "or ~/.kube/config. A call for the owner of a bearer token is made with that token alone.",
    )
    context: Word | None = Field(default=None, description="Context of the kubeconfig; its current one when absent.")
    log_level: LogLevel = Field(
        default="info", description="The least level that is logged, as JSON lines on stderr. Tokens are never logged."
    )
    audiences: Words = Field(
        default=(),
        description="Audiences of which a bearer token must have one. When there are none: those of the API server. "
        "The API server itself takes a token for writes only with an audience of its own.",
    )
    anonymous_reads: YesOrNo = Field(
        default=False,
        description="Calls without credentials read as system:anonymous, which needs a binding in RBAC for that user "
        "or for the group system:unauthenticated. They never write.",
    )
    loopback_identity: YesOrNo = Field(
        default=False,
        description="Calls from this machine's loopback without credentials and without a proxy's headers act as the "
        "server's own service account. For Pods whose loopback only a proxy and `kubectl exec` reach.",
    )
    proxy_headers: HeaderFamily = Field(
        default="none",
        description="The headers in which a proxy names the caller, if the proxy proves itself by a secret or a client "
        "certificate: kubeflow for kubeflow-userid and kubeflow-groups, x-remote for x-remote-user and "
        "x-remote-groups.",
    )
    proxy_secret: File | None = Field(
        default=None,
        description="File with the secret that the proxy sends in the header x-gatehouse-proxy-secret, one secret a "
        "line. Several lines are for a rotation.",
    )
    proxy_names: Words = Field(
        default=(),
        description="Common names of client certificates by which a proxy proves itself. Needs tlsClientCa.",
    )
    proxy_group_prefix: GroupPrefix | None = Field(
        default=None,
        description="Groups that a proxy names count only with this prefix. The server's right to impersonate groups "
        "should name the same groups.",
    )
    tls_certificate: File | None = Field(
        default=None, description="Certificate chain (PEM) with which the server speaks TLS. Needs tlsKey."
    )
    tls_key: File | None = Field(default=None, description="Private key (PEM) of tlsCertificate.")
    tls_client_ca: File | None = Field(
        default=None, description="CA certificates (PEM) of client certificates. Needs tlsCertificate."
    )
    max_connections: WholeNumber = Field(
        default=512,
        ge=1,
        le=10_000,
        description="Connections at once. A further one is answered 503 and closed.",
    )
    max_body: WholeNumber = Field(
        default=1_048_576,
        ge=1_024,
        le=16_777_216,
        description="Bytes of a request's body. A larger one is answered 413.",
    )
    head_timeout: Seconds = Field(
        default=10.0, ge=0.1, le=120, description="How long a client may take to send the head of a request."
    )
    body_timeout: Seconds = Field(
        default=30.0, ge=0.1, le=600, description="How long a client may take to send the body of a request."
    )
    send_timeout: Seconds = Field(
        default=30.0, ge=0.1, le=600, description="How long a client may leave an answer unread."
    )
    keep_alive: Seconds = Field(
        default=30.0, ge=1, le=600, description="How long a connection without a request stays open."
    )
    shutdown_grace: Seconds = Field(
        default=20.0,
        ge=0,
        le=300,
        description="How long requests in flight may take to end when the process is asked to stop. Less than the "
        "Pod's terminationGracePeriodSeconds.",
    )

    @property
    def registry_key(self) -> tuple[str, str] | None:
        """Namespace and name of the registry, or None for the only one."""
        if self.registry is None:
            return None
        namespace, _, name = self.registry.partition("/")
        return namespace, name

    @model_validator(mode="after")
    def _tls_agrees(self) -> ServerSettings:
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
        return self

    @model_validator(mode="after")
    def _proxies_prove_themselves(self) -> ServerSettings:
        if self.proxy_headers == "none":
            return self
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
        return self
