"""The programs of the local cluster and their versions, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = ["KUBERNETES_VERSION", "PROGRAMS", "Program", "Use", "programs_for"]

# The same versions as in hack/controlplane/*/go.mod; a unit test compares the two.
KUBERNETES_VERSION = "v1.36.3"
_ETCD_VERSION = "v3.6.8"
_COREDNS_VERSION = "v1.13.1"
_MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_VERSITYGW_VERSION = "v1.8.0"
_KSERVE_VERSION = "v0.20.0"
_PROMETHEUS_VERSION = "v0.313.5"
"""Prometheus 3.13.5: as a Go module it has a major version of 0."""
_TRAEFIK_VERSION = "v3.7.13"
_RBAC_PROXY_VERSION = "e2519474e861"
"""The beginning of the SHA-256 of its source, which is part of this project; a unit test compares the two."""

_, _MINOR, _ = KUBERNETES_VERSION.split(".")
# Without these the API server reports v0.0.0, and clients that check its version misbehave.
_KUBERNETES_STAMP = (
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
    "-X k8s.io/component-base/version.gitMajor=1",
    f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
)


Use = Literal["control-plane", "node", "e2e"]
"""The user of a program: the control plane, a node beside it (on Linux), or only the tests of `make e2e`."""
USES: Final[tuple[Use, ...]] = get_args(Use)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program: its name, its Go package, and whether envtest's archive has it.

    `module` is the folder below `hack/controlplane`; `stamp` are flags of the linker, and `tags` those of the build;
    `minutes` is the duration of a first build on two cores.
    """

    name: str
    component: str
    version: str
    module: str
    package: str
    minutes: float
    stamp: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    in_envtest: bool = False
    used_by: Use = "control-plane"

    @property
    def folder(self) -> str:
        """The name of the program's folder in the cache."""
        return f"{self.component}-{self.version}"


def _kubernetes(name: str, *, minutes: float, in_envtest: bool = False, used_by: Use = "control-plane") -> Program:
    return Program(
        name=name,
        component="kubernetes",
        version=KUBERNETES_VERSION,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        minutes=minutes,
        stamp=_KUBERNETES_STAMP,
        in_envtest=in_envtest,
        used_by=used_by,
    )


PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
        Program(
            name="etcd",
            component="etcd",
            version=_ETCD_VERSION,
            module="kubernetes",
            package="go.etcd.io/etcd/server/v3",
            minutes=0.7,
            in_envtest=True,
        ),
        _kubernetes("kube-apiserver", minutes=3, in_envtest=True),
        _kubernetes("kubectl", minutes=0.5, in_envtest=True),
        _kubernetes("kube-controller-manager", minutes=1),
        _kubernetes("kube-scheduler", minutes=0.5, used_by="node"),
        _kubernetes("kubelet", minutes=0.7, used_by="node"),
        _kubernetes("kube-proxy", minutes=0.3, used_by="node"),
        Program(
            name="coredns",
            component="coredns",
            version=_COREDNS_VERSION,
            module="coredns",
            package="github.com/coredns/coredns",
            minutes=2.3,
            used_by="node",
        ),
        Program(
            name="minio",
            component="minio",
            version=_MINIO_VERSION,
            module="minio",
            package="github.com/minio/minio",
            minutes=2,
        ),
        Program(
            name="versitygw",
            component="versitygw",
            version=_VERSITYGW_VERSION,
            module="versitygw",
            package="github.com/versity/versitygw/cmd/versitygw",
            minutes=0.8,
        ),
        # Stands where kube-rbac-proxy would, under its name: the Go module proxy does not have that module.
        Program(
            name="kube-rbac-proxy",
            component="rbac-proxy",
            version=_RBAC_PROXY_VERSION,
            module="rbac-proxy",
            package=".",
            minutes=0.2,
            used_by="node",
        ),
        Program(
            name="kserve",
            component="kserve",
            version=_KSERVE_VERSION,
            module="kserve",
            package="github.com/kserve/kserve/cmd/manager",
            minutes=3.5,
            used_by="e2e",
        ),
        Program(
            name="kserve-llmisvc",
            component="kserve",
            version=_KSERVE_VERSION,
            module="kserve",
            package="github.com/kserve/kserve/cmd/llmisvc",
            minutes=1,
            used_by="e2e",
        ),
        Program(
            name="prometheus",
            component="prometheus",
            version=_PROMETHEUS_VERSION,
            module="prometheus",
            package="github.com/prometheus/prometheus/cmd/prometheus",
            minutes=3,
            # It finds Pods, and needs the client of no cloud to do so.
            tags=("remove_all_sd", "enable_kubernetes_sd"),
            used_by="e2e",
        ),
        Program(
            name="traefik",
            component="traefik",
            version=_TRAEFIK_VERSION,
            module="traefik",
            package="github.com/traefik/traefik/v3/cmd/traefik",
            minutes=5,
            used_by="e2e",
        ),
    )
}


def programs_for(platform: str, *, use: Use = "node") -> tuple[str, ...]:
    """The names of the programs that a use needs, with those of every earlier use in ``USES``.

    ``platform`` is a value of `sys.platform`. A node runs on Linux only.
    """
    uses = USES[: USES.index(use) + 1]
    return tuple(
        name
        for name, program in PROGRAMS.items()
        if program.used_by in uses and (platform == "linux" or program.used_by != "node")
    )
