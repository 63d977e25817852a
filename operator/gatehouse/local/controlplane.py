"""etcd, kube-apiserver and kube-controller-manager on loopback, with users and a kubeconfig."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from gatehouse.local.files import make_private, write_private
from gatehouse.local.kube import KubeClient, trust
from gatehouse.local.net import LOOPBACK, http_ready
from gatehouse.local.pki import KeyPair, ServingCertificate, ensure_certificate, ensure_key_pair
from gatehouse.local.process import Server

__all__ = [
    "ADMIN",
    "CONTROL_PLANE_PROGRAMS",
    "OPERATOR_USER",
    "ControlPlane",
    "ControlPlanePorts",
    "User",
    "new_tokens",
]

# Twice etcd's default: ten thousand versions with their revisions of the last minutes fit.
_ETCD_QUOTA_BYTES = 4 << 30
CONTROL_PLANE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")


@dataclass(frozen=True, slots=True)
class User:
    """Who a token belongs to."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = "admin"
OPERATOR_USER = "gatehouse-operator"
_CONTROLLERS = "gatehouse-controller-manager"
_PEOPLE = (
    User(ADMIN, ("system:masters",)),
    User("ai-admin", ("rhoai-admins",)),
    User("ai-developer", ("rhoai-users",)),
)
_MACHINES = (User(OPERATOR_USER), User(_CONTROLLERS, ("system:masters",)))
_USERS = (*_PEOPLE, *_MACHINES)


def new_tokens() -> dict[str, str]:
    """A fresh random token for each user."""
    return {user.name: secrets.token_urlsafe(32) for user in _USERS}


class ControlPlanePorts(BaseModel):
    """The loopback ports of the control plane."""

    model_config = ConfigDict(frozen=True)

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int


class ControlPlane:
    """The files and the servers of one control plane.

    Args:
        home: a folder of its own; data, keys and kubeconfigs live in it.
        ports: where the servers listen.
        tokens: a token for each user, from `new_tokens`.
        programs: the paths of `CONTROL_PLANE_PROGRAMS`.
    """

    def __init__(
        self, home: Path, *, ports: ControlPlanePorts, tokens: Mapping[str, str], programs: Mapping[str, Path]
    ) -> None:
        self._home = home
        self._ports = ports
        self._tokens = tokens
        self._programs = programs

    @property
    def url(self) -> str:
        """The address of the API server."""
        return f"https://{LOOPBACK}:{self._ports.apiserver}"

    @property
    def authority(self) -> Path:
        """The certificate authority of the API server, a PEM file."""
        return self._home / "tls" / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with a context for each person, named like the user; `admin` is the current one."""
        return self._home / "kubeconfig"

    def user_kubeconfig(self, user: str) -> Path:
        """A kubeconfig with the context of one user only: a process given it has no other rights."""
        return self._home / f"{user}.kubeconfig"

    def prepare(self) -> None:
        """Write keys, certificates, tokens and kubeconfigs; what exists and is current is kept."""
        make_private(self._home)
        self._certificate()
        self._service_account_keys()
        write_private(self._token_file, _token_csv(self._tokens))
        write_private(self.kubeconfig, self._render(*(user.name for user in _PEOPLE), OPERATOR_USER))
        for machine in _MACHINES:
            write_private(self.user_kubeconfig(machine.name), self._render(machine.name))

    def client(self, user: str = ADMIN) -> KubeClient:
        """A client of the API server as one of the users."""
        return KubeClient(port=self._ports.apiserver, token=self._tokens[user], tls=trust(self.authority))

    def etcd(self) -> Server:
        """etcd. It does not fsync: data outlives the processes, not a power cut."""
        client = f"http://{LOOPBACK}:{self._ports.etcd}"
        peer = f"http://{LOOPBACK}:{self._ports.etcd_peer}"
        return Server(
            name="etcd",
            argv=(
                str(self._programs["etcd"]),
                f"--data-dir={make_private(self._home / 'etcd')}",
                "--unsafe-no-fsync",
                f"--quota-backend-bytes={_ETCD_QUOTA_BYTES}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--log-level=warn",
            ),
            ready=http_ready(self._ports.etcd, "/health"),
        )

    def apiserver(self) -> Server:
        """kube-apiserver, with RBAC and the users of the token file."""
        certificate = self._certificate()
        keys = self._service_account_keys()
        return Server(
            name="kube-apiserver",
            argv=(
                str(self._programs["kube-apiserver"]),
                f"--etcd-servers=http://{LOOPBACK}:{self._ports.etcd}",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={self._ports.apiserver}",
                f"--tls-cert-file={certificate.certificate}",
                f"--tls-private-key-file={certificate.key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={keys.public}",
                f"--service-account-signing-key-file={keys.private}",
                "--authorization-mode=RBAC",
                f"--token-auth-file={self._token_file}",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--disable-admission-plugins=ServiceAccount",
                "--allow-privileged=true",
            ),
            settings=(_token_csv(self._tokens),),
            ready=http_ready(self._ports.apiserver, "/readyz", tls=trust(self.authority), token=self._tokens[ADMIN]),
        )

    def controller_manager(self) -> Server:
        """kube-controller-manager: garbage collection, namespace deletion, Jobs, Deployments."""
        certificate = self._certificate()
        return Server(
            name="kube-controller-manager",
            argv=(
                str(self._programs["kube-controller-manager"]),
                f"--kubeconfig={self.user_kubeconfig(_CONTROLLERS)}",
                f"--master={self.url}",
                "--controllers=*,-nodeipam",
                f"--service-account-private-key-file={self._service_account_keys().private}",
                "--leader-elect=false",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={self._ports.controller_manager}",
                f"--tls-cert-file={certificate.certificate}",
                f"--tls-private-key-file={certificate.key}",
            ),
            settings=(self._tokens[_CONTROLLERS],),
            ready=http_ready(self._ports.controller_manager, "/healthz", tls=trust(self.authority)),
        )

    @property
    def _token_file(self) -> Path:
        return self._home / "tokens.csv"

    def _certificate(self) -> ServingCertificate:
        return ensure_certificate(self._home / "tls", authority="gatehouse-local-kubernetes")

    def _service_account_keys(self) -> KeyPair:
        return ensure_key_pair(self._home / "tls", "service-account")

    def _render(self, *users: str) -> str:
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": users[0],
                "clusters": [{"name": "gatehouse", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": self._tokens[user]}} for user in users],
                "contexts": [{"name": user, "context": {"cluster": "gatehouse", "user": user}} for user in users],
            },
            sort_keys=False,
        )


def _token_csv(tokens: Mapping[str, str]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for user in _USERS:
        # An empty fourth column would be a group without a name.
        groups = [",".join(user.groups)] if user.groups else []
        writer.writerow([tokens[user.name], user.name, user.name, *groups])
    return lines.getvalue()
