"""Events of object stores as values: MinIO's and S3's records, and S3's events as EventBridge passes them on.

::

    {"Records": [{"s3": {"bucket": {"name": "models"}, "object": {"key": "a%2Fb"}}}]}
    {"detail-type": "Object Created", "detail": {"bucket": {"name": "models"}, "object": {"key": "a/b"}}}

Of an event only the bucket and the key are read. Both are a stranger's words: they say where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.common.locations import locate, store_for
from gatehouse.server.errors import BadRequest

__all__ = ["MOST_RECORDS", "StoreEvent", "hinted_folders", "read_store_events"]

MOST_RECORDS: Final = 1_000
"""Records of one call."""
_DEEPEST: Final = 16
_MOST_ITEMS: Final = 200_000
_LONGEST_KEY: Final = 1_024
"""Bytes of an object's key in S3."""
_LONGEST_BUCKET: Final = 63


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """Something happened to an object."""

    bucket: str
    key: str


def read_store_events(body: bytes) -> Sequence[StoreEvent]:
    """The events of a call. An event whose bucket or key cannot exist is left out.

    Raises BadRequest for a body of another form, and for too many records.
    """
    try:
        document = bounded_json.loads(
            body, what="the body", max_bytes=len(body), max_depth=_DEEPEST, max_items=_MOST_ITEMS, unique_keys=False
        )
    except FormatError as error:
        raise BadRequest(str(error)) from None
    if not isinstance(document, dict):
        raise BadRequest(f"the body is {shown(document)}; expected: an object with Records or detail")
    if "detail" in document:
        return [event for event in [_event(document["detail"], "detail", encoded=False)] if event is not None]
    records = document.get("Records", [])
    if not isinstance(records, list):
        raise BadRequest(f"Records is {shown(records)}; expected: a list of events")
    if len(records) > MOST_RECORDS:
        raise BadRequest(f"the body has {len(records)} records; expected: at most {MOST_RECORDS} in one call")
    return list(_recorded(records))


def hinted_folders(registry: ModelRegistry, events: Sequence[StoreEvent]) -> Sequence[str]:
    """The URIs of the folders of the objects, once each, of those folders that an object store of the registry has."""
    folders: dict[str, None] = {}
    buckets = {
        (location.scheme, location.bucket)
        for location in (locate(store.uri_prefix) for store in registry.spec.object_stores)
    }
    for event in events:
        folder = event.key.rpartition("/")[0]
        for scheme, bucket in sorted(buckets):
            uri = f"{scheme}://{bucket}/{folder}/" if folder else f"{scheme}://{bucket}/"
            if event.bucket == bucket and store_for(registry, uri) is not None:
                folders[uri] = None
    return list(folders)


def _recorded(records: Sequence[JsonValue]) -> Iterator[StoreEvent]:
    for number, record in enumerate(records):
        where = f"Records[{number}]"
        if not isinstance(record, dict) or "s3" not in record:
            raise BadRequest(f"{where} is {shown(record)}; expected: an event with the member s3")
        event = _event(record["s3"], f"{where}.s3", encoded=True)
        if event is not None:
            yield event


def _event(value: JsonValue, where: str, *, encoded: bool) -> StoreEvent | None:
    """The event. Keys in records are URL-encoded, with + for a blank; EventBridge's are not."""
    bucket, key = _text(value, where, "bucket", "name"), _text(value, where, "object", "key")
    if encoded:
        raw = unquote_to_bytes(key.replace("+", " ").encode("utf-8", "surrogatepass"))
        if len(raw) > _LONGEST_KEY:
            return None
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            return None
    possible = 0 < len(bucket) <= _LONGEST_BUCKET and 0 < len(key.encode("utf-8", "surrogatepass")) <= _LONGEST_KEY
    return StoreEvent(bucket, key) if possible and key.isprintable() and bucket.isprintable() else None


def _text(value: JsonValue, where: str, *names: str) -> str:
    for name in names:
        where = f"{where}.{name}"
        if not isinstance(value, dict) or name not in value:
            raise BadRequest(f"{where} is missing; expected: the bucket's name and the object's key")
        value = value[name]
    if not isinstance(value, str):
        raise BadRequest(f"{where} is {shown(value)}; expected: a text")
    return value
