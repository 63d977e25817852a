"""Which hosts of AWS serve which region, held to botocore's own table of partitions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.session import Session

from gatehouse.storage.providers.aws import PARTITIONS, AwsHost, host_of, partition_of, s3_endpoint


def botocores() -> list[dict[str, Any]]:
    partitions: list[dict[str, Any]] = Loader().load_data("partitions")["partitions"]
    return partitions


def test_the_partitions_are_botocores() -> None:
    theirs = {each["id"]: (each["outputs"]["dnsSuffix"], each["regionRegex"]) for each in botocores()}
    ours = {each.name: (each.suffix, f"^{each.regions}$") for each in PARTITIONS}
    assert ours == {name: (suffix, pattern.replace("\\-", "-")) for name, (suffix, pattern) in theirs.items()}


REGIONS = [
    (each["id"], region)
    for each in botocores()
    for region in sorted(name for name in each["regions"] if re.match(each["regionRegex"], name))[:2]
]


@pytest.mark.parametrize(("partition", "region"), REGIONS)
def test_the_endpoint_of_a_region_is_botocores(partition: str, region: str) -> None:
    """botocore asks the global host for us-east-1 where it does not ask for the regional one."""
    session = Session()
    session.set_config_variable("s3", {"us_east_1_regional_endpoint": "regional"})
    endpoint = s3_endpoint(region)
    assert endpoint is not None
    found = partition_of(region)
    assert found is not None
    assert found.name == partition
    made = session.create_client("s3", region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
    assert made.meta.endpoint_url in {endpoint, "https://s3.amazonaws.com"}
    for host in (
        endpoint,
        endpoint.replace("://s3.", "://s3.dualstack."),
        endpoint.replace("://s3.", "://s3-fips."),
        endpoint.replace("://s3.", "://s3-fips.dualstack."),
        endpoint.replace("://s3.", "://s3-"),
        endpoint.replace("://", "://models.v1."),
        endpoint.replace("://s3.", "://bucket.vpce-0a1b2c3d-4e5f.s3.").replace(region, f"{region}.vpce"),
        f"{endpoint}:443/",
        endpoint.upper().replace("HTTPS", "https"),
    ):
        assert host_of(host) == AwsHost(partition, region), host


@pytest.mark.parametrize("host", ["https://s3.amazonaws.com", "https://s3-external-1.amazonaws.com"])
def test_the_global_host_is_that_of_us_east_1(host: str) -> None:
    assert host_of(host) == AwsHost("aws", "us-east-1")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://minio.minio.svc:9000",
        "https://s3.example.com",
        "https://s3.us-east-1.amazonaws.com.example.com",
        "https://s3.us-east-1.example.com",
        "https://s3.cn-north-1.amazonaws.com",
        "https://s3.us-east-1.amazonaws.com.cn",
        "https://s3.us-iso-east-1.sc2s.sgov.gov",
        "https://xs3.us-east-1.amazonaws.com",
        "https://s3.us-east-1amazonaws.com",
        "https://ec2.us-east-1.amazonaws.com",
        "https://amazonaws.com",
        "https://s3.us-east-1.amazonaws.com:8443",
        "https://s3.us-east-1.amazonaws.com@example.com",
        "https://s3.us-éast-1.amazonaws.com",
        "https://127.0.0.1",
        "",
    ],
)
def test_any_other_host_is_none_of_aws(endpoint: str) -> None:
    assert host_of(endpoint) is None


@pytest.mark.parametrize("region", ["", "garage", "auto", "us-east", "cn-north-1x", "eu-isoe-west", "us-east-1\n"])
def test_a_region_that_aws_has_not_has_no_endpoint(region: str) -> None:
    assert s3_endpoint(region) is None
