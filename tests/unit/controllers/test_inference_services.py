"""What runs where proves something only behind a gate that was enforced, and only of the digest that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.domain.admission.allowlist import ShardKey, retained_uri, shards
from gatehouse.domain.admission.contest import standing_of
from gatehouse.domain.serving.template import ANNOTATION_DIGEST
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.status import version_status
from gatehouse.runtime.cache import pack
from gatehouse.runtime.refs import Body
from policies import approval
from unit.controllers.service_caches import SERVICES, Cluster, Labels, Served, namespace, service, version

STAGES = ("", "staging", "production", "qa")


Running = Mapping[str, frozenset[Served]]
GATES = st.sampled_from([None, "", "Enforce", "Warn", "Off", "warn", "off"])
NAMESPACES = st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from(STAGES), GATES), min_size=1)
SERVED = st.builds(
    Served,
    uri=st.sampled_from([worlds.URI, worlds.URI.rstrip("/"), "s3://models/other/"]),
    digest=st.sampled_from([worlds.DIGEST, worlds.OTHER_DIGEST, ""]),
)
SERVICES_OF = st.dictionaries(st.sampled_from("abc"), st.frozensets(SERVED, max_size=3))


def running_in(found: Running) -> list[Body]:
    return [service(f"s{n}", each, at=name) for name, served in found.items() for n, each in enumerate(served)]


async def retained(labels: Labels, found: Running, later: Running) -> dict[ShardKey, set[str]]:
    """What may go on after the version was cleared with ``found`` running, and then rejected with ``later`` running."""
    status: Any = {}
    for approvals, running in (((), found), ((approval(decision="Rejected"),), later)):
        cluster = Cluster(labels)
        cluster.list(SERVICES, running_in(running))
        version = worlds.version(status=status)
        facts = worlds.facts(
            version=version,
            row=worlds.row(),
            approvals=approvals,
            served_in=cluster.services.served_in(version, digest=worlds.DIGEST),
        )
        status = version_status(facts, decide(facts), registry_id=7, template=None, now=facts.now).wire()
    standing = standing_of(
        {**worlds.version().model_dump(mode="json", by_alias=True, exclude_none=True), "status": status}
    )
    assert standing is not None
    assert standing.phase == "Rejected"
    shown = shards([standing], registries=[worlds.registry()], strict=())
    assert not any(shard.artifacts for shard in shown.values())
    return {key: set(shard.retained) for key, shard in shown.items()}


@given(NAMESPACES, SERVICES_OF, SERVICES_OF)
async def test_only_a_service_that_was_let_in_while_it_was_cleared_goes_on_and_only_in_its_namespace(
    labels: Labels, found: Running, later: Running
) -> None:
    """``retained`` must carry nothing that a gate which only warns let in, nor what came after the rejection."""
    for key, entries in (await retained(labels, found, later)).items():
        for entry in entries:
            namespace = entry.partition(" ")[0]
            stage, gate = labels[namespace]
            assert stage == key.stage
            assert gate not in {"Warn", "Off"}
            assert retained_uri(entry) == worlds.URI
            for running in (found, later):
                served = {each for each in running[namespace] if each.uri.rstrip("/") == worlds.URI.rstrip("/")}
                assert worlds.DIGEST in {each.digest for each in served}


async def test_what_was_let_in_goes_on() -> None:
    """The property is no empty one."""
    running = {name: frozenset({Served(worlds.URI, worlds.DIGEST)}) for name in ("a", "b", "c")}
    labels = {"a": ("staging", None), "b": ("staging", "Warn"), "c": ("staging", "Off")}

    shown = await retained(labels, running, running)
    assert shown[ShardKey("staging", "models")] == {f"a {worlds.URI}"}
    assert not any((await retained(labels, {}, running)).values())


STAGED: Labels = {"a": ("staging", None), "b": ("production", None), "c": ("", None)}
FIRST, OTHER = Served("s3://models/first/", worlds.DIGEST), Served("s3://models/other/", worlds.DIGEST)


def two_versions(**of_other: Any) -> Cluster:
    return Cluster(STAGED, version("first", FIRST.uri), version("other", OTHER.uri, **of_other))


def test_while_services_are_not_known_the_status_stands() -> None:
    cluster, known = two_versions(), worlds.version(status={"deployedTo": ["qa"]})
    assert cluster.services.deployed_to(known) == ["qa"]
    assert cluster.services.served_in(known, digest=worlds.DIGEST) is None
    cluster.list(SERVICES, [])
    assert cluster.services.deployed_to(known) == []
    assert cluster.services.served_in(known, digest=worlds.DIGEST) == ()


@pytest.mark.parametrize("stale", [{"deployedTo": ["qa"]}, {"admittedTo": [{"stage": "qa", "namespace": "x"}]}, {}])
def test_the_first_list_reconciles_what_runs_and_what_is_said_to_run(stale: dict[str, Any]) -> None:
    cluster = two_versions(**stale)
    cluster.list(SERVICES, [service("s", FIRST), service("t", FIRST, at="b")])
    assert cluster.settle() == ["first", *(["other"] if stale else [])]
    assert cluster.services.deployed_to(worlds.version(artifact={"uri": FIRST.uri})) == ["production", "staging"]


def canary(served: Served, **predictor: Any) -> dict[str, Any]:
    annotations = {"annotations": {ANNOTATION_DIGEST: served.digest}} if served.digest else {}
    return {"predictor": {"name": "x", "model": {"storageUri": served.uri}, **annotations, **predictor}}


def test_the_version_of_a_canary_is_deployed_with_its_own_digest_as_long_as_the_canary_is_there() -> None:
    cluster = two_versions()
    other = Served(OTHER.uri, worlds.OTHER_DIGEST)
    cluster.list(SERVICES, [service("s", FIRST, canary=[canary(other)])])
    assert cluster.settle() == ["first", "other"]
    versions = {each: worlds.version(artifact={"uri": each.uri}) for each in (FIRST, other)}
    for each in versions.values():
        assert cluster.services.deployed_to(each) == ["staging"]
    assert cluster.services.served_in(versions[FIRST], digest=worlds.DIGEST) == (("staging", "a"),)
    assert cluster.services.served_in(versions[other], digest=worlds.OTHER_DIGEST) == (("staging", "a"),)
    assert cluster.services.served_in(versions[other], digest=worlds.DIGEST) == ()
    assert cluster.services.served_in(versions[FIRST], digest=worlds.OTHER_DIGEST) == ()
    cluster.tell("MODIFIED", SERVICES, service("s", FIRST))
    assert cluster.settle() == ["first", "other"]
    assert cluster.services.deployed_to(versions[other]) == []


@pytest.mark.parametrize(
    "spec",
    [
        *(None, "x", {}, [None], ["x"], [{}], [{"predictor": None}], [{"predictor": {"model": {"storageUri": 7}}}]),
        [{"predictor": {"model": {"storageUri": ""}}}],
        [canary(Served(OTHER.uri, ""))] * 17,
    ],
)
def test_a_malformed_canary_hides_no_stable_predictor(spec: Any) -> None:
    cluster = two_versions()
    cluster.list(SERVICES, [service("s", FIRST, canary=spec)])
    assert cluster.services.served_in(worlds.version(artifact={"uri": FIRST.uri}), digest=worlds.DIGEST)


def test_a_service_that_loads_something_else_reconciles_what_it_ran_and_what_it_runs() -> None:
    cluster = two_versions()
    cluster.list(SERVICES, [service("s", FIRST)])
    cluster.settle()
    cluster.tell("MODIFIED", SERVICES, service("s", OTHER))
    assert cluster.settle() == ["first", "other"]
    cluster.tell("MODIFIED", SERVICES, service("s", Served(OTHER.uri, worlds.OTHER_DIGEST)))
    assert cluster.settle() == ["other"], "only the annotation changed"
    cluster.tell("DELETED", SERVICES, service("s", OTHER))
    assert cluster.settle() == ["other"]


def test_what_kserve_reports_of_a_service_reconciles_nothing() -> None:
    cluster = two_versions()
    cluster.list(SERVICES, [service("s", FIRST)])
    cluster.settle()
    for number in range(100):
        cluster.tell("MODIFIED", SERVICES, {**service("s", FIRST, replicas=number), "status": {"seen": number}})
    assert cluster.settle() == []


def test_a_burst_of_services_reconciles_each_version_once() -> None:
    cluster = two_versions()
    cluster.list(SERVICES, [])
    for number in range(1000):
        cluster.tell("ADDED", SERVICES, service(f"s{number}", OTHER if number % 2 else FIRST))
    assert cluster.settle() == ["first", "other"]


def test_a_namespace_whose_stage_changes_reconciles_what_runs_there() -> None:
    cluster = two_versions()
    cluster.list(SERVICES, [service("s", FIRST), service("t", FIRST), service("u", OTHER, at="b")])
    cluster.settle()
    cluster.tell("MODIFIED", "namespaces", namespace("a", ("qa", None)))
    assert cluster.settle() == ["first"]
    assert cluster.services.deployed_to(worlds.version(artifact={"uri": FIRST.uri})) == ["qa"]


def test_little_is_kept_of_a_large_service() -> None:
    cluster = two_versions()
    large = service("s", FIRST, transformer={"containers": ["x" * 20_000]})
    cluster.list(SERVICES, [{**large, "status": {"components": "y" * 20_000}}])
    [body] = cluster.caches[SERVICES].bodies()
    assert len(pack(body)) < 400
    assert body["metadata"]["annotations"] == {ANNOTATION_DIGEST: worlds.DIGEST}


@pytest.mark.parametrize(
    "spec", [None, [], "text", {}, {"predictor": []}, {"predictor": {"model": None}}, {"predictor": {"containers": []}}]
)
def test_a_malformed_service_serves_nothing(spec: Any) -> None:
    cluster = two_versions()
    cluster.list(
        SERVICES, [{**service("s", FIRST), "spec": spec}, service("t", FIRST, predictor={"model": {"storageUri": 7}})]
    )
    assert len(cluster.caches[SERVICES]) == 2
    assert cluster.caches[SERVICES].values("served") == []
    assert cluster.settle() == []
