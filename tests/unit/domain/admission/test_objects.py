"""The objects as they are written: names, sizes, and that what is there is changed as little as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.admission.allowlist import Shard, ShardKey, retained_key, retained_uri
from gatehouse.domain.admission.objects import LARGEST, WHOLE, Common, ListKey, Range, VettedPlan
from gatehouse.domain.runtimes.arguments import KNOWN_INITIALIZERS
from gatehouse.domain.runtimes.environment import HARMLESS_ENVIRONMENT

COMMON = Common.of(
    runtimes=["r", "r"],
    registries=[
        worlds.registry(
            serving={
                "vllmImage": "i",
                "allowedArguments": ["--x", "--model"],
                "allowedEnvironment": ["X_LEVEL", "X_MODE=a", "X_MODE=b.c", "HF_ENDPOINT", "OMP_NUM_THREADS"],
                "initializerImages": ["mirror/init:1"],
                "proxyImages": ["mirror/proxy:1"],
                "allowedResources": ["example.com/fuse"],
                "connectionSecret": "store",
            }
        )
    ],
    accelerators=["nvidia.com/gpu"],
)
TZ = HARMLESS_ENVIRONMENT["TZ"]
STAGING, PRODUCTION = ShardKey("staging", "models"), ShardKey("production", "models")
STAGE = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
BUCKET = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True)
KEYS = st.builds(
    ListKey, st.builds(ShardKey, STAGE, BUCKET), st.builds(Range, st.text(max_size=3), st.text(max_size=3))
)


def written(shards: Mapping[ShardKey, Shard], there: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is there after everything was done, by name."""
    found = dict(there or {})
    plan = VettedPlan.of(shards, there=found, common=COMMON)
    for step in (plan.creations, plan.updates):
        found |= {body["metadata"]["name"]: body["spec"] for body in step(found)}
    for name in plan.deletions(found):
        del found[name]
    return found


def shard(count: int, *, length: int = 60) -> Shard:
    uris = [f"s3://models/{number:05}-".ljust(length - 1, "x") + "/" for number in range(count)]
    return Shard(artifacts=dict.fromkeys(uris, worlds.DIGEST))


@given(KEYS, KEYS)
def test_no_two_objects_have_one_name(left: ListKey, right: ListKey) -> None:
    assert (left.name == right.name) == (left == right)
    assert len(left.name) <= 253


def test_a_bucket_that_is_named_like_a_part_of_another_is_told_apart() -> None:
    part = ListKey(STAGING, Range("", "s3://models/m/"))
    assert part.name.startswith("staging.models.")
    assert len(part.name.partition(".")[2]) > 63, "a bucket of that name could be"


def test_every_object_names_every_key_and_has_what_all_have() -> None:
    found = written({STAGING: shard(1), PRODUCTION: Shard()})

    assert set(found) == {"staging.models", "production.models"}
    for spec in found.values():
        assert spec["keys"] == ["production/models", "staging/models"]
        assert spec["arguments"].items() >= {"--x": "gatehouse-system/local", "--seed": "gatehouse"}.items()
        assert "--model" not in spec["arguments"]
        assert (spec["runtimes"], spec["images"], spec["accelerators"]) == (["r"], ["i"], ["nvidia.com/gpu"])
        assert spec["environment"].items() >= {"X_LEVEL": "[A-Za-z0-9._,:+-]*", "X_MODE": r"a|b\.c", "TZ": TZ}.items()
        assert "HF_ENDPOINT" not in spec["environment"]
        assert set(spec["initializers"]) == {"mirror/init:1", *KNOWN_INITIALIZERS}
        assert (spec["proxies"], spec["resources"]) == (["mirror/proxy:1"], ["example.com/fuse"])
        assert spec["connections"] == ["store"]


def test_a_registry_that_has_no_stores_adds_nothing() -> None:
    lists = {
        "vllmImage": "evil.example.com/vllm:1",
        "initializerImages": ["evil.example.com/initializer:1"],
        "proxyImages": ["evil.example.com/proxy:1"],
        "allowedArguments": ["--evil"],
        "allowedResources": ["example.com/evil"],
        "allowedEnvironment": ["EVIL"],
    }
    idle = worlds.registry(objectStores=[], serving=lists)
    assert Common.of(runtimes=[], registries=[idle], accelerators=[]) == Common.of(
        runtimes=[], registries=[], accelerators=[]
    )


def test_an_argument_that_a_registry_writes_with_underscores_is_listed_as_the_gate_looks_it_up() -> None:
    made = worlds.registry(serving={"allowedArguments": ["--enable_expert_parallel", "--max_cudagraph_capture_size=8"]})
    common = Common.of(runtimes=(), registries=[made], accelerators=())
    who = f"{made.metadata.namespace}/{made.metadata.name}"
    assert common.arguments["--enable-expert-parallel"] == who
    assert common.arguments["--max-cudagraph-capture-size=8"] == who


