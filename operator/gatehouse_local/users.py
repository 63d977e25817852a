"""The users of the local API server: people and machines, each with a token."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from gatehouse_local.node.objects import NODE_NAME

__all__ = [
    "ADMIN",
    "CONTROLLERS",
    "DNS_USER",
    "MACHINES",
    "NODE_USER",
    "OPERATOR_USER",
    "PEOPLE",
    "PROXY_USER",
    "SCHEDULER_USER",
    "SERVER_USER",
    "User",
    "new_tokens",
    "render_kubeconfig",
    "token_file",
]


@dataclass(frozen=True, slots=True)
class User:
    """The user of a token."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN: Final = "admin"
OPERATOR_USER: Final = "gatehouse-operator"
SERVER_USER: Final = "gatehouse-server"
# Kubernetes itself binds these names and the group of nodes to sufficient rights; admission knows the first one.
CONTROLLERS: Final = "system:kube-controller-manager"
SCHEDULER_USER: Final = "system:kube-scheduler"
PROXY_USER: Final = "system:kube-proxy"
NODE_USER: Final = f"system:node:{NODE_NAME}"
DNS_USER: Final = "gatehouse-local-dns"
PEOPLE: Final = (
    User(ADMIN, ("system:masters",)),
    User("ai-admin", ("rhoai-admins",)),
    User("ai-developer", ("rhoai-users",)),
    User("data-scientist", ("data-scientists",)),
)
MACHINES: Final = (
    User(OPERATOR_USER),
    User(SERVER_USER),
    User(CONTROLLERS, ("system:masters",)),
    User(SCHEDULER_USER),
    User(PROXY_USER),
    User(NODE_USER, ("system:nodes",)),
    User(DNS_USER),
)
_USERS: Final = (*PEOPLE, *MACHINES)


def new_tokens() -> dict[str, str]:
    """A fresh random token for each user."""
    return {user.name: secrets.token_urlsafe(32) for user in _USERS}


def token_file(tokens: Mapping[str, str]) -> str:
    """The content of the API server's token file, in CSV."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for user in _USERS:
        # An empty fourth column would mean a group without a name.
        groups = [",".join(user.groups)] if user.groups else []
        writer.writerow([tokens[user.name], user.name, user.name, *groups])
    return lines.getvalue()


def render_kubeconfig(users: Sequence[str], *, url: str, authority: Path, tokens: Mapping[str, str]) -> str:
    """A kubeconfig with a context for each of `users`, named like the user; the first context is current."""
    cluster = {"server": url, "certificate-authority": str(authority)}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": users[0],
            "clusters": [{"name": "gatehouse", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": tokens[user]}} for user in users],
            "contexts": [{"name": user, "context": {"cluster": "gatehouse", "user": user}} for user in users],
        },
        sort_keys=False,
    )
