from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml

from gatehouse_local.controlplane import ControlPlane
from gatehouse_local.errors import NotUp, StateUnreadable
from gatehouse_local.kube import trust
from gatehouse_local.net import LOOPBACK, free_port, is_free
from gatehouse_local.pki import ensure_certificate, ensure_key_pair
from gatehouse_local.s3 import STORE_USERS, UPLOADER
from gatehouse_local.state import LocalState


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    state = LocalState.new()
    state.save(tmp_path / "state.json")
    assert LocalState.load(tmp_path / "state.json") == state
    assert LocalState.load(tmp_path / "none.json") is None


def test_two_clusters_share_no_secret_and_no_state_shows_one() -> None:
    one, other = LocalState.new(), LocalState.new()
    assert not set(one.tokens.values()) & set(other.tokens.values())
    assert one.secret_key != other.secret_key
    assert len(set(one.ports.values())) == len(one.ports)
    shown = repr(one)
    secrets = (*one.tokens.values(), *one.store_keys.values(), one.secret_key, one.database_password)
    assert not [secret for secret in secrets if secret in shown]
    assert not set(one.store_keys.values()) & set(other.store_keys.values())
    assert one.secret_key not in repr(one.s3_credentials)


def test_each_user_of_the_store_has_a_key_of_its_own_that_minio_takes() -> None:
    state = LocalState.new()
    users = [state.store_user(name) for name in STORE_USERS]
    assert [user.access_key for user in users] == list(STORE_USERS)
    keys = {user.secret_key for user in users}
    assert len(keys | {state.secret_key}) == len(STORE_USERS) + 1
    assert all(8 <= len(key) <= 40 for key in keys)


def test_the_state_of_a_version_without_users_reads_and_up_makes_them(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    content = json.loads(LocalState.new().model_dump_json())
    del content["store_keys"]
    path.write_text(json.dumps(content))
    older = LocalState.load(path)
    assert older is not None
    with pytest.raises(NotUp, match=r"has no user gatehouse-uploader yet\. Create the user with: gatehouse local up"):
        older.store_user(UPLOADER)
    up = older.choose(database=None, operator=True, bare=None, node=None, gpu=None)
    assert up.store_keys.keys() == STORE_USERS.keys()
    again = up.choose(database=None, operator=True, bare=None, node=None, gpu=None)
    assert again.store_keys == up.store_keys


def test_a_port_is_kept_unless_a_stranger_has_it() -> None:
    state = LocalState.new()
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, state.ports["minio"]))
        stranger.listen()
        assert not is_free(state.ports["minio"])
        moved = state.with_free_ports(running=frozenset())
        assert state.with_free_ports(running=frozenset({"minio"})) == state, "its own server has it"
    assert moved.ports["minio"] != state.ports["minio"]
    assert {**moved.ports, "minio": 0} == {**state.ports, "minio": 0}


def test_what_is_not_chosen_stays_and_new_users_get_a_token() -> None:
    known = LocalState.new().choose(database=None, operator=False, bare=True, node=True, gpu=True)
    older = known.model_copy(update={"tokens": {"admin": known.tokens["admin"]}})
    chosen = older.choose(database="mariadb", operator=True, bare=None, node=None, gpu=False)
    assert (chosen.database, chosen.operator, chosen.bare, chosen.node, chosen.gpu) == (
        "mariadb",
        True,
        True,
        True,
        False,
    )
    assert not known.choose(database=None, operator=True, bare=None, node=False, gpu=None).gpu, "it goes with its node"
    assert chosen.tokens.keys() == known.tokens.keys()
    assert chosen.tokens["admin"] == known.tokens["admin"]


def test_a_certificate_that_lacks_an_address_is_made_anew(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, authority="a").authority.read_bytes()
    second = ensure_certificate(tmp_path, authority="a", addresses=["10.88.0.1"]).authority.read_bytes()
    assert second != first
    assert ensure_certificate(tmp_path, authority="a").authority.read_bytes() == second, "one that names more will do"


def test_a_port_to_avoid_is_not_given() -> None:
    taken = frozenset(range(20000, 31999))
    assert free_port(avoid=taken) == 31999


@pytest.mark.parametrize("content", ["", "[]", '{"layout": 2}', "\x00"])
def test_a_foreign_state_file_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(StateUnreadable, match="is not the state of a local cluster of this version"):
        LocalState.load(path)


def test_a_broken_state_file_does_not_leak_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    LocalState.new().model_copy(update={"tokens": {"admin": "hush"}}).save(path)
    path.write_text(path.read_text().replace('"hush"', '["hush"]'))
    with pytest.raises(StateUnreadable) as refused:
        LocalState.load(path)
    assert "tokens.admin" in str(refused.value)
    assert "hush" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_certificates_and_keys_are_made_once(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, authority="a")
    pair = ensure_key_pair(tmp_path, "service-account")
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert ensure_certificate(tmp_path, authority="a") == first
    assert ensure_key_pair(tmp_path, "service-account") == pair
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content
    assert len(trust(first.authority).get_ca_certs()) == 1


def test_a_half_made_certificate_is_made_anew(tmp_path: Path) -> None:
    first = ensure_certificate(tmp_path, authority="a")
    before = first.authority.read_bytes()
    first.key.unlink()
    again = ensure_certificate(tmp_path, authority="a")
    assert again.key.exists()
    assert again.authority.read_bytes() != before


def test_a_machines_kubeconfig_holds_no_other_token(tmp_path: Path) -> None:
    state = LocalState.new()
    plane = ControlPlane(tmp_path, ports=state.control_plane_ports, tokens=state.tokens, programs={})
    plane.prepare()
    config = yaml.safe_load(plane.user_kubeconfig("gatehouse-operator").read_text())
    assert [entry["name"] for entry in config["contexts"]] == ["gatehouse-operator"]
    assert [entry["user"]["token"] for entry in config["users"]] == [state.tokens["gatehouse-operator"]]
    people = yaml.safe_load(plane.kubeconfig.read_text())
    assert people["current-context"] == "admin"
    assert {entry["name"] for entry in people["contexts"]} == {
        "admin",
        "ai-admin",
        "ai-developer",
        "data-scientist",
        "gatehouse-operator",
    }
