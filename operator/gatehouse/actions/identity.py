"""The person who asks, and their rights, read with requests of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.api.meta import GROUP
from gatehouse.api.registered_model import RiskTier
from gatehouse.cluster.client import ApiClient

__all__ = ["Action", "Person", "approving", "may", "may_each", "whoami"]

_EVERYBODY: Final = frozenset({"system:authenticated", "system:unauthenticated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The user as the API server knows them, without the groups that every user is in."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A verb on a resource; in every namespace when ``namespace`` is empty."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    group: str = GROUP


def approving(tier: RiskTier) -> Action:
    """The right that admission requires of an approver. Risk tiers are no kind: only RBAC knows them."""
    return Action(verb="approve", resource="risktiers", name=tier)


async def whoami(api: ApiClient) -> Person:
    """The person behind the credentials of the client. Raises ClusterError."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await api.create("selfsubjectreviews", "", body)
    user = answer["status"]["userInfo"]
    groups = sorted(set(user.get("groups", ())) - _EVERYBODY)
    return Person(name=str(user["username"]), groups=tuple(groups))


async def may(api: ApiClient, action: Action) -> bool:
    """Whether RBAC allows an action. Admission may still refuse it. Raises ClusterError."""
    attributes = {
        "verb": action.verb,
        "group": action.group,
        "resource": action.resource,
        "namespace": action.namespace,
        "name": action.name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.create("selfsubjectaccessreviews", "", body)
    return bool(answer["status"]["allowed"])


async def may_each(api: ApiClient, actions: Iterable[Action]) -> Mapping[Action, bool]:
    """The answer for each action."""
    asked = tuple(dict.fromkeys(actions))
    return dict(zip(asked, await asyncio.gather(*(may(api, action) for action in asked)), strict=True))
