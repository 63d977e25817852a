"""The storage initializer of the cluster's own KServe: whose word counts, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.cluster.client import ApiError, ApiUnavailable
from gatehouse.cluster.kserve import KubernetesKServe, initializer_of, namespace_of
from gatehouse.controllers.kserve_images import ClusterInitializer
from gatehouse.domain.admission.objects import Common
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.domain.runtimes.arguments import KNOWN_INITIALIZERS

DIGEST = f"registry.example.com/odh/storage-initializer@sha256:{'ab' * 32}"
WEBHOOKS = ("mutatingwebhookconfigurations", "", "inferenceservice.serving.kserve.io")


def webhooks(*namespaces: str) -> dict[str, Any]:
    return {"webhooks": [{"clientConfig": {"service": {"namespace": each}}} for each in namespaces]}


def config(image: object) -> dict[str, Any]:
    return {"data": {"storageInitializer": json.dumps({"image": image, "memoryRequest": "100Mi"})}}


class Api:
    """Objects by plural, namespace and name; remembers what it was asked for."""

    def __init__(self, objects: Mapping[tuple[str, str, str], Any]) -> None:
        self.objects = dict(objects)
        self.asked: list[tuple[str, str, str]] = []

    async def get(self, plural: str, namespace: str = "", name: str = "") -> Any:
        self.asked.append((plural, namespace, name))
        found = self.objects.get((plural, namespace, name))
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise ApiError(status=404, reason="NotFound", message="no such object")
        return found


def read(api: Api) -> str | None:
    return asyncio.run(KubernetesKServe(api).initializer())  # type: ignore[arg-type]  # what of a client is needed


def test_it_is_read_where_the_api_server_sends_inference_services() -> None:
    where = ("configmaps", "redhat-ods-applications", "inferenceservice-config")
    api = Api({WEBHOOKS: webhooks(*["redhat-ods-applications"] * 2), where: config(DIGEST)})
    assert read(api) == DIGEST
    assert api.asked == [WEBHOOKS, where]


def test_a_config_map_of_that_name_elsewhere_is_not_looked_at() -> None:
    """Anybody may make a namespace and put one there."""
    api = Api(
        {("configmaps", each, "inferenceservice-config"): config(DIGEST) for each in ("kserve", "default", "mine")}
    )
    assert read(api) is None
    api.objects[WEBHOOKS] = webhooks("kserve-of-the-platform")
    assert read(api) is None
    assert {namespace for plural, namespace, _ in api.asked if plural == "configmaps"} == {"kserve-of-the-platform"}


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"webhooks": None},
        {"webhooks": {}},
        {"webhooks": ["x"]},
        {"webhooks": [{"clientConfig": {"url": "https://127.0.0.1:1"}}]},
        webhooks("one", "another"),
        {"webhooks": [*webhooks("one")["webhooks"], {"clientConfig": {"url": "https://127.0.0.1:1"}}]},
        webhooks(""),
    ],
)
def test_webhooks_that_name_no_namespace_or_several_name_none(found: dict[str, Any]) -> None:
    assert namespace_of(found) is None


@pytest.mark.parametrize("image", [DIGEST, "kserve/storage-initializer:v0.22.0", "mirror:5000/x/storage-initializer:1"])
def test_an_image_with_a_tag_or_a_digest_is_taken_as_it_is_written(image: str) -> None:
    assert initializer_of(config(image)) == image


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"data": None},
        {"data": {}},
        {"data": {"storageInitializer": ""}},
        {"data": {"storageInitializer": "not json"}},
        {"data": {"storageInitializer": "[]"}},
        {"data": {"storageInitializer": json.dumps({"image": DIGEST, "x": "y" * 70_000})}},
        *(config(each) for each in (None, 7, [], "", "kserve/storage-initializer", "a b:1", "*:1", f"{'a' * 600}:1")),
    ],
)
def test_what_is_no_image_with_a_tag_or_a_digest_is_none(found: dict[str, Any]) -> None:
    assert initializer_of(found) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_is_there_nothing_is_raised(anything: Any) -> None:
    assert namespace_of({"webhooks": anything}) is None
    for found in ({"data": anything}, {"data": {"storageInitializer": anything}}, config(anything)):
        image = initializer_of(found)
        assert image is None or (isinstance(anything, str) and image == anything)


@pytest.mark.parametrize("status", [403, 500])
def test_a_refusal_is_told_and_is_not_taken_for_no_kserve(status: int) -> None:
    api = Api({WEBHOOKS: ApiError(status=status, reason="x", message="no")})
    with pytest.raises(ReconcileError, match=f"reading mutatingwebhookconfigurations .*{status}"):
        read(api)


# What is made of it


class Reader:
    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers = list(answers)

    async def initializer(self) -> str | None:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def away() -> Transient:
    return Transient(reason="ApiUnavailable", message="no answer")


async def test_it_is_read_when_it_is_first_asked_for_and_then_now_and_then() -> None:
    told: list[str] = []
    kept = ClusterInitializer(reader=Reader("a:1", "a:1", "a:2", None), changed=lambda: told.append("changed"))
    assert await kept.images() == await kept.images() == ("a:1",)
    await kept.sweep()
    assert told == []
    await kept.sweep()
    assert (await kept.images(), told) == (("a:2",), ["changed"])
    await kept.sweep()
    assert (await kept.images(), told) == ((), ["changed"] * 2)


async def test_that_it_cannot_be_read_holds_nothing_up_and_is_made_up_for() -> None:
    """A revocation must be told of, whatever may not be read: an operator may lack the right."""
    told: list[str] = []
    kept = ClusterInitializer(reader=Reader(away(), away(), "a:1"), changed=lambda: told.append("changed"))
    assert await kept.images() == ()
    await kept.sweep()
    assert told == []
    await kept.sweep()
    assert (await kept.images(), told) == (("a:1",), ["changed"])


async def test_an_outage_keeps_what_was_read_last() -> None:
    told: list[str] = []
    kept = ClusterInitializer(reader=Reader("a:1", away(), "a:1"), changed=lambda: told.append("changed"))
    assert await kept.images() == ("a:1",)
    await kept.sweep()
    assert await kept.images() == ("a:1",)
    await kept.sweep()
    assert told == []


def test_admission_is_told_of_it_beside_what_is_known() -> None:
    common = Common.of(runtimes=(), registries=(), accelerators=(), initializers=[DIGEST])
    assert set(common.initializers) == {DIGEST, *KNOWN_INITIALIZERS}


def test_an_unavailable_api_server_is_no_answer() -> None:
    with pytest.raises(Transient):
        read(Api({WEBHOOKS: ApiUnavailable("refused")}))
