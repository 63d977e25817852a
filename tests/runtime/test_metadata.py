"""The client that the resync lists metadata with, on an API server of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client.configuration import Configuration

from gatehouse.cluster.client import ApiClient
from gatehouse.cluster.inventory import KubernetesMetadata
from gatehouse.runtime.resync import ListingFailed, MetadataPage
from runtime.fakeapi import WIDGETS, FakeApi, Fault


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as served:
        yield served


async def pages(host: str, namespace: str | None = None) -> list[MetadataPage]:
    async with ApiClient(Configuration(host=host)) as client:
        return [page async for page in KubernetesMetadata(client).list_metadata(WIDGETS, namespace)]


async def test_every_object_is_listed_once_with_the_version_of_one_list(api: FakeApi) -> None:
    versions = {}
    for number in range(1_001):
        body = api.put(f"w{number}", spec={"number": number})
        versions[body["metadata"]["name"]] = body["metadata"]["resourceVersion"]
    listed = await pages(api.url)
    assert [len(page.objects) for page in listed] == [500, 500, 1]
    assert {made.name: made.resource_version for page in listed for made in page.objects} == versions
    assert len({page.resource_version for page in listed}) == 1


async def test_only_the_namespace_is_listed(api: FakeApi) -> None:
    api.put("a", namespace="red")
    api.put("b", namespace="blue")
    [page] = await pages(api.url, "red")
    assert [(made.namespace, made.name) for made in page.objects] == [("red", "a")]


async def test_a_list_without_objects_is_one_page(api: FakeApi) -> None:
    [page] = await pages(api.url)
    assert page.objects == ()
    assert page.resource_version


async def test_a_server_that_does_not_answer_is_a_failed_list() -> None:
    with pytest.raises(ListingFailed, match="does not answer"):
        await pages("http://127.0.0.1:1")


async def test_a_server_that_refuses_is_a_failed_list(api: FakeApi) -> None:
    api.faults.append(Fault(matches=lambda _request: True, status=403))
    with pytest.raises(ListingFailed, match="injected"):
        await pages(api.url)
