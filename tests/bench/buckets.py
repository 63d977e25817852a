"""What is done to a store by hand: filling it, opening it to everybody, signing an address."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gatehouse_local.s3 import S3Endpoint, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["let_anybody_write", "s3_client", "signed_address"]


@contextlib.contextmanager
def s3_client(endpoint: S3Endpoint) -> Iterator[S3Client]:
    """A client of one store."""
    with contextlib.closing(open_store(endpoint, signature_version="s3v4")) as client:
        yield client


def let_anybody_write(endpoint: S3Endpoint, bucket: str) -> None:
    """So that filling the bucket costs no signatures."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": ["s3:PutObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/*"],
    }
    with s3_client(endpoint) as client:
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def signed_address(endpoint: S3Endpoint, bucket: str, key: str) -> str:
    """Where curl can get an object for an hour."""
    with s3_client(endpoint) as client:
        return client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600)
