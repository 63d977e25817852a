"""Who asks: the person and their rights, from any authorizer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from gatehouse.api.meta import GROUP
from gatehouse.api.registered_model import RiskTier
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.governance.eligibility import Reviewer
from gatehouse.domain.governance.held import TIER_RANK

__all__ = [
    "Action",
    "Authorizer",
    "Person",
    "SelfAuthorizer",
    "approving",
    "deciding_in",
    "review_rights",
    "reviewer_in",
]

_EVERYBODY: Final = frozenset({"system:authenticated", "system:unauthenticated"})
_MOST_GROUPS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The user as the API server knows them, without the groups that every user is in."""

    name: str
    groups: tuple[str, ...] = ()

    def groups_among(self, asked: Collection[str] | None) -> tuple[str, ...]:
        """The groups to name in an object: only those that policies ask for, so that the others stay private.

        As many groups as fit where ``asked`` is None: the person may not read the policies.
        """
        named = self.groups if asked is None else tuple(group for group in self.groups if group in asked)
        return named[:_MOST_GROUPS]


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


def deciding_in(namespace: str) -> Action:
    """The right to write decisions on the versions of a namespace."""
    return Action(verb="create", resource="modelapprovals", namespace=namespace)


def review_rights(tiers: Collection[RiskTier], namespaces: Collection[str]) -> list[Action]:
    """The rights that decide whether a person may review versions of these tiers in these namespaces."""
    return [*map(approving, sorted(tiers)), *map(deciding_in, sorted(namespaces))]


def reviewer_in(namespace: str, person: Person, rights: Mapping[Action, bool]) -> Reviewer:
    """The person as a reviewer of the versions of a namespace. A right that was not asked for counts as missing."""
    return Reviewer(
        name=person.name,
        groups=person.groups,
        tiers=[tier for tier in TIER_RANK if rights.get(approving(tier), False)],
        may_write=rights.get(deciding_in(namespace), False),
    )


class Authorizer(Protocol):
    """Knows the person who asks, and answers whether RBAC allows them an action. Admission may still refuse it."""

    async def whoami(self) -> Person:
        """The person who asks. Raises ClusterError."""
        ...

    async def allowed(self, actions: Iterable[Action]) -> Mapping[Action, bool]:
        """Whether RBAC allows the person each action. Raises ClusterError."""
        ...


class SelfAuthorizer:
    """Asks the API server with the credentials of the person: SelfSubjectReview and SelfSubjectAccessReview."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def whoami(self) -> Person:
        """The person behind the credentials of the client."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._api.create("selfsubjectreviews", "", body)
        user = answer["status"]["userInfo"]
        groups = sorted(set(user.get("groups", ())) - _EVERYBODY)
        return Person(name=str(user["username"]), groups=tuple(groups))

    async def allowed(self, actions: Iterable[Action]) -> Mapping[Action, bool]:
        """The answer for each action, from one request each."""
        asked = tuple(dict.fromkeys(actions))
        return dict(zip(asked, await asyncio.gather(*map(self._may, asked)), strict=True))

    async def _may(self, action: Action) -> bool:
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
        answer = await self._api.create("selfsubjectaccessreviews", "", body)
        return bool(answer["status"]["allowed"])
