"""What a caller may do: RBAC's answers (SubjectAccessReview), remembered for seconds.

Reads come from rows, so the server filters them by what the caller may list. Writes are judged by the API server
itself: :attr:`Access.api` makes them as the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from gatehouse.actions.identity import Action, Person
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.query.scopes import EVERY_NAMESPACE, Scope
from gatehouse.server.errors import Forbidden
from gatehouse.server.identity.authentication import ReviewApi, review
from gatehouse.server.identity.callers import (
    BearerToken,
    Caller,
    Impersonated,
    NoCredential,
    OwnAccount,
    ReviewedUser,
)
from gatehouse.server.identity.expiring import ExpiringCache

__all__ = ["Access", "AccessReviews", "CallerClients", "KnownNamespaces"]

KEPT: Final = 10.0
"""Seconds for which an answer of RBAC counts. A new right, and a right that was taken away, show after that."""
MOST_ANSWERS: Final = 50_000
AT_ONCE: Final = 16
"""Reviews that are asked at once, by all requests of this process together."""

KnownNamespaces = Callable[[], Awaitable[frozenset[str]]]
"""The namespaces that have entries in the registry."""


class AccessReviews:
    """Asks RBAC about users, with the credentials of the server itself."""

    def __init__(self, api: ReviewApi, *, namespaces: KnownNamespaces, now: Callable[[], float]) -> None:
        self._api = api
        self._namespaces = namespaces
        self._answers: ExpiringCache[tuple[str, Action], bool] = ExpiringCache(size=MOST_ANSWERS, now=now)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def may(self, user: ReviewedUser, action: Action) -> bool:
        """Whether RBAC allows the user an action. Raises Unavailable."""

        async def ask() -> tuple[bool, float]:
            return await self._ask(user, action), KEPT

        return await self._answers.get_or_load((user.key, action), ask)

    async def readable(self, user: ReviewedUser, resource: str) -> Scope:
        """The namespaces in which the user may list a resource. Raises Unavailable, and the errors of the rows.

        A user who may list in every namespace costs one review. For another user each namespace of the registry is
        asked about.
        """
        if await self.may(user, Action(verb="list", resource=resource)):
            return EVERY_NAMESPACE
        known = sorted(await self._namespaces())
        actions = [Action(verb="list", resource=resource, namespace=namespace) for namespace in known]
        answers = await asyncio.gather(*(self.may(user, action) for action in actions))
        return frozenset(namespace for namespace, may in zip(known, answers, strict=True) if may)

    async def _ask(self, user: ReviewedUser, action: Action) -> bool:
        attributes = {
            "verb": action.verb,
            "group": action.group,
            "resource": action.resource,
            "namespace": action.namespace,
            "name": action.name,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**user.spec(), "resourceAttributes": attributes},
        }
        async with self._turns:
            answer = await review(self._api, "subjectaccessreviews", body)
        return (answer.get("status") or {}).get("allowed") is True


class CallerClients:
    """Clients of the API server that act as callers.

    ``own`` has the server's credentials, ``bare`` has none at all: a call with a caller's token can never be made with
    the server's rights, whatever goes wrong with the token.
    """

    def __init__(self, *, own: ApiClient, bare: ApiClient) -> None:
        self._own = own
        self._bare = bare

    def acting_as(self, caller: Caller) -> ApiClient:
        """A client for calls of this caller. Raises Forbidden for an anonymous caller."""
        match caller.credential:
            case BearerToken(token=token):
                return self._bare.bearing(token)
            case Impersonated(user=user, groups=groups):
                return self._own.impersonating(user, groups)
            case OwnAccount():
                return self._own
            case NoCredential():
                raise Forbidden("an anonymous caller may only read; expected: a bearer token")


class Access:
    """The rights of one caller. Implements :class:`gatehouse.actions.identity.Authorizer`."""

    def __init__(self, caller: Caller, *, reviews: AccessReviews, clients: CallerClients) -> None:
        self.caller = caller
        self._reviews = reviews
        self._clients = clients

    @property
    def api(self) -> ApiClient:
        """The client whose calls the API server judges as the caller's. Raises Forbidden for an anonymous caller."""
        return self._clients.acting_as(self.caller)

    async def whoami(self) -> Person:
        """The person who asks."""
        return self.caller.person

    async def may(self, action: Action) -> bool:
        """Whether RBAC allows the caller an action. Admission may still refuse it. Raises Unavailable."""
        return await self._reviews.may(self.caller.user, action)

    async def allowed(self, actions: Iterable[Action]) -> Mapping[Action, bool]:
        """The answer for each action. Raises Unavailable."""
        asked = tuple(dict.fromkeys(actions))
        return dict(zip(asked, await asyncio.gather(*map(self.may, asked)), strict=True))

    async def may_on(self, action: Action) -> bool:
        """Whether RBAC allows the caller an action on the object that the action names. Raises Unavailable.

        A right to every object of the namespace is one to each. The question about all goes first: its answer is kept
        for all of them.
        """
        return await self.may(replace(action, name="")) or (bool(action.name) and await self.may(action))

    async def require(self, action: Action) -> None:
        """Raises Forbidden, in the words of the API server, where RBAC does not allow the caller an action."""
        if not await self.may_on(action):
            raise Forbidden(_refusal(self.caller.person.name, action))

    async def readable_namespaces(self, resource: str) -> Scope:
        """The namespaces whose entries of a kind the caller may read. Raises Unavailable."""
        return await self._reviews.readable(self.caller.user, resource)


def _refusal(name: str, action: Action) -> str:
    """The sentence with which the API server refuses the same action."""
    named = f' "{action.name}"' if action.name else ""
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    plural = f'{action.resource}.{action.group}{named} is forbidden: User "{name}" cannot {action.verb} resource'
    return f'{plural} "{action.resource}" in API group "{action.group}" {where}'
