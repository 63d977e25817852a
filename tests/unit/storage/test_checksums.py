"""Which checksum headers may stand for reading an object."""

from __future__ import annotations

import base64
import hashlib

import pytest

from gatehouse.storage.s3.checksums import full_object_sha256

DIGEST = hashlib.sha256(b"content")
VALUE = base64.b64encode(DIGEST.digest()).decode()


def test_a_full_object_checksum_counts() -> None:
    headers = {"x-amz-checksum-sha256": VALUE, "x-amz-checksum-type": "FULL_OBJECT"}
    assert full_object_sha256(headers) == DIGEST.hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": f'"{DIGEST.hexdigest()}"', "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-sha256": VALUE},
        {"x-amz-checksum-sha256": VALUE, "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-sha256": VALUE, "x-amz-checksum-type": "full_object"},
        {"x-amz-checksum-sha256": f"{VALUE}-2", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-sha256": VALUE[:-4], "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-sha256": "", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-sha256": "é" * 44, "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT"},
    ],
)
def test_nothing_else_does(headers: dict[str, str]) -> None:
    assert full_object_sha256(headers) is None
