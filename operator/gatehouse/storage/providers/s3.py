"""S3: AWS, MinIO, and every other store that speaks its protocol."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gatehouse.storage.providers.aws import AwsHost, host_of, partition_of, s3_endpoint, signing_region
from gatehouse.storage.providers.provider import Connection, Place, Provider

__all__ = ["ACCESS_KEY", "S3", "SECRET_KEY"]

ACCESS_KEY: Final = "AWS_ACCESS_KEY_ID"
SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a key
_AWS: Final = "the endpoint of AWS"


@lru_cache(maxsize=256)
def _place(endpoint: str | None, region: str) -> Place | None:
    endpoint = endpoint or s3_endpoint(region)
    if endpoint is None:
        return None
    return Place(
        endpoint=endpoint.rstrip("/"),
        region=signing_region(endpoint, region),
        # AWS accepts the bucket in the path, where KServe's initializer puts it when an endpoint is set.
        any_addressing=host_of(endpoint) is not None,
    )


@lru_cache(maxsize=256)
def _identity(endpoint: str | None, region: str) -> str:
    """One spelling of an endpoint: host names have no case, a scheme has a default port, and AWS has many hosts.

    A bucket name of AWS means one bucket at all hosts of a partition, and another bucket in every other partition.
    """
    at = AwsHost(known.name, region) if (known := partition_of(region)) else None
    if endpoint is not None:
        at = host_of(endpoint) if endpoint.lower().startswith("https://") else None
    if at is not None or endpoint is None:
        return _AWS if at is None or at.partition == "aws" else f"{_AWS} ({at.partition})"
    scheme, _, host = endpoint.rstrip("/").lower().partition("://")
    return f"{scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}.get(scheme, ''))}"


def _kserve_connection(connection: Connection) -> dict[str, str]:
    credentials = dict(zip(("access_key_id", "secret_access_key"), connection.credentials, strict=False))
    optional = {"bucket": connection.bucket, "cabundle_configmap": connection.ca_config_map}
    return {
        "type": S3.connection_type,
        "endpoint_url": connection.endpoint,
        "region": connection.region,
        **{name: value for name, value in optional.items() if value},
        **(credentials or {"anonymous": "True"}),
    }


def _data_connection(connection: Connection) -> dict[str, str]:
    return {
        **dict(zip(S3.credential_keys, connection.credentials, strict=False)),
        "AWS_S3_ENDPOINT": connection.endpoint,
        "AWS_DEFAULT_REGION": connection.region,
        "AWS_S3_BUCKET": connection.bucket,
    }


S3: Final = Provider(
    scheme="s3",
    bucket=r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    characters=r"A-Za-z0-9._-",
    stores="gatehouse.storage.s3.client:S3Stores",
    commands="gatehouse.storage.s3.environment:open_from_environment",
    regions="a region of AWS, as us-east-1",
    place=_place,
    identity=_identity,
    credential_keys=(ACCESS_KEY, SECRET_KEY),
    session_key="AWS_SESSION_TOKEN",
    command_remedies=MappingProxyType(
        {
            "AccessDenied": "The access key needs s3:ListBucket, s3:GetObject, s3:PutObject, "
            "s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts, and s3:DeleteObject for --prune.",
            "CredentialsRejected": f"Set {ACCESS_KEY} and {SECRET_KEY}, or AWS_PROFILE, to valid credentials.",
            "CredentialsExpired": "Renew AWS_SESSION_TOKEN and the keys that came with it, or log in again.",
            "CertificateRejected": "Name the CA certificates of the store with --ca or AWS_CA_BUNDLE, or correct the "
            "endpoint.",
            "RegionMismatch": "Set AWS_DEFAULT_REGION or --region, and AWS_ENDPOINT_URL or --endpoint.",
            "RedirectRefused": "Set --endpoint to the address at which the store itself answers, if it belongs to the "
            "store.",
            "TlsRequired": "Use https:// in --endpoint.",
            "AddressingRefused": "Use --addressing virtual.",
            "RequesterPays": "Use --requester-pays if the account of the access key may pay.",
            "ProxyRefused": "Correct HTTPS_PROXY, or exclude the endpoint with NO_PROXY.",
            "StoreRefused": "Check --endpoint, the bucket and --region.",
        }
    ),
    connection_type="s3",
    kserve_connection=_kserve_connection,
    data_connection=_data_connection,
    virtual_host_variable="S3_USER_VIRTUAL_BUCKET",
)
