"""What a user of an S3 store may do, tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

__all__ = ["READS", "WRITES", "allowed"]

READS = frozenset({"list", "versions", "get"})
"""What a user that may read is let do, of what is tried."""
WRITES = READS | {"put", "begin", "copy", "delete"}
"""What a user that may write is let do."""


_PROBE = "probe-of-rights/object"
_DONE = frozenset({"BucketAlreadyOwnedByYou", "MalformedPolicy"})
"""What is answered to whoever may do it, though nothing is done."""


def allowed(env: Mapping[str, str], *, bucket: str, key: str) -> set[str]:
    """Which of the operations the user that ``env`` names is let do; ``key`` is an object that is there.

    What is written is an object of its own, in no model's folder, and deleted again where that is allowed.
    """
    probe = _PROBE
    tries: dict[str, Callable[[Any], object]] = {
        "list": lambda s3: s3.list_objects_v2(Bucket=bucket, MaxKeys=1),
        "versions": lambda s3: s3.list_object_versions(Bucket=bucket, MaxKeys=1),
        "get": lambda s3: s3.get_object(Bucket=bucket, Key=key)["Body"].read(),
        "put": lambda s3: s3.put_object(Bucket=bucket, Key=probe, Body=b"x"),
        "begin": lambda s3: s3.abort_multipart_upload(
            Bucket=bucket, Key=probe, UploadId=s3.create_multipart_upload(Bucket=bucket, Key=probe)["UploadId"]
        ),
        "copy": lambda s3: s3.copy_object(Bucket=bucket, Key=probe, CopySource={"Bucket": bucket, "Key": key}),
        "delete": lambda s3: s3.delete_object(Bucket=bucket, Key=probe),
        "create bucket": lambda s3: s3.create_bucket(Bucket="of-my-own"),
        "set policy": lambda s3: s3.put_bucket_policy(Bucket=bucket, Policy="{}"),
    }
    client = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        verify=env.get("AWS_CA_BUNDLE") or None,
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 1}),
    )
    with closing(client):
        return {name for name, attempt in tries.items() if _is_allowed(lambda attempt=attempt: attempt(client))}


def _is_allowed(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code != "AccessDenied" and code not in _DONE:
            raise
        return code in _DONE
    return True
