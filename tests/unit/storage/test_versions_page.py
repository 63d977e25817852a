"""A page of ListObjectVersions."""

from __future__ import annotations

import string
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.storage.s3.listing import ListedKey, parse_versions_page
from gatehouse.storage.s3.xml import DocumentError

ENTRY = {
    "Key": "m/a",
    "VersionId": "v1",
    "IsLatest": "true",
    "LastModified": "2026-11-01T00:00:00.000Z",
    "ETag": '"e"',
    "Size": "1",
}


def page(*entries: dict[str, str], head: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    shown = "".join(
        f"<Version>{''.join(f'<{name}>{escape(value)}</{name}>' for name, value in entry.items())}"
        "<Owner><ID>x</ID></Owner></Version>"
        for entry in entries
    )
    deleted = "<DeleteMarker><Key>m/gone</Key><VersionId>v9</VersionId><IsLatest>true</IsLatest></DeleteMarker>"
    return f"<ListVersionsResult>{head}{shown}{deleted}</ListVersionsResult>".encode()


def test_only_what_a_read_gets_counts() -> None:
    old = {**ENTRY, "VersionId": "v0", "IsLatest": "false"}
    found = parse_versions_page(page(ENTRY, old))
    assert found.keys == (ListedKey("m/a", 1, '"e"', "2026-11-01T00:00:00.000Z", "v1"),)
    assert found.following is None


def test_the_next_page_begins_where_this_one_ends() -> None:
    head = (
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        "<NextKeyMarker>m/a%20b%2B</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>"
    )
    assert parse_versions_page(page(head=head)).following == {"key-marker": "m/a b+", "version-id-marker": "v1"}
    without = head.replace("<NextVersionIdMarker>v1</NextVersionIdMarker>", "")
    assert parse_versions_page(page(head=without)).following == {"key-marker": "m/a b+"}
    with pytest.raises(DocumentError):
        parse_versions_page(page(head="<IsTruncated>true</IsTruncated>"))


@pytest.mark.parametrize("name", ["Key", "VersionId", "LastModified", "ETag", "Size"])
def test_a_version_that_lacks_something_makes_the_page_invalid(name: str) -> None:
    with pytest.raises(DocumentError):
        parse_versions_page(page({key: value for key, value in ENTRY.items() if key != name}))


@pytest.mark.parametrize("version", ["", "a b", "v\n1", "v" * 1025, "ü"])
def test_a_version_id_is_plain(version: str) -> None:
    with pytest.raises(DocumentError):
        parse_versions_page(page({**ENTRY, "VersionId": version}))


def test_a_listing_of_objects_is_none_of_versions() -> None:
    with pytest.raises(DocumentError):
        parse_versions_page(b"<ListBucketResult></ListBucketResult>")


@given(latest=st.lists(st.booleans(), max_size=6), key=st.text(string.ascii_letters + "/+ ", min_size=1, max_size=20))
def test_a_version_that_does_not_say_that_it_is_the_latest_is_not(latest: list[bool], key: str) -> None:
    entries = [{**ENTRY, "Key": f"{key}{number}", "IsLatest": str(each).lower()} for number, each in enumerate(latest)]
    entries += [{name: value for name, value in ENTRY.items() if name != "IsLatest"}, {**ENTRY, "IsLatest": "TRUE"}]
    assert len(parse_versions_page(page(*entries)).keys) == sum(latest)
