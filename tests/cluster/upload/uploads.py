"""Uploads of a folder, as a function and as the command, and what the store and the operator then have."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from botocore.credentials import Credentials

from cluster.buckets import Bucket, Metrics, WallClock, opened
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact.layout import MANIFEST
from gatehouse.storage.limits import Limits, RetryPolicy
from gatehouse.storage.s3.uploads import BucketAccess, open_bucket
from gatehouse.upload.check import CheckedArtifact, FolderCheck
from gatehouse.upload.folder import scan
from gatehouse.upload.folder_store import FolderStore
from gatehouse.upload.transfer import Upload, UploadOptions, UploadResult

__all__ = [
    "INDEX",
    "KEYS",
    "LARGE",
    "PARTS",
    "QUICK",
    "SMALL",
    "Sender",
    "command",
    "environment",
    "keys",
    "pass_on",
    "run",
    "unfinished",
    "verified",
    "write",
]

LARGE = "model-00001-of-00002.safetensors"
SMALL = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
QUICK = Limits(
    small=RetryPolicy(attempts=4, backoff=0.01, patience=1.0, deadline=20.0),
    content=RetryPolicy(attempts=4, backoff=0.01, patience=1.0, deadline=60.0),
)
PARTS = 4
KEYS = [f"m/{name}" for name in (LARGE, SMALL, INDEX, "tokenizer.json", "config.json", MANIFEST)]


def write(root: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Sender:
    """One upload of a folder, from its check on."""

    def __init__(self, folder: Path, bucket: Bucket, *, url: str | None = None, **options: int) -> None:
        endpoint = bucket.endpoint
        self.access = BucketAccess(
            endpoint=url or endpoint.url,
            region=endpoint.region,
            bucket=bucket.name,
            credentials=Credentials(endpoint.credentials.access_key, endpoint.credentials.secret_key),
            ca_pem=endpoint.authority.read_text() if endpoint.authority else None,
        )
        self.store = FolderStore(scan(folder))
        self.options = UploadOptions(**{"parallel": 4, **options})
        self.metrics = Metrics()
        self.artifact: CheckedArtifact | None = None

    async def check(self) -> CheckedArtifact:
        self.artifact = await FolderCheck(self.store, artifact_format="safetensors").run()
        return self.artifact

    async def send(self) -> UploadResult:
        artifact = self.artifact or await self.check()
        async with open_bucket(self.access, metrics=self.metrics, limits=QUICK) as opened_bucket:
            upload = Upload(opened_bucket, "m/", folder=self.store, artifact=artifact, options=self.options)
            return await upload.run(await upload.plan())


def keys(bucket: Bucket) -> list[str]:
    return [found["Key"] for found in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])]


def unfinished(bucket: Bucket, key: str) -> int:
    return len(bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=key).get("Uploads", []))


async def verified(bucket: Bucket, metrics: Metrics | None = None, *, content: bool = True) -> CheckResult:
    """What the operator finds."""
    async with opened(bucket, metrics=metrics) as store:
        request = CheckRequest(store=store, prefix="m/", artifact_format="safetensors", content=content)
        return await Verifier(request, clock=WallClock(), slots=CheckSlots()).run()


def command(folder: Path, bucket: Bucket, url: str, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gatehouse",
        "upload",
        str(folder),
        f"s3://{bucket.name}/m/",
        f"--endpoint={url}",
        *options,
    ]


def environment(bucket: Bucket) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    credentials = bucket.endpoint.credentials
    return kept | {"AWS_ACCESS_KEY_ID": credentials.access_key, "AWS_SECRET_ACCESS_KEY": credentials.secret_key}


async def run(
    folder: Path, bucket: Bucket, url: str, *options: str, secret: str | None = None
) -> tuple[int | None, str, str]:
    changed = {} if secret is None else {"AWS_SECRET_ACCESS_KEY": secret}
    process = await asyncio.create_subprocess_exec(
        *command(folder, bucket, url, *options),
        env=environment(bucket) | changed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def pass_on(_request: object) -> None:
    """A fault that is none: the request goes on to the store."""
    return
