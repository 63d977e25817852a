"""The hosts of AWS: which host serves S3 in a region, and which buckets a host has.

The name of a bucket is unique within a partition, at all of the partition's hosts: regional, dual-stack, FIPS or a VPC
endpoint. A request is signed for the region of its host; AWS accepts no other.

Source: ``partitions.json`` of botocore, with which a test compares this table, and
https://docs.aws.amazon.com/general/latest/gr/s3.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

__all__ = [
    "PARTITIONS",
    "AwsHost",
    "Partition",
    "host_of",
    "partition_of",
    "s3_endpoint",
    "signing_region",
]


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
"""The host without a region. It serves us-east-1."""


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
