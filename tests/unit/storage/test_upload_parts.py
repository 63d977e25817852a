"""How objects are cut into parts, and the store's answers about them."""

from __future__ import annotations

import base64
import hashlib
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.storage.parts import (
    MAX_OBJECT_BYTES,
    PART_BYTES,
    StoredPart,
    composite_sha256,
    part_size,
    parts_of,
)
from gatehouse.storage.s3.checksums import stored_sum
from gatehouse.storage.s3.multipart import completion, parse_begun, parse_copied, parse_parts, parse_unfinished
from gatehouse.storage.s3.xml import DocumentError

DIGEST = hashlib.sha256(b"part").digest()
B64 = base64.b64encode(DIGEST).decode()
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@given(st.integers(1, MAX_OBJECT_BYTES))
def test_parts_have_sizes_and_a_number_that_s3_takes(size: int) -> None:
    step = part_size(size)
    assert step % PART_BYTES == 0
    assert -(-size // step) <= 10_000


@given(st.integers(1, 400 * PART_BYTES))
def test_parts_cover_the_object_without_gap(size: int) -> None:
    parts = parts_of(size)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.start for part in parts[1:]] == [part.start + part.size for part in parts[:-1]]
    assert (parts[0].start, parts[-1].start + parts[-1].size) == (0, size)


def test_the_largest_object_has_10_000_parts_at_most() -> None:
    assert len(parts_of(MAX_OBJECT_BYTES)) <= 10_000
    assert part_size(10_000 * PART_BYTES) == PART_BYTES
    assert part_size(10_000 * PART_BYTES + 1) == 2 * PART_BYTES


def test_a_sum_of_parts_is_never_taken_for_one_of_the_whole() -> None:
    whole = {"x-amz-checksum-sha256": B64, "x-amz-checksum-type": "FULL_OBJECT", "ETag": '"e"'}
    assert (stored_sum(whole, size=4).sha256, stored_sum(whole, size=4).composite) == (DIGEST.hex(), None)
    for value in (B64, f"{B64}-3"):
        parts = {"x-amz-checksum-sha256": value, "x-amz-checksum-type": "COMPOSITE"}
        assert (stored_sum(parts, size=4).sha256, stored_sum(parts, size=4).composite) == (None, DIGEST.hex())
    for headers in (
        {},
        {"x-amz-checksum-sha256": B64},
        {"x-amz-checksum-sha256": "!", "x-amz-checksum-type": "COMPOSITE"},
    ):
        assert (stored_sum(headers, size=4).sha256, stored_sum(headers, size=4).composite) == (None, None)


def test_the_composite_is_the_hash_of_the_hashes() -> None:
    parts = [hashlib.sha256(data).hexdigest() for data in (b"a", b"b")]
    both = hashlib.sha256(b"a").digest() + hashlib.sha256(b"b").digest()
    assert composite_sha256(parts) == hashlib.sha256(both).hexdigest()


def test_the_etag_of_a_copy() -> None:
    copied = f'<CopyObjectResult xmlns="{NAMESPACE}"><ETag>&#34;e&#34;</ETag><LastModified>x</LastModified>'
    assert parse_copied(f"{copied}</CopyObjectResult>".encode()) == '"e"'
    assert parse_copied(b"<CopyObjectResult/>") == ""
    with pytest.raises(DocumentError):
        parse_copied(copied.encode())


def test_parts_of_an_unfinished_upload() -> None:
    page = parse_parts(
        f'<ListPartsResult xmlns="{NAMESPACE}"><IsTruncated>true</IsTruncated>'
        "<NextPartNumberMarker>2</NextPartNumberMarker>"
        f"<Part><PartNumber>1</PartNumber><ETag>&#34;e&#34;</ETag><Size>5</Size><ChecksumSHA256>{B64}</ChecksumSHA256>"
        "</Part><Part><PartNumber>2</PartNumber><ETag>f</ETag><Size>6</Size></Part></ListPartsResult>".encode()
    )
    assert page.next_marker == 2
    assert page.parts == (
        StoredPart(number=1, size=5, etag='"e"', sha256=DIGEST.hex()),
        StoredPart(number=2, size=6, etag="f", sha256=None),
    )


def test_only_uploads_of_the_key_itself_count() -> None:
    body = (
        "<ListMultipartUploadsResult><Upload><Key>m/a</Key><UploadId>1</UploadId></Upload>"
        "<Upload><Key>m/a.old</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>"
    )
    assert parse_unfinished(body.encode(), key="m/a") == ("1",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<InitiateMultipartUploadResult/>",
        b"<InitiateMultipartUploadResult><UploadId>a b</UploadId></InitiateMultipartUploadResult>",
        b"<ListPartsResult><UploadId>a</UploadId></ListPartsResult>",
        b"<!DOCTYPE x><InitiateMultipartUploadResult><UploadId>a</UploadId></InitiateMultipartUploadResult>",
    ],
)
def test_an_answer_without_an_upload_is_none(body: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_begun(body)


@pytest.mark.parametrize(
    "entry",
    [
        "<Part><ETag>e</ETag><Size>5</Size></Part>",
        "<Part><PartNumber>-1</PartNumber><ETag>e</ETag><Size>5</Size></Part>",
        "<Part><PartNumber>1</PartNumber><ETag>e</ETag><Size>5x</Size></Part>",
        "<Part><PartNumber>1</PartNumber><Size>5</Size></Part>",
        "<IsTruncated>true</IsTruncated>",
    ],
)
def test_parts_that_are_none(entry: str) -> None:
    with pytest.raises(DocumentError):
        parse_parts(f"<ListPartsResult>{entry}</ListPartsResult>".encode())


@given(st.binary(max_size=300))
def test_rubbish_is_refused(body: bytes) -> None:
    for parse in (parse_begun, parse_parts):
        with pytest.raises(DocumentError):
            parse(body)


@given(
    st.lists(
        st.builds(
            StoredPart,
            number=st.integers(1, 10_000),
            size=st.integers(1, 100),
            etag=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
            sha256=st.none() | st.just(DIGEST.hex()),
        ),
        unique_by=lambda part: part.number,
    )
)
def test_the_completion_names_every_part_in_order(parts: list[StoredPart]) -> None:
    root = ET.fromstring(completion(parts))  # noqa: S314
    found = [(int(part[0].text or ""), part[1].text, part[2].text if len(part) > 2 else None) for part in root]
    wanted = [(part.number, part.etag, B64 if part.sha256 else None) for part in parts]
    assert found == sorted(wanted)
