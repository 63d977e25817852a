"""Users of a MinIO, each with the rights that one purpose needs, made by its admin API.

Other stores have users too, each kind by an API of its own: whoever runs such a store makes them there.
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

__all__ = ["Access", "StoreAdministrator", "StoreUser", "UsersNotReady", "UsersRefused", "ensure_users", "policy_of"]

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
"""The library keeps the status in its exception's words alone."""


class UsersNotReady(Exception):
    """The store gave no answer, or says that it is still starting: try again."""


class UsersRefused(Exception):
    """The store refused: the administrator's credentials are wrong, or a user's are not what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUser:
    """A user, and what may be done in one bucket in its name. ``name`` is its access key, and its policy's name."""

    name: str
    secret_key: str = field(repr=False)
    access: Access
    bucket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAdministrator:
    """Where a MinIO is, and who may make users there. ``authority`` is a PEM file; the system's when None."""

    url: str
    name: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    authority: Path | None = None


def policy_of(user: StoreUser) -> dict[str, Any]:
    """What the user may do, in the language of AWS's policies. What is not in it is refused.

    MinIO lets every user change its own secret key and make more keys of its own, unless that is denied: whoever reads
    the key that models are loaded with could lock the others out, or keep a key that outlives the next rotation.
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
    """Have each user there, with this secret key and with its own policy alone. Done again it changes nothing.

    A user never has more than its policy: one that is new has no right until the policy is bound to it.

    Raises:
        UsersNotReady: no answer, or the store is starting.
        UsersRefused: it said no.
    """
    # A hundred milliseconds and several megabytes that nothing else here needs.
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
            # Its words have the request's path, which names the user, and nothing of the body.
            raise UsersNotReady(f"{doing}: no answer ({type(error).__name__})") from None


def _client(administrator: StoreAdministrator, http: PoolManager | None) -> MinioAdmin:
    from minio import MinioAdmin  # noqa: PLC0415
    from minio.credentials.providers import StaticProvider  # noqa: PLC0415
    from urllib3 import PoolManager, Timeout  # noqa: PLC0415

    address = urlsplit(administrator.url)
    return MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(administrator.name, administrator.secret_key),
        region=administrator.region,
        secure=address.scheme == "https",
        # No proxy of the environment, no redirection, and no attempt but those of whoever calls.
        http_client=http
        or PoolManager(
            timeout=Timeout(connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(administrator.authority) if administrator.authority else None,
        ),
    )


def _refusal(error: Exception, *, doing: str, administrator: str) -> UsersNotReady | UsersRefused:
    """By the status. Of the store's own words only its code is told: it is one word of letters."""
    found = _SAID.match(str(error))
    status, code = (int(found[1]), _code(found[2])) if found else (0, "")
    told = f"{doing}: HTTP {status}{f' {code}' if code else ''}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return UsersNotReady(told)
    if status in _REFUSED:
        return UsersRefused(
            f"{told}; the store does not take {administrator} for its administrator with this password. It takes the "
            "credentials that it was started with: restart it after a change"
        )
    return UsersRefused(told)


def _code(body: str) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    code = answer.get("Code") if isinstance(answer, Mapping) else None
    return code if isinstance(code, str) and code.isascii() and code.isalpha() and len(code) <= 64 else ""


def _allowed(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": [resource]}
