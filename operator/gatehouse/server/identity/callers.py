"""The caller of a request as a value: the person, the user that RBAC is asked about, and their credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from gatehouse.actions.identity import Person

__all__ = [
    "ANONYMOUS",
    "BearerToken",
    "Caller",
    "Credential",
    "Impersonated",
    "NoCredential",
    "OwnAccount",
    "ReviewedUser",
    "caller_of",
]

_EVERYBODY: Final = frozenset({"system:authenticated", "system:unauthenticated"})


@dataclass(frozen=True, slots=True)
class BearerToken:
    """Calls are made with the caller's own token. The token is in no text of this object."""

    token: str = field(repr=False)

    def __reduce__(self) -> str:
        raise TypeError("a token is not copied out of the process")


@dataclass(frozen=True, slots=True)
class Impersonated:
    """Calls are made with the server's credentials in the name of the user whom a proven proxy named."""

    user: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """Calls are made as the server's own account: a call from the loopback of its Pod."""


@dataclass(frozen=True, slots=True)
class NoCredential:
    """No call to the API server is made: an anonymous caller only reads."""


Credential = BearerToken | Impersonated | OwnAccount | NoCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedUser:
    """The user of a SubjectAccessReview, as the API server authenticated them: with all groups."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def spec(self) -> dict[str, Any]:
        """The members of a SubjectAccessReview."""
        spec: dict[str, Any] = {"user": self.name, "groups": list(self.groups)}
        if self.uid:
            spec["uid"] = self.uid
        if self.extra:
            spec["extra"] = {key: list(values) for key, values in self.extra}
        return spec

    @property
    def key(self) -> str:
        """The same for the same user with the same groups."""
        return sha256(repr((self.name, self.groups, self.uid, self.extra)).encode("utf-8", "surrogatepass")).hexdigest()

    @classmethod
    def from_wire(cls, user: Mapping[str, Any]) -> ReviewedUser:
        """The ``user`` of a TokenReview, or the ``userInfo`` of a SelfSubjectReview."""
        extra = user.get("extra") or {}
        return cls(
            name=str(user["username"]),
            groups=tuple(sorted({str(group) for group in user.get("groups") or ()})),
            uid=str(user.get("uid") or ""),
            extra=tuple(sorted((str(key), tuple(map(str, values or ()))) for key, values in extra.items())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. ``expires_at`` is the time at which their token ends, in seconds since 1970, or None."""

    person: Person
    user: ReviewedUser
    credential: Credential
    expires_at: float | None = None

    @property
    def anonymous(self) -> bool:
        """Whether the caller showed no credentials."""
        return isinstance(self.credential, NoCredential)


def caller_of(user: ReviewedUser, credential: Credential, *, expires_at: float | None = None) -> Caller:
    """The caller for a user that the API server or a proven proxy named."""
    groups = tuple(group for group in user.groups if group not in _EVERYBODY)
    person = Person(name=user.name, groups=groups)
    return Caller(person=person, user=user, credential=credential, expires_at=expires_at)


ANONYMOUS: Final = caller_of(ReviewedUser(name="system:anonymous", groups=("system:unauthenticated",)), NoCredential())