def test_a_bucket_has_the_connections_of_its_own_registries() -> None:
    def registry(bucket: str, connection: str, *stages: str) -> ModelRegistry:
        stores = [{"uriPrefix": f"s3://{bucket}/team/"}, {"uriPrefix": f"s3://{bucket}/"}]
        return worlds.registry(objectStores=stores, stages=list(stages), serving={"connectionSecret": connection})

    registries = [
        registry("aaa", "one", "dev", "prod"),
        registry("aaa", "two", "prod"),
        registry("bbb", "three", "prod"),
    ]
    common = Common.of(runtimes=[], registries=registries, accelerators=[])
    assert common.connections == {
        ShardKey("dev", "aaa"): ("one",),
        ShardKey("prod", "aaa"): ("one", "two"),
        ShardKey("prod", "bbb"): ("three",),
    }
    plan = VettedPlan.of({ShardKey("prod", "elsewhere"): Shard()}, there={}, common=common)
    assert [body["spec"]["connections"] for body in plan.creations({})] == [[]], "no connection of another bucket's"


def test_a_bucket_in_the_hosts_name_is_of_those_that_were_verified_so() -> None:
    stores = [
        {"uriPrefix": "s3://models/", "endpoint": "https://minio.example.com"},
        {"uriPrefix": "s3://hosted/", "endpoint": "https://oss.example.com", "addressing": "VirtualHost"},
        {"uriPrefix": "s3://amazon/", "region": "eu-west-1"},
    ]
    common = Common.of(runtimes=[], registries=[worlds.registry(objectStores=stores)], accelerators=[])
    assert common.virtual_hosts == {"hosted", "amazon"}
    shards = {ShardKey("production", bucket): Shard() for bucket in ("models", "hosted", "amazon")}
    made = {
        body["spec"]["bucket"]: body["spec"] for body in VettedPlan.of(shards, there={}, common=common).creations({})
    }
    assert {bucket: spec["virtualHost"] for bucket, spec in made.items()} == {
        "models": False,
        "hosted": True,
        "amazon": True,
    }


def test_ten_thousand_artifacts_are_in_several_objects_far_below_the_limit_of_etcd() -> None:
    whole = shard(10_000, length=80)
    found = written({STAGING: whole})

    assert len(orjson.dumps(whole.artifacts)) > 1_500_000
    assert max(len(orjson.dumps(spec)) for spec in found.values()) < LARGEST + 10_000
    assert {uri: digest for spec in found.values() for uri, digest in spec["artifacts"].items()} == whole.artifacts


def test_one_artifact_more_changes_one_object_of_many() -> None:
    before = written({STAGING: shard(10_000)})
    more = shard(10_000)
    more.artifacts["s3://models/05000-a/"] = worlds.DIGEST
    after = written({STAGING: more}, before)

    assert set(after) == set(before)
    assert sum(after[name] != before[name] for name in before) == 1


def test_what_is_retained_or_refused_is_in_the_range_of_its_uri_and_counts() -> None:
    held = shard(5000)
    uris = list(held.artifacts)
    moved = Shard(
        artifacts=dict(list(held.artifacts.items())[:1000]),
        retained={retained_key("chatbots", uri): digest for uri, digest in list(held.artifacts.items())[1000:]},
        refused={uri: "team/v is Rejected".ljust(256, "x") for uri in uris[1000:3000]},
    )
    found = written({STAGING: moved})

    assert len(found) > 1
    for spec in found.values():
        range_ = Range(spec["start"], spec["end"])
        assert all(range_.has(uri) for part in ("artifacts", "refused") for uri in spec[part])
        assert all(range_.has(retained_uri(entry)) for entry in spec["retained"])
        assert len(orjson.dumps(spec)) < LARGEST + 10_000


def test_what_is_as_it_should_be_is_not_written() -> None:
    shards = {STAGING: shard(10_000), PRODUCTION: shard(10)}
    found = written(shards)
    plan = VettedPlan.of(shards, there=found, common=COMMON)

    assert not plan.moves(found)
    assert not plan.creations(found)
    assert not plan.updates(found)
    assert not plan.deletions(found)


def test_an_object_of_before_ranges_is_one_that_has_them_all() -> None:
    found = written({STAGING: shard(1)})
    old = {
        name: {key: value for key, value in spec.items() if key not in {"start", "end"}} for name, spec in found.items()
    }
    plan = VettedPlan.of({STAGING: shard(1)}, there=old, common=COMMON)

    assert list(plan.lists) == [ListKey(STAGING, WHOLE)]
    assert not plan.moves(old)
