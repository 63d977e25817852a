"""What callers may read, in how many reviews, and with whose credentials calls are made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from gatehouse.actions.identity import Action, Authorizer
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.query.scopes import EVERY_NAMESPACE
from gatehouse.server.errors import Forbidden
from gatehouse.server.identity.access import Access, AccessReviews, CallerClients
from gatehouse.server.identity.callers import (
    ANONYMOUS,
    BearerToken,
    Caller,
    Credential,
    Impersonated,
    OwnAccount,
    ReviewedUser,
    caller_of,
)
from unit.server.parts import Clock, ReviewServer

HOME, AWAY = "home", "away"


class Clients:
    """Says which credentials a call would have."""

    def __init__(self, label: str) -> None:
        self.label = label

    def bearing(self, token: str) -> str:
        return f"{self.label} with {token}"

    def impersonating(self, user: str, groups: tuple[str, ...]) -> str:
        return f"{self.label} as {user} of {groups}"

    def __repr__(self) -> str:
        return self.label


def listing(namespace: str = "", resource: str = "modelversions") -> Action:
    return Action(verb="list", resource=resource, namespace=namespace)


def caller(name: str, credential: Credential | None = None) -> Caller:
    return caller_of(ReviewedUser(name=name, groups=("system:authenticated",)), credential or BearerToken("abc"))


def access(
    api: ReviewServer, who: Caller, clock: Clock | None = None, *, known: tuple[str, ...] = (HOME, AWAY)
) -> Access:
    async def namespaces() -> frozenset[str]:
        return frozenset(known)

    clients = CallerClients(own=cast("ApiClient", Clients("own")), bare=cast("ApiClient", Clients("bare")))
    return Access(who, reviews=AccessReviews(api, namespaces=namespaces, now=clock or Clock()), clients=clients)


async def test_one_review_finds_a_reader_of_all_namespaces() -> None:
    api = ReviewServer(allowed=[("ann", listing())])
    asks = access(api, caller("ann"))
    assert await asks.readable_namespaces("modelversions") is EVERY_NAMESPACE
    assert await asks.readable_namespaces("modelversions") is EVERY_NAMESPACE
    assert api.counts == {"subjectaccessreviews": 1}
    assert await asks.readable_namespaces("registeredmodels") == frozenset()


async def test_another_reader_is_asked_about_in_each_namespace_once_in_seconds() -> None:
    api, clock = ReviewServer(allowed=[("bob", listing(HOME))]), Clock()
    asks = access(api, caller("bob"), clock)
    scopes = await asyncio.gather(*(asks.readable_namespaces("modelversions") for _ in range(20)))
    assert set(scopes) == {frozenset({HOME})}
    assert api.counts == {"subjectaccessreviews": 3}
    api.allowed.clear()
    assert await asks.readable_namespaces("modelversions") == {HOME}
    clock.seconds += 10
    assert await asks.readable_namespaces("modelversions") == frozenset()


async def test_a_right_to_all_counts_for_each_and_is_asked_once() -> None:
    every, one = Action(verb="get", resource="modelversions", namespace=HOME), "granite-1"
    api = ReviewServer(allowed=[("ann", every), ("bob", replace(every, name=one))])
    ann, bob = access(api, caller("ann")), access(api, caller("bob"))
    assert all([await ann.may_on(replace(every, name=name)) for name in ("", one, "other")])
    assert api.counts == {"subjectaccessreviews": 1}
    assert [await bob.may_on(replace(every, name=name)) for name in ("", one, "other")] == [False, True, False]
    assert api.counts == {"subjectaccessreviews": 4}
    await bob.require(replace(every, name=one))
    with pytest.raises(Forbidden, match=r'^modelversions\.gatehouse\.dev "other" is forbidden: User "bob" cannot get'):
        await bob.require(replace(every, name="other"))


async def test_answers_of_one_user_are_none_of_another() -> None:
    api = ReviewServer(allowed=[("bob", listing(HOME))])
    asks = access(api, caller("bob"))
    assert await asks.may(listing(HOME))
    others = [
        ReviewedUser(name="bob", groups=("other",)),
        ReviewedUser(name="bob", groups=("system:authenticated",), uid="2"),
        ReviewedUser(name="bob", groups=("system:authenticated",), extra=(("scopes", ("a",)),)),
        ReviewedUser(name="bob,", groups=("system:authenticated",)),
    ]
    assert len({user.key for user in (asks.caller.user, *others)}) == 5


async def test_no_more_than_a_few_reviews_run_at_once() -> None:
    class Slow(ReviewServer):
        running = most = 0

        async def create(self, plural: str, namespace: str, body: Any, /) -> dict[str, Any]:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            return await super().create(plural, namespace, body)

    api = Slow()
    known = tuple(f"n{number}" for number in range(300))
    assert await access(api, caller("eve"), known=known).readable_namespaces("modelversions") == frozenset()
    assert api.counts == {"subjectaccessreviews": 301}
    assert api.most <= 16


async def test_actions_ask_the_same_object() -> None:
    api = ReviewServer(allowed=[("ann", listing(HOME))])
    asks: Authorizer = access(api, caller("ann"))
    assert (await asks.whoami()).name == "ann"
    assert await asks.allowed([listing(HOME), listing(AWAY), listing(HOME)]) == {
        listing(HOME): True,
        listing(AWAY): False,
    }
    assert api.counts == {"subjectaccessreviews": 2}


async def test_a_refusal_has_the_words_of_the_api_server() -> None:
    asks = access(ReviewServer(), caller("eve"))
    with pytest.raises(Forbidden) as caught:
        await asks.require(listing(HOME))
    assert str(caught.value) == (
        'modelversions.gatehouse.dev is forbidden: User "eve" cannot list resource "modelversions" '
        'in API group "gatehouse.dev" in the namespace "home"'
    )
    with pytest.raises(Forbidden, match="at the cluster scope"):
        await asks.require(listing())


@pytest.mark.parametrize(
    ("credential", "label"),
    [
        (BearerToken("abc"), "bare with abc"),
        (Impersonated("ann", ("team-a",)), "own as ann of ('team-a',)"),
        (OwnAccount(), "own"),
    ],
)
def test_calls_are_made_with_the_credentials_of_the_caller(credential: Credential, label: str) -> None:
    assert str(access(ReviewServer(), caller("ann", credential)).api) == label


def test_no_call_is_made_for_the_anonymous() -> None:
    with pytest.raises(Forbidden, match="only read"):
        _ = access(ReviewServer(), ANONYMOUS).api
