"""Tokens that count, for how long an answer is kept, and whose failure is whose."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.actions.identity import Person
from gatehouse.cluster.client import ApiError, ApiUnavailable
from gatehouse.server.errors import Unauthenticated, Unavailable
from gatehouse.server.identity.authentication import MOST_REJECTED, MOST_TOKENS, Authentication, token_end
from gatehouse.server.identity.callers import ANONYMOUS, BearerToken, Impersonated, NoCredential, OwnAccount
from unit.server.parts import Clock, ReviewServer

ANN = {"username": "ann", "groups": ["system:authenticated", "team-a"], "uid": "u1", "extra": {"scopes": ["a"]}}


def jwt(claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


def authentication(api: ReviewServer, clock: Clock, *audiences: str) -> Authentication:
    return Authentication(api, audiences=audiences, now=clock, wall=clock)


async def test_a_token_is_asked_about_once_a_minute() -> None:
    api, clock = ReviewServer(tokens={"abc": ANN}), Clock()
    identity = authentication(api, clock)
    callers = await asyncio.gather(*(identity.caller(BearerToken("abc")) for _ in range(64)))
    assert {caller.person for caller in callers} == {Person(name="ann", groups=("team-a",))}
    assert callers[0].user.spec() == {
        "user": "ann",
        "groups": ["system:authenticated", "team-a"],
        "uid": "u1",
        "extra": {"scopes": ["a"]},
    }
    assert callers[0].credential == BearerToken("abc")
    clock.seconds += 59
    await identity.caller(BearerToken("abc"))
    assert api.counts == {"tokenreviews": 1}
    clock.seconds += 1
    await identity.caller(BearerToken("abc"))
    assert api.counts == {"tokenreviews": 2}


async def test_a_token_that_does_not_count_is_asked_about_again_after_seconds() -> None:
    api, clock = ReviewServer(), Clock()
    identity = authentication(api, clock)
    for _ in range(3):
        with pytest.raises(Unauthenticated, match="does not count"):
            await identity.caller(BearerToken("abc"))
    assert api.counts == {"tokenreviews": 1}
    clock.seconds += 5
    api.tokens["abc"] = ANN
    assert (await identity.caller(BearerToken("abc"))).person.name == "ann"


async def test_a_flood_of_tokens_drives_no_caller_out_and_stays_bounded() -> None:
    api, clock = ReviewServer(tokens={"abc": ANN}), Clock()
    identity = authentication(api, clock)
    await identity.caller(BearerToken("abc"))
    for number in range(MOST_REJECTED + 10):
        with pytest.raises(Unauthenticated):
            await identity.caller(BearerToken(f"x{number}"))
    before = api.counts["tokenreviews"]
    await identity.caller(BearerToken("abc"))
    assert api.counts["tokenreviews"] == before
    assert len(identity._rejected) == MOST_REJECTED
    assert len(identity._callers) <= MOST_TOKENS


async def test_a_token_that_ends_is_kept_no_longer_than_that() -> None:
    api, clock = ReviewServer(), Clock()
    token = jwt({"exp": clock.seconds + 10})
    api.tokens[token] = ANN
    identity = authentication(api, clock)
    assert (await identity.caller(BearerToken(token))).expires_at == clock.seconds + 10
    clock.seconds += 9.9
    await identity.caller(BearerToken(token))
    clock.seconds += 0.1
    with pytest.raises(Unauthenticated, match="expired"):
        await identity.caller(BearerToken(token))
    assert api.counts == {"tokenreviews": 1}


@pytest.mark.parametrize(("answered", "counts"), [(["gatehouse"], True), (["other"], False), ([], False)])
async def test_a_token_needs_one_of_the_audiences_and_the_answer_must_say_so(
    answered: list[str], *, counts: bool
) -> None:
    api = ReviewServer(tokens={"abc": ANN}, audiences=answered)
    identity = authentication(api, Clock(), "gatehouse", "models")
    if counts:
        await identity.caller(BearerToken("abc"))
    else:
        with pytest.raises(Unauthenticated):
            await identity.caller(BearerToken("abc"))
    assert api.asked[0][1]["spec"]["audiences"] == ["gatehouse", "models"]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ApiUnavailable("https://10.0.0.1 refused"), "the Kubernetes API does not answer"),
        (ApiError(status=403, reason="Forbidden", message="no abc"), "ClusterRole gatehouse-server"),
        (ApiError(status=401, reason="Unauthorized", message="no abc"), "ClusterRole gatehouse-server"),
        (ApiError(status=500, reason="", message="token abc is odd"), "answered 500"),
    ],
)
async def test_a_failure_of_the_server_is_none_of_the_caller_and_is_not_kept(failure: Exception, said: str) -> None:
    api = ReviewServer(tokens={"abc": ANN})
    api.failure = failure  # type: ignore[assignment]
    identity = authentication(api, Clock())
    with pytest.raises(Unavailable, match=said) as caught:
        await identity.caller(BearerToken("abc"))
    assert "Retry-After" in caught.value.headers
    assert "abc" not in f"{caught.value} {caught.value.__cause__}"
    api.failure = None
    assert (await identity.caller(BearerToken("abc"))).person.name == "ann"


async def test_other_credentials() -> None:
    api = ReviewServer()
    identity = authentication(api, Clock())
    named = await identity.caller(Impersonated("ann", ("team-a",)))
    assert named.user.groups == ("system:authenticated", "team-a")
    assert named.person == Person(name="ann", groups=("team-a",))
    for _ in range(2):
        own = await identity.caller(OwnAccount())
        assert own.person.name == "system:serviceaccount:home:gatehouse-server"
    assert api.counts == {"selfsubjectreviews": 1}
    assert await identity.caller(NoCredential()) is ANONYMOUS
    assert ANONYMOUS.user.spec() == {"user": "system:anonymous", "groups": ["system:unauthenticated"]}


@pytest.mark.parametrize(
    ("token", "end"),
    [
        (jwt({"exp": 5}), 5.0),
        (jwt({"exp": 5.5}), 5.5),
        (jwt({"exp": "5"}), None),
        (jwt({"exp": True}), None),
        (jwt({"exp": 1e400}), None),
        (jwt({}), None),
        (jwt([1]), None),
        ("a.b.c", None),
        ("sha256~abc", None),
        ("a.!!!!.c", None),
    ],
)
def test_the_end_of_a_token(token: str, end: float | None) -> None:
    assert token_end(token) == end


@given(st.text("abcdefABCDEF0123456789-_.=~", max_size=80))
def test_no_token_raises(token: str) -> None:
    token_end(token)
