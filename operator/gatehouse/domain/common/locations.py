"""Which namespaces may use a registry, which store has an artifact, and which AWS host serves a region.

The name of a bucket is unique within a partition, at all of the partition's hosts: regional, dual-stack, FIPS or a VPC
endpoint. A request is signed for the region of its host; AWS accepts no other.

Source: ``partitions.json`` of botocore, with which a test compares this table, and
https://docs.aws.amazon.com/general/latest/gr/s3.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from gatehouse.api.model_registry import LabelSelector, LabelSelectorRequirement, ModelRegistry, ObjectStore
from gatehouse.domain.common.errors import Stalled

__all__ = [
    "PARTITIONS",
    "ArtifactLocation",
    "AwsHost",
    "Partition",
    "allows_namespace",
    "duration",
    "endpoint_of",
    "folder_of",
    "host_of",
    "locate",
    "partition_of",
    "s3_endpoint",
    "selects",
    "signing_region",
    "store_for",
]

_SECONDS: Final = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class ArtifactLocation:
    """Bucket and prefix of an artifact; the prefix ends with a slash, or is empty for the whole bucket."""

    bucket: str
    prefix: str


def locate(uri: str) -> ArtifactLocation:
    """Bucket and prefix of ``s3://bucket/prefix``; the CRD has checked its form."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    folder = prefix.rstrip("/")
    return ArtifactLocation(bucket=bucket, prefix=f"{folder}/" if folder else "")


def folder_of(uri: str) -> str:
    """The URI with a slash at its end, as templates and admission write it: without it, KServe also loads siblings."""
    return uri.rstrip("/") + "/"


def store_for(registry: ModelRegistry, uri: str) -> ObjectStore | None:
    """The object store of the registry with the longest prefix of ``uri``, if any."""
    folder = folder_of(uri)
    matching = [store for store in registry.spec.object_stores if folder.startswith(store.uri_prefix)]
    return max(matching, key=lambda store: len(store.uri_prefix), default=None)


def endpoint_of(store: ObjectStore) -> tuple[str, str]:
    """Endpoint without a slash at its end, and the region to sign for.

    Raises Stalled (RegionUnknown) when no endpoint is named and AWS has no such region.
    """
    endpoint = store.endpoint or s3_endpoint(store.region)
    if endpoint is None:
        raise Stalled(
            reason="RegionUnknown",
            message=f"the object store of {store.uri_prefix} has no endpoint, and its region is {store.region}; "
            "expected: a region of AWS, as us-east-1, or an endpoint",
            remedy="Name the store's endpoint, or the region of the bucket at AWS.",
        )
    return endpoint.rstrip("/"), signing_region(endpoint, store.region)


def allows_namespace(registry: ModelRegistry, namespace: str, labels: Mapping[str, str] | None) -> bool:
    """Whether the registry keeps models of ``namespace``. Labels of None mean that the namespace is not known."""
    allowed = registry.spec.allowed_namespaces
    if namespace == registry.metadata.namespace or allowed.from_ == "All":
        return True
    if allowed.from_ == "Same" or allowed.selector is None or labels is None:
        return False
    return selects(allowed.selector, labels)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches an object with these labels."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values


@lru_cache(maxsize=256)
def duration(text: str) -> timedelta:
    """A Go duration in whole hours, minutes and seconds, as in ``1h30m``; the CRD has checked its form."""
    total, number = 0, ""
    for char in text:
        if char in _SECONDS:
            total += int(number) * _SECONDS[char]
            number = ""
        else:
            number += char
    return timedelta(seconds=total)


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of AWS with its own accounts, keys and bucket names; ``regions`` is a pattern of its regions' names."""

    name: str
    suffix: str
    regions: str

    def has(self, region: str) -> bool:
        """Whether a region belongs to the partition."""
        return re.fullmatch(self.regions, region, re.ASCII) is not None


PARTITIONS: Final = (
    Partition("aws", "amazonaws.com", r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+"),
    Partition("aws-cn", "amazonaws.com.cn", r"cn-\w+-\d+"),
    Partition("aws-eusc", "amazonaws.eu", r"eusc-(de)-\w+-\d+"),
    Partition("aws-iso", "c2s.ic.gov", r"us-iso-\w+-\d+"),
    Partition("aws-iso-b", "sc2s.sgov.gov", r"us-isob-\w+-\d+"),
    Partition("aws-iso-e", "cloud.adc-e.uk", r"eu-isoe-\w+-\d+"),
    Partition("aws-iso-f", "csp.hci.ic.gov", r"us-isof-\w+-\d+"),
    Partition("aws-us-gov", "amazonaws.com", r"us-gov-\w+-\d+"),
)

_REGION: Final = r"(?P<region>[a-z0-9]+(?:-[a-z0-9]+)+)"
_HOSTS: Final = (
    # Regional, dual-stack and FIPS, with or without the bucket in front; s3-REGION is the old form.
    rf"(?:.+\.)?s3(?:-fips)?(?:\.dualstack)?[.-]{_REGION}",
    rf"(?:.+\.)?vpce-[a-z0-9-]+\.s3\.{_REGION}\.vpce",
)
_GLOBAL: Final = re.compile(r"(?:.+\.)?s3(?:-external-1)?\.amazonaws\.com")
"""The host without a region, which is that of us-east-1."""


@dataclass(frozen=True, slots=True)
class AwsHost:
    """A host of AWS that serves S3: the name of its partition, and its region."""

    partition: str
    region: str


def partition_of(region: str) -> Partition | None:
    """The partition of a region; None when AWS has no regions with such a name."""
    return next((partition for partition in PARTITIONS if partition.has(region)), None)


def s3_endpoint(region: str) -> str | None:
    """The regional endpoint of S3, as an URL; None when AWS has no regions with such a name."""
    partition = partition_of(region)
    return None if partition is None else f"https://s3.{region}.{partition.suffix}"


@lru_cache(maxsize=256)
def host_of(endpoint: str) -> AwsHost | None:
    """Partition and region of an endpoint of AWS; None for any other store, and for a port other than that of https."""
    host = (urlsplit(endpoint).netloc).lower().removesuffix(":443")
    if _GLOBAL.fullmatch(host):
        return AwsHost("aws", "us-east-1")
    for partition in PARTITIONS:
        if not host.endswith(f".{partition.suffix}"):
            continue
        name = host.removesuffix(f".{partition.suffix}")
        for pattern in _HOSTS:
            matched = re.fullmatch(pattern, name, re.ASCII)
            if matched is not None and partition.has(matched["region"]):
                return AwsHost(partition.name, matched["region"])
    return None


def signing_region(endpoint: str, region: str) -> str:
    """The region of a host of AWS, which accepts signatures for no other; for other stores the given ``region``."""
    host = host_of(endpoint)
    return region if host is None else host.region
