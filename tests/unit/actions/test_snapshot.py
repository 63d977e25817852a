"""What is there: one snapshot from any source, with what the person may not read left out and named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

import worlds
from access import stored
from gatehouse.actions.objects import StoredObjects, read, read_if_allowed
from gatehouse.actions.snapshot import Snapshot, namespace_labels, read_snapshot, version_snapshot
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiError
from gatehouse.errors import Refused
from policies import approval, evaluation, policy

STATUS = {"registry": "gatehouse-system/local"}
NAMESPACE = {"kind": "Namespace", "metadata": {"name": "team", "labels": {"gatehouse.dev/stage": "staging"}}}


class Guarded:
    """A source that forbids kinds."""

    def __init__(self, objects: StoredObjects, *forbidden: str) -> None:
        self._objects = objects
        self._forbidden = forbidden

    async def get(self, plural: str, namespace: str = "", name: str = "") -> Mapping[str, Any]:
        self._check(plural)
        return await self._objects.get(plural, namespace, name)

    async def items(self, plural: str, namespace: str = "") -> AsyncIterator[Mapping[str, Any]]:
        self._check(plural)
        async for body in self._objects.items(plural, namespace):
            yield body

    def _check(self, plural: str) -> None:
        if plural in self._forbidden:
            raise ApiError(status=403, reason="Forbidden", message=f"{plural} is forbidden")


def everything() -> StoredObjects:
    objects = (
        worlds.version(status=STATUS),
        worlds.model(riskTier="High"),
        worlds.registry(),
        policy().policy,
        approval(),
        evaluation(),
    )
    return StoredObjects([*({**body.wire(), "kind": body.info.kind} for body in objects), NAMESPACE])


async def test_a_snapshot_knows_what_belongs_to_a_version() -> None:
    for snapshot in (
        await read_snapshot(everything()),
        await version_snapshot(everything(), worlds.version(status=STATUS)),
    ):
        (version,) = snapshot.versions
        assert (snapshot.missing, snapshot.tier_of(version)) == ([], "High")
        assert snapshot.stages_of(version) == ("staging", "production")
        assert [each.metadata.name for each in snapshot.approvals_of(version)] == ["bob-approved-10"]
        assert [each.name for each in snapshot.applying_to(version, snapshot.compiled)] == ["strict"]
        assert snapshot.namespaces == {"team": {"gatehouse.dev/stage": "staging"}}


async def test_kinds_that_the_person_may_not_read_are_named() -> None:
    hidden = ("modelregistries", "governancepolicies", "modelevaluations", "modelapprovals", "namespaces")
    snapshot = await read_snapshot(Guarded(everything(), *hidden))
    assert list(snapshot.missing) == list(hidden)
    (version,) = snapshot.versions
    assert snapshot.approvals_of(version) == snapshot.applying_to(version, snapshot.compiled) == ()
    about = await version_snapshot(Guarded(everything(), *hidden, "registeredmodels"), version)
    assert set(about.missing) == {"governancepolicies", "modelapprovals", "namespaces"}
    assert (about.tier_of(version), about.stages_of(version)) == (None, ())


async def test_versions_and_models_must_be_readable() -> None:
    for plural in ("modelversions", "registeredmodels"):
        with pytest.raises(ApiError, match="is forbidden"):
            await read_snapshot(Guarded(everything(), plural))


async def test_only_the_asked_namespace_and_fields_are_read() -> None:
    snapshot = await read_snapshot(everything(), namespace="other", without={"registries", "evaluations"})
    assert snapshot == Snapshot(policies=[policy().policy], missing=["namespaces"])
    assert await namespace_labels(everything(), "team") == {"team": {"gatehouse.dev/stage": "staging"}}


async def test_an_object_is_read_missing_or_not_understood() -> None:
    source = stored(worlds.model())
    assert (await read(source, RegisteredModel, "team", "granite")).metadata.name == "granite"
    assert await read_if_allowed(source, RegisteredModel, "team", "other") is None
    with pytest.raises(ApiError, match='modelversions "granite-1" not found'):
        await read(source, ModelVersion, "team", "granite-1")
    strange = StoredObjects([{"kind": "ModelVersion", "metadata": {"name": "v", "namespace": "team"}, "spec": {}}])
    with pytest.raises(Refused, match=r"ModelVersion team/v cannot be parsed by this gatehouse: spec\.modelRef"):
        await read_if_allowed(strange, ModelVersion, "team", "v")
