"""The command ``gatehouse upload``: its output, its errors, and TLS."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from cluster.buckets import Bucket, WallClock, bucket_at, opened
from cluster.countingproxy import running
from cluster.upload.uploads import keys, run, verified, write
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse_local.s3 import S3Endpoint
from modelfiles import safetensors_file


async def test_tls_with_the_stores_own_authority(minio_tls: S3Endpoint, small: Path) -> None:
    with bucket_at(minio_tls) as bucket:
        code, out, err = await run(small, bucket, minio_tls.url, f"--ca={minio_tls.authority}", "-o", "json")
        assert code == 0, err
        assert json.loads(out)["digest"] == (await verified_at(bucket, minio_tls)).record.digest

        code, out, err = await run(small, bucket, minio_tls.url)
        assert (code, out) == (2, "")
        assert "--ca" in err


async def verified_at(bucket: Bucket, endpoint: S3Endpoint) -> CheckResult:
    assert endpoint.authority is not None
    async with opened(bucket, ca_pem=endpoint.authority.read_text()) as store:
        request = CheckRequest(store=store, prefix="m/", artifact_format="safetensors")
        return await Verifier(request, clock=WallClock(), slots=CheckSlots()).run()


async def test_the_command_prints_the_digest_and_a_version_to_apply(minio_bucket: Bucket, small: Path) -> None:
    (small / ".gitattributes").write_text("*.safetensors filter=lfs")
    options = ("--model=Granite 3.1", "--version=3.1", "--hardware-profile=nvidia-l40s", "--namespace=private-ai")
    code, out, err = await run(small, minio_bucket, minio_bucket.endpoint.url, "--dry-run", *options)
    assert code == 0, err
    assert keys(minio_bucket) == []
    assert "would send 2 of 2 files" in out

    code, out, err = await run(small, minio_bucket, minio_bucket.endpoint.url, *options)

    assert code == 0, err
    digest = (await verified(minio_bucket)).record.digest
    assert out.startswith(f"# {digest}\n")
    assert "left out: .gitattributes" in err
    assert minio_bucket.endpoint.credentials.secret_key not in out + err
    version = yaml.safe_load(out)
    assert version["metadata"] == {"name": "granite-3.1-3.1", "namespace": "private-ai"}
    assert version["spec"] == {
        "modelRef": {"name": "granite-3.1"},
        "version": "3.1",
        "artifact": {"uri": f"s3://{minio_bucket.name}/m/", "format": "safetensors", "digest": digest},
        "hardwareProfileRef": {"name": "nvidia-l40s"},
    }


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"evil.pkl": b"x"}, 1, "UnsafeFile"),
        ({"config.json": b"{"}, 1, "config.json"),
        ({"model.safetensors": safetensors_file({"a": ("BF16", (4, 4))})[:-1]}, 1, "model.safetensors"),
        ({"empty.txt": b""}, 1, "EmptyFile"),
        ({"new\nline.txt": b"x"}, 1, "HostileName"),
    ],
)
async def test_what_the_operator_would_refuse_is_refused_before_a_byte_is_sent(
    minio_bucket: Bucket, small: Path, change: dict[str, bytes], code: int, said: str
) -> None:
    write(small, change)
    async with running(minio_bucket.endpoint.url) as proxy:
        found = await run(small, minio_bucket, proxy.url)
        assert (found[0], found[1]) == (code, "")
        assert said in found[2]
        assert proxy.requests == Counter()


async def test_wrong_credentials_and_no_bucket_are_errors_that_say_so(minio_bucket: Bucket, small: Path) -> None:
    other = Bucket(minio_bucket.endpoint, "no-such-bucket", minio_bucket.client)
    code, _, err = await run(small, other, other.endpoint.url)
    assert code == 1
    assert "no such bucket" in err

    code, _, err = await run(small, minio_bucket, minio_bucket.endpoint.url, secret="wrong-wrong-wrong")
    assert code == 2
    assert "AWS_SECRET_ACCESS_KEY" in err
    assert "wrong-wrong" not in err
