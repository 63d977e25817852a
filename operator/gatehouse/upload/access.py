"""Access to a store, found as boto3 does: environment, profile, roles of a cluster or a machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from botocore.session import Session
from pydantic import ValidationError

from gatehouse.api.model_version import Artifact
from gatehouse.domain.common.locations import ArtifactLocation, locate, signing_region
from gatehouse.errors import InputInvalid
from gatehouse.storage.s3.transport import RequestOptions
from gatehouse.storage.s3.uploads import BucketAccess

__all__ = ["StoreFlags", "bucket_access", "location_of"]

_MAX_CA_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFlags:
    """Flags of a command. None leaves the value to the environment."""

    endpoint: str | None = None
    region: str | None = None
    ca: Path | None = None
    addressing: Literal["path", "virtual"] | None = None
    requester_pays: bool = False


def location_of(uri: str) -> ArtifactLocation:
    """Bucket and prefix of a URI that is valid in ``spec.artifact.uri``. Raises InputInvalid."""
    try:
        Artifact(uri=uri)
    except ValidationError:
        raise InputInvalid(
            f"the URI is {uri!r}; expected: s3://bucket/folder/, with letters, digits, dots, dashes and underscores"
        ) from None
    location = locate(uri)
    if not {".", ".."}.isdisjoint(location.prefix.split("/")):
        raise InputInvalid(f"the URI is {uri!r}; expected: no '.' or '..' as a segment")
    return location


def bucket_access(bucket: str, flags: StoreFlags) -> BucketAccess:
    """Endpoint, region and credentials for a bucket. Raises InputInvalid, OSError."""
    session = Session()
    endpoint = _endpoint(flags.endpoint) if flags.endpoint else None
    try:
        # boto3 reads AWS_DEFAULT_REGION alone; every other SDK reads AWS_REGION.
        region = flags.region or session.get_config_variable("region") or os.environ.get("AWS_REGION") or "us-east-1"
        client = session.create_client("s3", region_name=region, endpoint_url=endpoint)
        credentials = session.get_credentials()
    except (BotoCoreError, ValueError) as error:
        raise InputInvalid(f"the settings of the object store: {error}") from None
    if credentials is None:
        raise InputInvalid(
            "there are no credentials for the object store; expected: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in "
            "the environment, or a profile named by AWS_PROFILE"
        )
    ca = flags.ca or session.get_config_variable("ca_bundle")
    return BucketAccess(
        endpoint=_endpoint(str(client.meta.endpoint_url)),
        region=signing_region(str(client.meta.endpoint_url), region),
        bucket=bucket,
        credentials=credentials,
        ca_pem=_pem(Path(ca)) if ca else None,
        options=RequestOptions(
            virtual_host=(flags.addressing or _configured_addressing(session)) == "virtual",
            requester_pays=flags.requester_pays,
        ),
    )


def _configured_addressing(session: Session) -> str | None:
    """``s3.addressing_style`` of the profile, as the AWS CLI reads it."""
    settings = session.get_scoped_config().get("s3")
    return settings.get("addressing_style") if isinstance(settings, dict) else None


def _endpoint(url: str) -> str:
    split = urlsplit(url)
    if "@" in split.netloc:
        raise InputInvalid("the endpoint contains a user; expected: credentials in the environment")
    if split.scheme not in {"http", "https"} or not split.hostname or split.path.strip("/") or split.query:
        raise InputInvalid(f"the endpoint is {url!r}; expected: http:// or https://, a host and perhaps a port")
    return f"{split.scheme}://{split.netloc}"


def _pem(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_CA_BYTES + 1)
    if len(data) > _MAX_CA_BYTES or b"-----BEGIN CERTIFICATE-----" not in data:
        raise InputInvalid(f"{path} holds no certificates in PEM; expected: the CA certificates of the store")
    return data.decode("utf-8", "replace")
