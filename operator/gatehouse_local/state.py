"""The state of a local cluster between runs: ports, credentials, choices."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gatehouse_local.controlplane import ControlPlanePorts
from gatehouse_local.errors import NotUp, StateUnreadable
from gatehouse_local.files import write_private
from gatehouse_local.net import free_port, is_free
from gatehouse_local.s3 import S3Credentials, new_credentials, new_store_keys
from gatehouse_local.users import new_tokens

__all__ = ["DatabaseKind", "LocalState"]

DatabaseKind = Literal["sqlite", "mariadb", "postgres"]

# The servers of the ports below.
_LISTENERS: Mapping[str, str] = {
    "etcd": "etcd",
    "etcd_peer": "etcd",
    "apiserver": "kube-apiserver",
    "controller_manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "minio": "minio",
    "mariadb": "mariadb",
    "postgres": "postgres",
    "operator": "operator",
    "server": "server",
    "server_health": "server",
}


class LocalState(BaseModel):
    """The content of `state.json`, with every secret of the cluster: the file has mode 0600."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal[1] = 1
    database: DatabaseKind = "sqlite"
    operator: bool = True
    bare: bool = False
    node: bool = False
    gpu: bool = False
    ports: dict[str, int]
    tokens: dict[str, str] = Field(repr=False)
    access_key: str
    secret_key: str = Field(repr=False)
    store_keys: dict[str, str] = Field(default_factory=dict, repr=False)
    """The secret keys of the store's users; empty in the state of a version without users."""
    database_password: str = Field(repr=False)
    hook_token: str = Field(default="", repr=False)
    """The token of the object store's events; empty in the state of a version without events."""

    @classmethod
    def new(cls) -> Self:
        """The state of a new cluster: free ports, random credentials."""
        credentials = new_credentials()
        return cls(
            ports={},
            tokens=new_tokens(),
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            store_keys=new_store_keys(),
            database_password=secrets.token_urlsafe(24),
            hook_token=secrets.token_urlsafe(24),
        ).with_free_ports(running=frozenset())

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The state in a file; None if the file does not exist.

        Raises:
            StateUnreadable: the file is not the state of a local cluster.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, entry["loc"])) or "the whole file" for entry in error.errors())
            raise StateUnreadable(
                f"{path} is not the state of a local cluster of this version (wrong: {fields}). "
                "Stop the cluster with the version that created it, or remove the folder and start again."
            ) from None

    def save(self, path: Path) -> None:
        """Writes the state atomically."""
        write_private(path, self.model_dump_json(indent=2))

    def choose(
        self, *, database: DatabaseKind | None, operator: bool, bare: bool | None, node: bool | None, gpu: bool | None
    ) -> Self:
        """The same cluster with other choices; None keeps a choice. New users get a token or a key."""
        chosen = {"database": database, "bare": bare, "node": node, "gpu": gpu}
        changes = {name: value for name, value in chosen.items() if value is not None}
        if node is False and gpu is None:
            changes["gpu"] = False  # removed with its node
        grown = {"tokens": {**new_tokens(), **self.tokens}, "store_keys": {**new_store_keys(), **self.store_keys}}
        token = self.hook_token or secrets.token_urlsafe(24)
        return self.model_copy(update={**changes, "operator": operator, "hook_token": token, **grown})

    def with_free_ports(self, *, running: frozenset[str]) -> Self:
        """The same state with a new port for each stopped server whose port is taken."""
        ports: dict[str, int] = {}
        for name, server in _LISTENERS.items():
            port = self.ports.get(name)
            taken = frozenset({*self.ports.values(), *ports.values()})
            usable = port is not None and (server in running or is_free(port))
            ports[name] = port if port is not None and usable else free_port(avoid=taken)
        return self.model_copy(update={"ports": ports})

    @property
    def control_plane_ports(self) -> ControlPlanePorts:
        """The ports of the control plane."""
        return ControlPlanePorts.model_validate(
            {name: port for name, port in self.ports.items() if name in ControlPlanePorts.model_fields}
        )

    @property
    def s3_credentials(self) -> S3Credentials:
        """The credentials of the object store's administrator."""
        return S3Credentials(self.access_key, self.secret_key)

    def store_user(self, name: str) -> S3Credentials:
        """The credentials of a user of the object store.

        Raises:
            NotUp: the cluster was last up with a version without users.
        """
        if name not in self.store_keys:
            raise NotUp(f"The object store has no user {name} yet. Create the user with: gatehouse local up")
        return S3Credentials(name, self.store_keys[name])
