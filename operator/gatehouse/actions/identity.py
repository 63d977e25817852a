"""Who is asking, and what the cluster lets him do: he is asked about by his own requests."""

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
    """The user of the kubeconfig as the API server knows him; groups that everybody is in are left out."""

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
    """The right that admission wants of an approver. Risk tiers are no kind: they are there for RBAC alone."""
    return Action(verb="approve", resource="risktiers", name=tier)


async def whoami(api: ApiClient) -> Person:
    """Raises ClusterError."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await api.create("selfsubjectreviews", "", body)
    user = answer["status"]["userInfo"]
    groups = sorted(set(user.get("groups", ())) - _EVERYBODY)
    return Person(name=str(user["username"]), groups=tuple(groups))


async def may(api: ApiClient, action: Action) -> bool:
    """Whether RBAC allows it. Admission may still refuse. Raises ClusterError."""
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
