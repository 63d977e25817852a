"""etcd, kube-apiserver, kube-controller-manager and, for a node, kube-scheduler, with users and kubeconfigs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gatehouse_local.files import make_private, write_private
from gatehouse_local.kube import KubeClient, trust
from gatehouse_local.net import LOOPBACK, http_ready
from gatehouse_local.node import network
from gatehouse_local.pki import (
    ClientCertificate,
    KeyPair,
    ServingCertificate,
    ensure_certificate,
    ensure_client_certificate,
    ensure_key_pair,
)
from gatehouse_local.process import Server
from gatehouse_local.users import (
    ADMIN,
    CONTROLLERS,
    MACHINES,
    OPERATOR_USER,
    PEOPLE,
    SCHEDULER_USER,
    User,
    new_tokens,
    render_kubeconfig,
    token_file,
)

__all__ = [
    "ADMIN",
    "CONTROL_PLANE_PROGRAMS",
    "OPERATOR_USER",
    "ControlPlane",
    "ControlPlanePorts",
    "User",
    "new_tokens",
]

# Twice etcd's default: holds ten thousand versions with their revisions of the last minutes.
_ETCD_QUOTA_BYTES = 4 << 30
CONTROL_PLANE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
# Without a node the accounts' tokens have no use, and Pods, which never start, need no account. No client asks for the
# API's endpoints. By default the API server would advertise the address of the default route, and would not start on a
# machine without a default route.
_WITHOUT_NODE = (
    "--authorization-mode=RBAC",
    "--disable-admission-plugins=ServiceAccount",
    f"--advertise-address={LOOPBACK}",
    "--endpoint-reconciler-type=none",
)


class ControlPlanePorts(BaseModel):
    """The ports of the control plane."""

    model_config = ConfigDict(frozen=True)

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int = 0


class ControlPlane:
    """The files and the servers of one control plane.

    Args:
        home: a separate folder for data, keys and kubeconfigs.
        ports: the ports of the servers.
        tokens: a token for each user, from `new_tokens`.
        programs: the paths of `CONTROL_PLANE_PROGRAMS`, and of kube-scheduler with a node.
        node: whether Pods run. With Pods, the API server listens where they reach it and gives them service accounts;
            without, the API server listens on loopback.
    """

    def __init__(
        self,
        home: Path,
        *,
        ports: ControlPlanePorts,
        tokens: Mapping[str, str],
        programs: Mapping[str, Path],
        node: bool = False,
        without: Sequence[str] = (),
    ) -> None:
        self._home = home
        self._node = node
        self._address = network.HOST_ADDRESS if node else LOOPBACK
        self._ports = ports
        self._tokens = tokens
        self._programs = programs
        self._without = without

    @property
    def url(self) -> str:
        """The address of the API server."""
        return f"https://{self._address}:{self._ports.apiserver}"

    @property
    def authority(self) -> Path:
        """The certificate authority of the API server, a PEM file."""
        return self._home / "tls" / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with a context for each person, named like the user; `admin` is current."""
        return self._home / "kubeconfig"

    def user_kubeconfig(self, user: str) -> Path:
        """A kubeconfig with the context of one user only, so that a process gets no other rights."""
        return self._home / f"{user}.kubeconfig"

    def prepare(self) -> None:
        """Writes keys, certificates, tokens and kubeconfigs; keeps files that exist and are current."""
        make_private(self._home)
        self._certificate()
        self._service_account_keys()
        write_private(self._token_file, token_file(self._tokens))
        write_private(self.kubeconfig, self._render(*(user.name for user in PEOPLE), OPERATOR_USER))
        for machine in MACHINES:
            write_private(self.user_kubeconfig(machine.name), self._render(machine.name))

    def client(self, user: str = ADMIN) -> KubeClient:
        """A client of the API server as one of the users."""
        return KubeClient(
            host=self._address, port=self._ports.apiserver, token=self._tokens[user], tls=trust(self.authority)
        )

    def etcd(self) -> Server:
        """etcd without fsync: data survives the end of the processes, but not a power cut."""
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
                f"--bind-address={self._address}",
                f"--secure-port={self._ports.apiserver}",
                f"--tls-cert-file={certificate.certificate}",
                f"--tls-private-key-file={certificate.key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={keys.public}",
                f"--service-account-signing-key-file={keys.private}",
                f"--token-auth-file={self._token_file}",
                f"--service-cluster-ip-range={network.SERVICES}",
                "--allow-privileged=true",
                *(self._for_node() if self._node else _WITHOUT_NODE),
            ),
            settings=(token_file(self._tokens),),
            # The API server keeps no state, and stops slowly after the loss of its address.
            stop_seconds=8,
            ready=http_ready(
                self._ports.apiserver,
                "/readyz",
                host=self._address,
                tls=trust(self.authority),
                token=self._tokens[ADMIN],
            ),
        )

    def controller_manager(self) -> Server:
        """kube-controller-manager: garbage collection, namespace deletion, Jobs, Deployments, but those left out."""
        certificate = self._certificate()
        return Server(
            name="kube-controller-manager",
            argv=(
                str(self._programs["kube-controller-manager"]),
                f"--kubeconfig={self.user_kubeconfig(CONTROLLERS)}",
                f"--master={self.url}",
                "--controllers=" + ",".join(("*", "-nodeipam", *(f"-{name}" for name in self._without))),
                f"--service-account-private-key-file={self._service_account_keys().private}",
                "--leader-elect=false",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={self._ports.controller_manager}",
                f"--tls-cert-file={certificate.certificate}",
                f"--tls-private-key-file={certificate.key}",
                # Every namespace gets this authority as a ConfigMap, so that Pods trust the API server.
                *([f"--root-ca-file={self.authority}"] if self._node else []),
            ),
            settings=(self._tokens[CONTROLLERS],),
            ready=http_ready(self._ports.controller_manager, "/healthz", tls=trust(self.authority)),
        )

    def scheduler(self) -> Server:
        """kube-scheduler, needed only with a node."""
        certificate = self._certificate()
        return Server(
            name="kube-scheduler",
            argv=(
                str(self._programs["kube-scheduler"]),
                f"--kubeconfig={self.user_kubeconfig(SCHEDULER_USER)}",
                f"--master={self.url}",
                "--leader-elect=false",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={self._ports.scheduler}",
                f"--tls-cert-file={certificate.certificate}",
                f"--tls-private-key-file={certificate.key}",
            ),
            settings=(self._tokens[SCHEDULER_USER],),
            ready=http_ready(self._ports.scheduler, "/healthz", tls=trust(self.authority)),
        )

    def servers(self) -> tuple[Server, ...]:
        """All servers, in the order of their dependencies."""
        scheduler = (self.scheduler(),) if self._node else ()
        return (self.etcd(), self.apiserver(), self.controller_manager(), *scheduler)

    def addresses(self) -> dict[str, str]:
        """The address of each server, by name."""
        found = {
            "etcd": f"http://{LOOPBACK}:{self._ports.etcd}",
            "kube-apiserver": self.url,
            "kube-controller-manager": f"https://{LOOPBACK}:{self._ports.controller_manager}",
        }
        if self._node:
            found["kube-scheduler"] = f"https://{LOOPBACK}:{self._ports.scheduler}"
        return found

    def kubelet_client(self) -> ClientCertificate:
        """The certificate by which the kubelet recognises the API server; made once."""
        return ensure_client_certificate(
            self._home / "kubelet-client",
            authority="gatehouse-local-kubelet-client",
            common_name="kube-apiserver",
            organization="system:masters",
        )

    def _for_node(self) -> tuple[str, ...]:
        client = self.kubelet_client()
        return (
            f"--advertise-address={self._address}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={client.certificate}",
            f"--kubelet-client-key={client.key}",
        )

    @property
    def _token_file(self) -> Path:
        return self._home / "tokens.csv"

    def _certificate(self) -> ServingCertificate:
        return ensure_certificate(
            self._home / "tls",
            authority="gatehouse-local-kubernetes",
            addresses=(network.HOST_ADDRESS, network.API_SERVICE_ADDRESS),
        )

    def _service_account_keys(self) -> KeyPair:
        return ensure_key_pair(self._home / "tls", "service-account")

    def _render(self, *users: str) -> str:
        return render_kubeconfig(users, url=self.url, authority=self.authority, tokens=self._tokens)
