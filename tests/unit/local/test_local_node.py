from __future__ import annotations

import ipaddress
import json
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatehouse_local.errors import NodeImpossible
from gatehouse_local.node import network, preflight
from gatehouse_local.node.cgroups import NodeCgroup
from gatehouse_local.node.kubelet import kubelet_config
from gatehouse_local.node.node import corefile, namespace_of
from gatehouse_local.node.objects import gpu_status, volume, volume_names
from gatehouse_local.node.runtime import containerd_config, network_config
from gatehouse_local.programs import PROGRAMS, programs_for

V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0
"""
HYBRID = f"{V1}cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0\n"
SYSTEMD_ONLY = "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"


@pytest.mark.parametrize(
    ("machine", "user", "said"),
    [("darwin", 0, "needs Linux, and this is darwin"), ("linux", 1000, "needs root, and this is user 1000")],
)
def test_a_node_is_refused_where_it_cannot_run(machine: str, user: int, said: str) -> None:
    with pytest.raises(NodeImpossible, match=said):
        preflight.check(alias="x", machine=machine, user=user)


def test_what_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    (tmp_path / "ptp").touch()
    lacking = preflight.missing(
        which=lambda name: None if name in {"runc", "ip"} else f"/bin/{name}", cni_folders=[tmp_path]
    )
    assert lacking == {
        "runc": ["runc"],
        "iproute2": ["ip"],
        "containernetworking-plugins": [f"{name} (in {tmp_path})" for name in ("host-local", "loopback", "portmap")],
    }
    with pytest.raises(NodeImpossible, match=r"apt-get install runc iproute2 containernetworking-plugins$"):
        preflight.refuse_missing(lacking)


@pytest.mark.parametrize("owner", ["", "gatehouse-000000000000 /somewhere"])
def test_an_interface_of_somebody_else_is_in_the_way(owner: str) -> None:
    preflight.refuse_interface(None, alias="mine")
    preflight.refuse_interface("mine", alias="mine")
    with pytest.raises(NodeImpossible, match=f"gh0 belongs to .*{owner}"):
        preflight.refuse_interface(owner, alias="mine")


def test_routes_into_the_nodes_networks_are_in_the_way() -> None:
    listed = json.loads(
        """[{"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}, {"dst": "192.0.2.0/24", "dev": "eth0"},
        {"dst": "10.0.0.0/8", "dev": "vpn0"}, {"dst": "10.96.0.0/24", "dev": "gh0"}]"""
    )
    assert network.overlapping(listed) == []
    listed += [{"dst": "10.96.0.0/24", "dev": "vpn0"}, {"dst": "10.88.1.7", "dev": "docker0"}]
    found = network.overlapping(listed)
    assert found == ["10.96.0.0/24 dev vpn0", "10.88.1.7/32 dev docker0"]
    with pytest.raises(NodeImpossible, match=r"vpn0, .* dev docker0"):
        preflight.refuse_routes(found)


@given(st.lists(st.dictionaries(st.sampled_from(["dst", "dev", "type"]), st.text())))
def test_any_routes_are_understood(listed: list[dict[str, str]]) -> None:
    assert all(isinstance(line, str) for line in network.overlapping(listed))


def test_the_nodes_networks_do_not_overlap() -> None:
    networks = [ipaddress.ip_network(each) for each in (network.LINK, network.PODS, network.SERVICES)]
    assert not any(one.overlaps(other) for one in networks for other in networks if one is not other)
    assert all(ipaddress.ip_address(each) in networks[0] for each in (network.HOST_ADDRESS, network.NODE_ADDRESS))
    assert all(
        ipaddress.ip_address(each) in networks[2] for each in (network.API_SERVICE_ADDRESS, network.DNS_SERVICE_ADDRESS)
    )


@pytest.mark.parametrize(
    ("mounts", "hierarchies", "unified", "tracked_by"),
    [
        (V1, {"cpu", "memory", "pids"}, False, "pids"),
        (HYBRID, {"cpu", "memory", "pids", "unified"}, False, "pids"),
        (V2, {"cgroup"}, True, "cgroup"),
    ],
)
def test_the_cgroup_is_found_in_every_hierarchy(
    mounts: str, hierarchies: set[str], unified: bool, tracked_by: str
) -> None:
    found = NodeCgroup.find("gatehouse-0", mounts=mounts)
    assert {path.name for path in found.hierarchies} == hierarchies
    assert found.unified is unified
    assert found.join_file.relative_to("/sys/fs/cgroup").parts[-3:] == ("gatehouse-0", "servers", "cgroup.procs")
    assert found.join_file.parents[2].name == tracked_by


@pytest.mark.parametrize("mounts", ["", SYSTEMD_ONLY])
def test_without_a_memory_controller_there_is_no_node(mounts: str) -> None:
    with pytest.raises(NodeImpossible, match="memory controller"):
        NodeCgroup.find("gatehouse-0", mounts=mounts)


def test_a_node_is_named_by_its_folder_in_the_length_that_linux_allows(tmp_path: Path) -> None:
    one, other = namespace_of(tmp_path / "one" / "node"), namespace_of(tmp_path / ("x" * 200) / ("y" * 200) / "node")
    assert one.cgroup.name != other.cgroup.name
    assert one.alias == f"{one.cgroup.name} {tmp_path / 'one'}"
    assert len(other.alias) < 256


def test_the_configurations_are_well_formed() -> None:
    odd = Path('/a "folder" \\ with $signs')
    config = tomllib.loads(containerd_config(root=odd, cni_plugins=odd, cni_config=odd))
    runtime = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"] == runtime["cni"]["bin_dir"] == str(odd)
    assert runtime["sandbox_image"] == "localhost/pause:1"
    assert [plugin["type"] for plugin in json.loads(network_config())["plugins"]] == ["ptp", "portmap"]
    kubelet = yaml.safe_load(kubelet_config(cgroup_root="/x", client_authority=odd, resolv_conf=odd))
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authorization"] == {"mode": "Webhook"}
    assert "kubeconfig /some/where" in corefile(Path("/some/where"))


def test_volumes_are_of_the_default_class_and_a_gpu_can_be_taken_back() -> None:
    manifests = [volume(name, Path("/volumes") / name) for name in volume_names()]
    assert len({manifest["spec"]["local"]["path"] for manifest in manifests}) == len(manifests) == 24
    assert {manifest["spec"]["storageClassName"] for manifest in manifests} == {"standard"}
    assert gpu_status(present=True)["status"]["allocatable"] == {"nvidia.com/gpu": "1"}
    assert gpu_status(present=False)["status"]["allocatable"] == {"nvidia.com/gpu": None}


def test_the_nodes_programs_are_left_out_where_there_is_no_node() -> None:
    assert set(programs_for("linux")) - set(programs_for("darwin")) == {
        "kubelet",
        "kube-scheduler",
        "kube-proxy",
        "coredns",
        "kube-rbac-proxy",
    }


def test_what_only_tests_of_the_whole_run_is_built_for_them_only() -> None:
    assert set(programs_for("linux", use="e2e")) == set(PROGRAMS)
    assert set(PROGRAMS) - set(programs_for("linux")) == {"kserve", "kserve-llmisvc", "prometheus", "traefik"}
    assert set(programs_for("linux", use="control-plane")) == set(programs_for("darwin"))
