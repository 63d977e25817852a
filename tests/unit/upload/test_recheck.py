"""Asking the operator to check the versions of a URI: who may, whom it reaches, and that nothing is lost otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatehouse.cluster.client import ApiError, ApiUnavailable
from gatehouse.upload.recheck import ask_for_check


def version(namespace: str, name: str, uri: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"artifact": {"uri": uri}}}


VERSIONS = [
    version("a", "one", "s3://models/m/"),
    version("b", "two", "s3://models/m"),
    version("b", "other", "s3://models/m-2/"),
    version("c", "below", "s3://models/m/sub/"),
]


@dataclass
class FakeClient:
    """Lets list the namespaces ``listed`` (empty is all of them) and patch objects of ``patched``."""

    listed: set[str] = field(default_factory=lambda: {""})
    patched: set[str] = field(default_factory=lambda: {"a", "b", "c"})
    patches: dict[str, Any] = field(default_factory=dict)

    async def items(self, _plural: str, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        if namespace not in self.listed:
            raise ApiError(status=403, reason="Forbidden", message="no")
        for body in VERSIONS:
            if namespace in {"", body["metadata"]["namespace"]}:
                yield body

    async def patch(self, _plural: str, namespace: str, name: str, body: Any, **_options: Any) -> dict[str, Any]:
        if namespace not in self.patched:
            raise ApiError(status=403, reason="Forbidden", message="no")
        self.patches[f"{namespace}/{name}"] = body
        return {}


@pytest.mark.parametrize(
    ("client", "asked"),
    [
        (FakeClient(), ["a/one", "b/two"]),
        (FakeClient(listed={"b"}), ["b/two"]),
        (FakeClient(listed=set()), []),
        (FakeClient(patched={"a"}), ["a/one"]),
        (FakeClient(patched=set()), []),
    ],
)
async def test_the_versions_of_the_uri_that_one_may_annotate_are_asked_for(client: Any, asked: list[str]) -> None:
    assert await ask_for_check(client, "s3://models/m/", namespace="b") == asked
    assert sorted(client.patches) == asked
    for body in client.patches.values():
        assert list(body) == ["metadata"]
        assert list(body["metadata"]) == ["annotations"]
        assert list(body["metadata"]["annotations"]) == ["gatehouse.dev/reconcile-requested-at"]


async def test_a_cluster_that_does_not_answer_is_for_the_caller_to_pass_over() -> None:
    class Silent(FakeClient):
        async def items(self, _plural: str, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
            raise ApiUnavailable(namespace)
            yield {}

    client: Any = Silent()
    with pytest.raises(ApiUnavailable):
        await ask_for_check(client, "s3://models/m/", namespace="b")
