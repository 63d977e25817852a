"""Users of a MinIO, each with the rights for one purpose, created by its admin API.

Other stores also have users, each with its own API: the administrators of such a store create the users there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from minio import MinioAdmin
    from urllib3 import PoolManager

__all__ = [
    "Access",
    "StoreAdministrator",
    "StoreUser",
    "UsersNotReady",
    "UsersRefused",
    "client_options",
    "ensure_users",
    "policy_of",
]

Access = Literal["read", "write"]

_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
_VERSION: Final = "2012-10-17"
_READ_BUCKET: Final = ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketVersions")
_READ_OBJECTS: Final = ("s3:GetObject", "s3:GetObjectVersion")
_WRITE_BUCKET: Final = ("s3:ListBucketMultipartUploads",)
_WRITE_OBJECTS: Final = ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject")
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_SAID: Final = re.compile(r"admin request failed; Status: ([0-9]{3}), Body: (.*)", re.ASCII | re.DOTALL)
"""The library has the status only in its exception's text."""


class UsersNotReady(Exception):
    """The store gave no answer, or reports that it is still starting: the caller must try again."""


class UsersRefused(Exception):
    """The store refused: the administrator's credentials are wrong, or a user's are invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUser:
    """A user, and the user's rights in one bucket. ``name`` is the access key and the name of the policy."""

    name: str
    secret_key: str = field(repr=False)
    access: Access
    bucket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAdministrator:
    """The location of a MinIO, and its administrator. ``authority`` is a PEM file; None means the system's."""

    url: str
    name: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    authority: Path | None = None


def policy_of(user: StoreUser) -> dict[str, Any]:
    """The rights of the user, as a policy in AWS's language. All other requests are refused.

    MinIO lets every user change its own secret key and create more keys, unless the policy denies that. Otherwise a
    reader of the key for loading models could lock the others out, or keep a key that outlives the next rotation.
    """
    writes = user.access == "write"
    bucket = f"arn:aws:s3:::{user.bucket}"
    return {
        "Version": _VERSION,
        "Statement": [
            _allowed((*_READ_BUCKET, *(_WRITE_BUCKET if writes else ())), bucket),
            _allowed((*_READ_OBJECTS, *(_WRITE_OBJECTS if writes else ())), f"{bucket}/*"),
            {"Effect": "Deny", "Action": ["admin:*"]},
        ],
    }


def ensure_users(
    administrator: StoreAdministrator, users: Sequence[StoreUser], *, http: PoolManager | None = None
) -> None:
    """Ensure that each user exists with this secret key and with only its own policy. A repetition changes nothing.

    A user never has more than its policy: a new user has no right until the policy is bound to it.

    Raises:
        UsersNotReady: no answer, or the store is starting.
        UsersRefused: the store refused.
    """
    # A hundred milliseconds and several megabytes that no other command needs.
    from minio.error import MinioAdminException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    client = _client(administrator, http)
    for user in users:
        doing = f"making user {user.name} at {administrator.url}"
        try:
            client.policy_add(user.name, policy=policy_of(user))
            client.user_add(user.name, user.secret_key)
            client.policy_set(user.name, user=user.name)
        except MinioAdminException as error:
            raise _refusal(error, doing=doing, administrator=administrator.name) from None
        except HTTPError as error:
            # The text has the request's path, which names the user, and nothing of the body.
            raise UsersNotReady(f"{doing}: no answer ({type(error).__name__})") from None


def _client(administrator: StoreAdministrator, http: PoolManager | None) -> MinioAdmin:
    from minio import MinioAdmin  # noqa: PLC0415

    return MinioAdmin(**client_options(administrator, http))


def client_options(administrator: StoreAdministrator, http: PoolManager | None) -> dict[str, Any]:
    """The arguments of MinIO's clients: no proxy of the environment, no redirection, no retries but the caller's."""
    from minio.credentials.providers import StaticProvider  # noqa: PLC0415
    from urllib3 import PoolManager, Timeout  # noqa: PLC0415

    address = urlsplit(administrator.url)
    return {
        "endpoint": address.netloc,
        "credentials": StaticProvider(administrator.name, administrator.secret_key),
        "region": administrator.region,
        "secure": address.scheme == "https",
        "http_client": http
        or PoolManager(
            timeout=Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(administrator.authority) if administrator.authority else None,
        ),
    }


def _refusal(error: Exception, *, doing: str, administrator: str) -> UsersNotReady | UsersRefused:
    """The error by status. Of the store's own words the message has only the code: one word of letters."""
    said = _SAID.match(str(error))
    status, code = (int(said[1]), _code(said[2])) if said else (0, "")
    message = f"{doing}: HTTP {status}{f' {code}' if code else ''}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return UsersNotReady(message)
    if status in _REFUSED:
        return UsersRefused(
            f"{message}; the store does not accept {administrator} as its administrator with this password. The store "
            "accepts the credentials that it was started with: restart the store after a change"
        )
    return UsersRefused(message)


def _code(body: str) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    code = answer.get("Code") if isinstance(answer, Mapping) else None
    return code if isinstance(code, str) and code.isascii() and code.isalpha() and len(code) <= 64 else ""


def _allowed(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": [resource]}
