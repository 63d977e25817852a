"""The content of the demo: a miniature of Granite 3.1 8B FP8, uploaded to the local store and registered.

A data scientist would apply the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse_local.errors import LocalClusterError
from gatehouse_local.miniature import miniature_granite

__all__ = [
    "ARTIFACT_URI",
    "MODEL",
    "NAMESPACE",
    "STORE_VARIABLES",
    "VERSION",
    "manifests",
    "put_file",
    "upload_miniature",
]

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAMESPACE: Final = "private-ai"
MODEL: Final = "granite-3.1-8b-instruct-fp8"
VERSION: Final = "granite-3.1-8b-instruct-fp8-3.1-may2025-validated"
BUCKET: Final = "models"
PREFIX: Final = "granite-3.1-8b-instruct-FP8-dynamic/"
STORE_VARIABLES: Final = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""The variables that name the local store in an environment."""
ARTIFACT_URI: Final = f"s3://{BUCKET}/{PREFIX}"


def upload_miniature(env: Mapping[str, str]) -> int:
    """Uploads the miniature's files to the store in ``env`` (as ``gatehouse local env``); returns their number."""
    files = miniature_granite()
    with closing(_store(env)) as store:
        for name, content in files.items():
            store.put_object(Bucket=BUCKET, Key=PREFIX + name, Body=content)
    return len(files)


def put_file(env: Mapping[str, str], file: Path, uri: str) -> None:
    """Creates or replaces one object of the store that ``env`` names.

    Raises LocalClusterError for a URI that names no object, and when the store refuses.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key or key.endswith("/"):
        raise LocalClusterError(f"{uri} names no object; expected something like s3://{BUCKET}/granite/README.md")
    with closing(_store(env)) as store:
        try:
            store.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
        except (BotoCoreError, ClientError) as error:
            raise LocalClusterError(f"{uri} was not written: {error}") from error


def _store(env: Mapping[str, str]) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def manifests() -> tuple[dict[str, Any], ...]:
    """The Namespace, RegisteredModel and ModelVersion."""
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "RegisteredModel",
            "metadata": {"name": MODEL, "namespace": NAMESPACE},
            "spec": {
                "displayName": "Granite 3.1 8B Instruct FP8 (a miniature)",
                "provider": "IBM",
                "license": "Apache-2.0",
                "riskTier": "Medium",
                "tasks": ["text-generation"],
                "languages": ["en"],
                "owners": ["private-ai"],
            },
        },
        {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": VERSION, "namespace": NAMESPACE},
            "spec": {
                "modelRef": {"name": MODEL},
                "version": "3.1-May2025-Validated",
                "submittedBy": "admin",
                "artifact": {"uri": ARTIFACT_URI, "format": "safetensors", "quantization": "FP8-dynamic"},
                "hardwareProfileRef": {"name": "nvidia-l4"},
                "runtime": "vLLM",
                "serving": {"maxModelLen": 16384},
                "lineage": {"baseModel": "ibm-granite/granite-3.1-8b-instruct"},
            },
        },
    )
