"""The common parts of the two S3 servers of the local cluster: an address, credentials, buckets."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.storage.s3.bucket_events import BucketEvents, ensure_bucket_events
from gatehouse.storage.s3.users import (
    Access,
    StoreAdministrator,
    StoreUser,
    UsersNotReady,
    UsersRefused,
    ensure_users,
)
from gatehouse_local.errors import LocalClusterError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = [
    "OPERATOR",
    "REGION",
    "STORE_USERS",
    "UPLOADER",
    "S3Credentials",
    "S3Endpoint",
    "ensure_bucket",
    "ensure_store_events",
    "ensure_store_users",
    "new_credentials",
    "new_store_keys",
    "open_store",
]

REGION = "us-east-1"
OPERATOR: Final = "gatehouse-operator"
UPLOADER: Final = "gatehouse-uploader"
STORE_USERS: Final[Mapping[str, Access]] = {OPERATOR: "read", UPLOADER: "write"}
"""The users' access to the bucket of the local cluster. Its administrator only makes these users."""
_STARTING_SECONDS: Final = 15.0
"""The time in which an answering server may still be reading its users."""
_POLL_SECONDS: Final = 0.2
_EXISTS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """An access key and its secret."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"S3Credentials(access_key={self.access_key!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Endpoint:
    """A running S3 server. `authority` is the certificate authority (PEM file) of a server with TLS."""

    url: str
    credentials: S3Credentials
    region: str = REGION
    authority: Path | None = None


def new_credentials() -> S3Credentials:
    """Random credentials, within MinIO's length limits."""
    return S3Credentials(f"gatehouse-{secrets.token_hex(5)}", secrets.token_urlsafe(30))


def new_store_keys() -> dict[str, str]:
    """A random secret key for each user of the local store, within MinIO's length limits."""
    return {name: secrets.token_urlsafe(30) for name in STORE_USERS}


def ensure_store_users(endpoint: S3Endpoint, bucket: str, keys: Mapping[str, str]) -> None:
    """Ensures the users of the local store. ``endpoint`` is MinIO's, with its administrator's credentials.

    Raises:
        LocalClusterError: MinIO refused.
    """
    users = [
        StoreUser(name=name, secret_key=keys[name], access=access, bucket=bucket)
        for name, access in STORE_USERS.items()
    ]
    _ensured(lambda: ensure_users(_administrator(endpoint), users))


def ensure_store_events(endpoint: S3Endpoint, bucket: str, *, webhook: str) -> None:
    """Ensures that the bucket sends its events to the webhook with which MinIO was started.

    Raises:
        LocalClusterError: MinIO refused.
    """
    _ensured(lambda: ensure_bucket_events(_administrator(endpoint), [BucketEvents(bucket, webhook)]))


def _administrator(endpoint: S3Endpoint) -> StoreAdministrator:
    return StoreAdministrator(
        url=endpoint.url,
        name=endpoint.credentials.access_key,
        secret_key=endpoint.credentials.secret_key,
        region=endpoint.region,
        authority=endpoint.authority,
    )


def _ensured(ensure: Callable[[], None]) -> None:
    deadline = time.monotonic() + _STARTING_SECONDS
    while True:
        try:
            return ensure()
        except UsersRefused as error:
            raise LocalClusterError(str(error)) from error
        except UsersNotReady as error:
            if time.monotonic() > deadline:
                raise LocalClusterError(str(error)) from error
        time.sleep(_POLL_SECONDS)


def open_store(endpoint: S3Endpoint, **options: Any) -> S3Client:
    """A client of boto3; ``options`` are further ones of botocore's Config."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.credentials.access_key,
        aws_secret_access_key=endpoint.credentials.secret_key,
        verify=str(endpoint.authority) if endpoint.authority else None,
        config=Config(s3={"addressing_style": "path"}, proxies={}, **options),
    )


def ensure_bucket(endpoint: S3Endpoint, bucket: str) -> None:
    """Creates a bucket if missing.

    Raises:
        LocalClusterError: the server refused.
    """
    client = open_store(endpoint)
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _EXISTS:
            raise LocalClusterError(f"creating bucket {bucket} at {endpoint.url}: {error}") from error
    except BotoCoreError as error:
        raise LocalClusterError(f"creating bucket {bucket} at {endpoint.url}: {error}") from error
    finally:
        client.close()
