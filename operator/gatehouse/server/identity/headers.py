"""What the headers of a request say about the caller, by pure functions. Nothing here asks the API server.

Every header is read from the raw list of the request: a header that stands twice is refused where it could name two
callers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from gatehouse.app.server_settings import ProxyHeaders
from gatehouse.server.errors import Forbidden, Unauthenticated
from gatehouse.server.identity.callers import BearerToken, Credential, Impersonated, NoCredential, OwnAccount

__all__ = ["HeaderPolicy", "Peer", "ProxyTrust", "RawHeaders", "bearer_token", "credential_of", "split_groups"]

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Names in lower case and values, as ASGI has them."""

LONGEST_TOKEN: Final = 16_384
LONGEST_GROUPS: Final = 8_192
MOST_GROUPS: Final = 256
LONGEST_USER: Final = 253
SECRET_HEADER: Final = b"x-gatehouse-proxy-secret"
FORWARDED_TOKEN: Final = b"x-forwarded-access-token"
_TOKEN: Final = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
_SYSTEM: Final = "system:"


@dataclass(frozen=True, slots=True)
class _Family:
    user: bytes
    groups: bytes
    separator: str


_FAMILIES: Final[Mapping[ProxyHeaders, _Family]] = {
    "kubeflow": _Family(b"kubeflow-userid", b"kubeflow-groups", ","),
    "x-remote": _Family(b"x-remote-user", b"x-remote-groups", "|"),
}
_NAMES_A_CALLER: Final = frozenset(
    {FORWARDED_TOKEN, SECRET_HEADER, b"authorization", b"x-forwarded-user", b"x-auth-request-user", b"cookie"}
    | {name for family in _FAMILIES.values() for name in (family.user, family.groups)}
)
_FORWARDED: Final = re.compile(rb"forwarded|via|x-forwarded-.*|x-real-ip|x-remote-.*|origin|sec-fetch-.*|referer")
_OWN_HOSTS: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the connection. ``certificate_name`` is the common name of its verified client certificate."""

    address: str = ""
    certificate_name: str = ""

    @property
    def loopback(self) -> bool:
        """Whether the connection comes from this machine, or from this Pod."""
        try:
            address = ip_address(self.address)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyTrust:
    """Which headers of a proxy count, how the proxy proves itself, and which groups the proxy may name."""

    family: ProxyHeaders = "none"
    secret_digests: tuple[bytes, ...] = field(default=(), repr=False)
    names: frozenset[str] = frozenset()
    group_prefix: str = ""

    @classmethod
    def of_secrets(cls, secrets: Iterable[str]) -> tuple[bytes, ...]:
        """The digests of secrets, which is all that the server keeps of them."""
        return tuple(sha256(secret.encode()).digest() for secret in secrets)

    def proven(self, headers: RawHeaders, peer: Peer) -> bool:
        """Whether the peer proved that it is the proxy. The time of the answer does not depend on the secret."""
        if peer.certificate_name and peer.certificate_name in self.names:
            return True
        shown = _values(headers, SECRET_HEADER)
        digest = sha256(shown[0]).digest() if len(shown) == 1 else b""
        matches = [hmac.compare_digest(digest, secret) for secret in self.secret_digests]
        return any(matches)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderPolicy:
    """Which callers without a bearer token the server serves. By default none."""

    proxy: ProxyTrust = ProxyTrust()
    loopback_identity: bool = False
    anonymous_reads: bool = False


def credential_of(headers: RawHeaders, *, peer: Peer, policy: HeaderPolicy) -> Credential:
    """The credential of a request.

    A bearer token goes before a proxy's headers, because the API server vouches for the token. Headers of a peer that
    did not prove itself are never read, and a request that has them is neither anonymous nor of the loopback.

    Raises:
        Unauthenticated: no credential that counts, or two that differ.
        Forbidden: a proxy names a user or a group of the cluster itself.
    """
    token = bearer_token(headers)
    if token is not None:
        return BearerToken(token)
    named = {name for name, _ in headers} & _NAMES_A_CALLER
    if policy.proxy.family != "none" and policy.proxy.proven(headers, peer):
        impersonated = _impersonated(headers, policy.proxy)
        if impersonated is not None:
            return impersonated
    elif family := _claimed(named):
        raise Unauthenticated(
            f"the header {family} counts only from a proxy that proves itself; expected: a bearer token"
        )
    if policy.loopback_identity and not named and _is_of_loopback(headers, peer):
        return OwnAccount()
    if policy.anonymous_reads:
        return NoCredential()
    raise Unauthenticated("the request has no credentials; expected: the header Authorization: Bearer TOKEN")


def bearer_token(headers: RawHeaders) -> str | None:
    """The token of ``Authorization`` or ``x-forwarded-access-token``, or None where both are absent.

    Raises Unauthenticated for another scheme, for text that is no token, and for two tokens that differ.
    """
    tokens = [
        *map(_of_authorization, _values(headers, b"authorization")),
        *map(_token, filter(None, _values(headers, FORWARDED_TOKEN))),
    ]
    if not tokens:
        return None
    first = tokens[0]
    if not all(hmac.compare_digest(first, other) for other in tokens[1:]):
        raise Unauthenticated("the request has two different tokens; expected: one", rejected=True)
    return first.decode("ascii")


def split_groups(text: str, *, separator: str, prefix: str) -> tuple[str, ...]:
    """The groups that a proxy names, in their order, without those that lack the prefix.

    Raises:
        Unauthenticated: there are too many.
        Forbidden: one of them is a group of the cluster itself.
    """
    parts = [part.strip(" \t") for part in text.split(separator, MOST_GROUPS)] if len(text) <= LONGEST_GROUPS else []
    if len(text) > LONGEST_GROUPS or len(parts) > MOST_GROUPS:
        raise Unauthenticated(
            f"the proxy names more groups than the server reads; expected: at most {MOST_GROUPS} in {LONGEST_GROUPS} "
            "bytes"
        )
    for part in parts:
        _refuse_of_cluster("group", part)
    return tuple(dict.fromkeys(part for part in parts if prefix and part.startswith(prefix) and part.isprintable()))


def _of_authorization(value: bytes) -> bytes:
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated("the header Authorization has another scheme; expected: Bearer TOKEN", rejected=True)
    return _token(token.strip(b" "))


def _token(value: bytes) -> bytes:
    if len(value) > LONGEST_TOKEN:
        raise Unauthenticated(f"the token is longer than {LONGEST_TOKEN} bytes", rejected=True)
    if not _TOKEN.fullmatch(value):
        raise Unauthenticated("the token has characters that no token has", rejected=True)
    return value


def _impersonated(headers: RawHeaders, trust: ProxyTrust) -> Impersonated | None:
    family = _FAMILIES[trust.family]
    users, groups = _values(headers, family.user), _values(headers, family.groups)
    if len(users) > 1 or len(groups) > 1:
        raise Unauthenticated(f"the header {family.user.decode()} or {family.groups.decode()} stands twice")
    if not users:
        return None
    user = _text(users[0], family.user)
    if not user or len(user) > LONGEST_USER or not user.isprintable():
        raise Unauthenticated(f"the header {family.user.decode()} names no user")
    _refuse_of_cluster("user", user)
    listed = _text(groups[0], family.groups) if groups else ""
    return Impersonated(user, split_groups(listed, separator=family.separator, prefix=trust.group_prefix))


def _refuse_of_cluster(kind: str, name: str) -> None:
    """Users and groups of the cluster itself, service accounts among them, never come from a header."""
    if name.casefold().startswith(_SYSTEM):
        raise Forbidden(
            f"the proxy names a {kind} of the cluster itself; expected: no {kind} that begins with {_SYSTEM}"
        )


def _text(value: bytes, name: bytes) -> str:
    try:
        return value.decode("utf-8").strip(" \t")
    except UnicodeDecodeError:
        raise Unauthenticated(f"the header {name.decode()} is not UTF-8") from None


def _claimed(named: Iterable[bytes]) -> str | None:
    """The first header by which a proxy would name a caller."""
    users = {family.user for family in _FAMILIES.values()}
    return next((name.decode() for name in sorted(named) if name in users), None)


def _is_of_loopback(headers: RawHeaders, peer: Peer) -> bool:
    """Whether a program on this machine asks by itself: no proxy passed the call on, and no browser was made to ask."""
    hosts = _values(headers, b"host")
    own = len(hosts) == 1 and _OWN_HOSTS.fullmatch(hosts[0]) is not None
    return own and peer.loopback and not any(_FORWARDED.fullmatch(name) for name, _ in headers)


def _values(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]
