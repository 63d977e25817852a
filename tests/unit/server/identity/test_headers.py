"""What headers say about a caller: tokens, proxies that prove themselves, and the loopback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.server.errors import Forbidden, RequestError, Unauthenticated
from gatehouse.server.identity.callers import BearerToken, Impersonated, NoCredential, OwnAccount
from gatehouse.server.identity.headers import (
    MOST_GROUPS,
    HeaderPolicy,
    Peer,
    ProxyTrust,
    RawHeaders,
    bearer_token,
    credential_of,
    split_groups,
)

SECRET = "a-secret-of-the-proxy"
REMOTE, LOOPBACK = Peer("10.0.0.9"), Peer("127.0.0.1")
PROVEN = (b"x-gatehouse-proxy-secret", SECRET.encode())
HOST = (b"host", b"localhost:8080")


def trust(family: str = "kubeflow", *, names: tuple[str, ...] = ()) -> ProxyTrust:
    return ProxyTrust(
        family="x-remote" if family == "x-remote" else "kubeflow",
        secret_digests=ProxyTrust.of_secrets(["another-secret-of-it", SECRET]),
        names=frozenset(names),
        group_prefix="team-",
    )


OPEN = HeaderPolicy(proxy=trust(), loopback_identity=True, anonymous_reads=True)
CLOSED = HeaderPolicy()


def headers(*pairs: tuple[bytes, bytes]) -> RawHeaders:
    return list(pairs)


# Tokens


@pytest.mark.parametrize(
    ("pairs", "token"),
    [
        ([], None),
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"authorization", b"bearer   sha256~a.b-c_d==")], "sha256~a.b-c_d=="),
        ([(b"x-forwarded-access-token", b"abc")], "abc"),
        ([(b"x-forwarded-access-token", b"")], None),
        ([(b"authorization", b"Bearer abc"), (b"x-forwarded-access-token", b"abc")], "abc"),
    ],
)
def test_a_token_comes_from_either_header(pairs: list[tuple[bytes, bytes]], token: str | None) -> None:
    assert bearer_token(pairs) == token


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([(b"authorization", b"Basic dXNlcjpwYXNz")], "another scheme"),
        ([(b"authorization", b"")], "another scheme"),
        ([(b"authorization", b"abc")], "another scheme"),
        ([(b"authorization", b"Bearer")], "no token has"),
        ([(b"authorization", b"Bearer a b")], "no token has"),
        ([(b"authorization", b"Bearer a\xff")], "no token has"),
        ([(b"authorization", b"Bearer a\x00")], "no token has"),
        ([(b"authorization", b"Bearer " + b"a" * 20_000)], "longer than"),
        ([(b"authorization", b"Bearer a"), (b"x-forwarded-access-token", b"b")], "two different tokens"),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], "two different tokens"),
        ([(b"x-forwarded-access-token", b"a"), (b"x-forwarded-access-token", b"b")], "two different tokens"),
        ([(b"authorization", b"Bearer a"), (b"x-forwarded-access-token", b"Bearer a")], "no token has"),
    ],
)
def test_what_is_no_single_token_is_refused(pairs: list[tuple[bytes, bytes]], said: str) -> None:
    for policy in (CLOSED, OPEN):
        with pytest.raises(Unauthenticated, match=said) as caught:
            credential_of([*pairs, HOST], peer=LOOPBACK, policy=policy)
        assert 'error="invalid_token"' in caught.value.headers["WWW-Authenticate"]


def test_a_token_is_in_no_text_of_its_credential() -> None:
    credential = BearerToken("hunter2")
    assert "hunter2" not in f"{credential!r} {credential}"


# Proxies


def test_a_proven_proxy_names_the_caller() -> None:
    pairs = headers(
        PROVEN, (b"kubeflow-userid", b"ann@example.org"), (b"kubeflow-groups", b"team-a, other,team-b,,team-a")
    )
    assert credential_of(pairs, peer=REMOTE, policy=OPEN) == Impersonated("ann@example.org", ("team-a", "team-b"))
    pairs = headers(PROVEN, (b"x-remote-user", b"ann"), (b"x-remote-groups", b"team-a|system|team-b"))
    policy = HeaderPolicy(proxy=trust("x-remote"))
    assert credential_of(pairs, peer=REMOTE, policy=policy) == Impersonated("ann", ("team-a", "team-b"))


def test_a_client_certificate_proves_a_proxy_too() -> None:
    policy = HeaderPolicy(proxy=trust(names=("proxy",)))
    pairs = headers((b"kubeflow-userid", b"ann"))
    assert credential_of(pairs, peer=Peer("10.0.0.9", "proxy"), policy=policy) == Impersonated("ann", ())
    for name in ("", "prox", "proxy2"):
        with pytest.raises(Unauthenticated, match="counts only from a proxy that proves itself"):
            credential_of(pairs, peer=Peer("10.0.0.9", name), policy=policy)


@pytest.mark.parametrize("secret", [b"", b"wrong", SECRET.encode() + b"x", SECRET[:-1].encode()])
@pytest.mark.parametrize("peer", [REMOTE, LOOPBACK])
def test_without_proof_the_headers_count_for_nothing(secret: bytes, peer: Peer) -> None:
    user = (b"kubeflow-userid", b"ann")
    for pairs in (
        [user, HOST],
        [user, (b"x-gatehouse-proxy-secret", secret), HOST],
        [user, PROVEN, (b"x-gatehouse-proxy-secret", secret), HOST],
        [(b"x-remote-user", b"ann"), HOST],
    ):
        with pytest.raises(Unauthenticated):
            credential_of(pairs, peer=peer, policy=OPEN)
        with pytest.raises(Unauthenticated):
            credential_of(pairs, peer=peer, policy=CLOSED)


def test_a_family_that_is_not_set_is_not_read_even_from_a_proven_proxy() -> None:
    pairs = headers(PROVEN, (b"x-remote-user", b"ann"))
    assert credential_of(pairs, peer=REMOTE, policy=OPEN) == NoCredential()
    with pytest.raises(Unauthenticated, match="no credentials"):
        credential_of(pairs, peer=LOOPBACK, policy=HeaderPolicy(proxy=trust(), loopback_identity=True))


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ("system:admin", ""),
        ("system:serviceaccount:a:b", ""),
        ("System:admin", ""),
        ("system:anonymous", ""),
        ("ann", "team-a,system:masters"),
        ("ann", "SYSTEM:masters"),
        ("ann", " system:authenticated"),
    ],
)
def test_no_proxy_names_users_and_groups_of_the_cluster(user: str, groups: str) -> None:
    pairs = headers(PROVEN, (b"kubeflow-userid", user.encode()), (b"kubeflow-groups", groups.encode()))
    with pytest.raises(Forbidden, match="of the cluster itself"):
        credential_of(pairs, peer=REMOTE, policy=OPEN)


@pytest.mark.parametrize("user", [b"", b" ", b"a" * 254, b"a\x01b", b"\xff"])
def test_a_user_that_is_none_is_refused(user: bytes) -> None:
    with pytest.raises(Unauthenticated):
        credential_of(headers(PROVEN, (b"kubeflow-userid", user)), peer=REMOTE, policy=OPEN)


def test_a_user_that_stands_twice_is_refused() -> None:
    twice = (b"kubeflow-userid", b"ann")
    with pytest.raises(Unauthenticated, match="stands twice"):
        credential_of(headers(PROVEN, twice, twice), peer=REMOTE, policy=OPEN)


def test_a_token_goes_before_what_a_proxy_names() -> None:
    pairs = headers(PROVEN, (b"kubeflow-userid", b"ann"), (b"authorization", b"Bearer abc"))
    assert credential_of(pairs, peer=REMOTE, policy=OPEN) == BearerToken("abc")


@given(st.text(max_size=200), st.sampled_from([",", "|"]))
def test_groups_of_any_text_have_the_prefix_and_are_none_of_the_cluster(text: str, separator: str) -> None:
    try:
        groups = split_groups(text, separator=separator, prefix="team-")
    except Forbidden:
        assert "system:" in text.casefold()
        return
    assert len(set(groups)) == len(groups)
    for group in groups:
        assert group.startswith("team-")
        assert group.isprintable()
        assert separator not in group


def test_groups_are_bounded() -> None:
    full = ",".join(f"team-{number}" for number in range(MOST_GROUPS))
    assert len(split_groups(full, separator=",", prefix="team-")) == MOST_GROUPS
    for text in (f"{full},one-more", "team-" + "a" * 9_000):
        with pytest.raises(Unauthenticated, match="more groups"):
            split_groups(text, separator=",", prefix="team-")
    assert split_groups("team-a,b", separator=",", prefix="") == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"authorization",
                    b"x-forwarded-access-token",
                    b"kubeflow-userid",
                    b"kubeflow-groups",
                    b"x-remote-user",
                    b"x-remote-groups",
                    b"x-gatehouse-proxy-secret",
                    b"host",
                    b"x-forwarded-for",
                ]
            ),
            st.one_of(st.binary(max_size=30), st.sampled_from([b"Bearer a", SECRET.encode(), b"localhost"])),
        ),
        max_size=5,
    ),
    st.sampled_from(["10.0.0.9", "127.0.0.1", "", "nonsense"]),
)
def test_no_headers_raise_anything_else_and_none_impersonate_without_proof(
    pairs: list[tuple[bytes, bytes]], address: str
) -> None:
    try:
        credential = credential_of(pairs, peer=Peer(address), policy=OPEN)
    except RequestError:
        return
    proven = [value for name, value in pairs if name == b"x-gatehouse-proxy-secret"] == [SECRET.encode()]
    assert proven or not isinstance(credential, Impersonated)


# The loopback and no one


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", [b"localhost:8080", b"127.0.0.1", b"[::1]:8080"])
def test_a_program_on_the_same_machine_acts_as_the_server_only_if_a_setting_says_so(address: str, host: bytes) -> None:
    pairs = headers((b"host", host), (b"user-agent", b"curl"), (b"accept", b"*/*"))
    policy = HeaderPolicy(loopback_identity=True)
    assert credential_of(pairs, peer=Peer(address), policy=policy) == OwnAccount()
    with pytest.raises(Unauthenticated, match="no credentials"):
        credential_of(pairs, peer=Peer(address), policy=CLOSED)


@pytest.mark.parametrize(
    "pair",
    [
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-forwarded-proto", b"https"),
        (b"forwarded", b"for=10.0.0.1"),
        (b"via", b"1.1 proxy"),
        (b"x-real-ip", b"10.0.0.1"),
        (b"origin", b"https://evil.example"),
        (b"sec-fetch-site", b"cross-site"),
        (b"cookie", b"session=1"),
        (b"x-remote-groups", b"a"),
        (b"kubeflow-groups", b"a"),
        (b"x-gatehouse-proxy-secret", b"wrong"),
        (b"x-forwarded-access-token", b""),
        (b"host", b"evil.example"),
    ],
)
def test_what_a_proxy_or_a_browser_passes_on_is_not_of_the_loopback(pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated, match="no credentials"):
        credential_of([HOST, pair], peer=LOOPBACK, policy=HeaderPolicy(loopback_identity=True))


@pytest.mark.parametrize("peer", [REMOTE, Peer(""), Peer("localhost"), Peer("169.254.1.1")])
def test_only_a_peer_of_the_loopback_is_of_the_loopback(peer: Peer) -> None:
    with pytest.raises(Unauthenticated):
        credential_of([HOST], peer=peer, policy=HeaderPolicy(loopback_identity=True))


def test_the_anonymous_read_only_where_a_setting_says_so() -> None:
    assert credential_of([], peer=REMOTE, policy=HeaderPolicy(anonymous_reads=True)) == NoCredential()
    with pytest.raises(Unauthenticated) as caught:
        credential_of([], peer=REMOTE, policy=CLOSED)
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="gatehouse"'
