"""Artifacts that are broken or hostile: each ends in a status that the API server takes and a person understands."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from cluster.rig import Operator
from cluster.servers import FaultyStore
from cluster.status import Manifest, condition
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

CONFIG: Mapping[str, Any] = orjson.loads(MINIATURE["config.json"])
SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    with make_world(installed, minio) as made:
        made.apply(made.registry(), made.model())
        yield made


def config(**changes: Any) -> dict[str, bytes | None]:
    return {"config.json": orjson.dumps({**CONFIG, **changes})}


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else orjson.dumps(header)
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, *, shape: list[int] | None = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [end - begin], "data_offsets": [begin, end]}


SINGLE: dict[str, bytes | None] = {name: None for name in MINIATURE if "safetensors" in name}

BAD: dict[str, tuple[dict[str, bytes | None], str]] = {
    "a truncated shard": ({SHARD: MINIATURE[SHARD][:-1]}, SHARD),
    "a header longer than the file": ({SHARD: struct.pack("<Q", 10_000_000) + b"{}"}, SHARD),
    "a header beyond 100 MB": ({SHARD: struct.pack("<Q", 2**63) + b"{}"}, SHARD),
    "a file of zero bytes": ({SHARD: b""}, SHARD),
    "a missing shard": ({SHARD: None}, SHARD),
    "overlapping tensors": (
        {**SINGLE, "model.safetensors": safetensors({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6))},
        "model.safetensors",
    ),
    "a gap between tensors": (
        {**SINGLE, "model.safetensors": safetensors({"a": tensor(0, 4), "b": tensor(5, 6)}, bytes(6))},
        "model.safetensors",
    ),
    "a tensor twice": (
        {
            **SINGLE,
            "model.safetensors": safetensors(b'{"a":%b,"a":%b}' % ((orjson.dumps(tensor(0, 4)),) * 2), bytes(4)),
        },
        "model.safetensors",
    ),
    "an unknown dtype": (
        {**SINGLE, "model.safetensors": safetensors({"a": tensor(0, 4, dtype="F7")}, bytes(4))},
        "F7",
    ),
    "a shape that is not its bytes": (
        {**SINGLE, "model.safetensors": safetensors({"a": tensor(0, 4, shape=[5])}, bytes(4))},
        "model.safetensors",
    ),
    "no config": ({"config.json": None}, "config.json"),
    "a config that is no JSON": ({"config.json": b"{"}, "config.json"),
    "a config that is deep": ({"config.json": b"[" * 100_000}, "config.json"),
    "no heads": (config(num_attention_heads=0), "num_attention_heads"),
    "negative heads": (config(num_attention_heads=-4), "num_attention_heads"),
    "10^18 layers": (config(num_hidden_layers=10**18), "num_hidden_layers"),
    "a string for a number": (config(hidden_size="64"), "hidden_size"),
    "code": ({"modeling.py": b"print()"}, "modeling.py"),
    "a pickle": ({"pytorch_model.bin": b"\x80\x04."}, "pytorch_model.bin"),
    "auto_map": (config(auto_map={"AutoModel": "modeling.Evil"}), "auto_map"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_artifact_is_refused_with_what_is_wrong(world: World, operator: Operator, what: str) -> None:
    changes, words = BAD[what]
    name = "bad-" + "".join(character for character in what.lower() if character.isalnum())
    submit(world, name, changes)
    invalid = world.phase(name, "Artifact Invalid")
    stalled = condition(invalid, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "ArtifactInvalid"
    assert words in stalled["message"]
    gate = next(gate for gate in invalid["status"]["gates"] if gate["name"] == "ArtifactVerified")
    assert gate["found"]
    assert gate["wanted"]
    assert gate["remedy"]
    assert "template" not in invalid["status"]


def submit(world: World, name: str, changes: Mapping[str, bytes | None]) -> None:
    files = {path: content for path, content in {**MINIATURE, **changes}.items() if content is not None}
    world.upload(name, files)
    world.apply(world.version(name))


ODD: dict[str, dict[str, bytes | None]] = {
    "long architecture": config(architectures=["A" * 5_000]),
    "architecture with control characters": config(architectures=["A\x1b[31m\x00B\n"]),
    "architecture unknown": config(architectures=["NobodyForCausalLM"], model_type="nobody"),
    "forty unsafe files": {f"{'x' * 200}{number}.py": b"" for number in range(40)},
    "long dtype": {
        **SINGLE,
        "model.safetensors": safetensors({"a": tensor(0, 4, dtype="F" * 5_000)}, bytes(4)),
    },
    "long tensor name": {**SINGLE, "model.safetensors": safetensors({"n" * 50_000: tensor(0, 4)}, bytes(3))},
    "escape sequences in a file name": {"\x1b[2Jx.json": b"{}"},
    "a file name of many bytes": {"/".join(["\u00e9" * 120] * 3) + ".json": b"{}"},
}


@pytest.mark.parametrize("what", ODD)
def test_whatever_an_artifact_holds_the_status_can_be_written(world: World, operator: Operator, what: str) -> None:
    name = "odd-" + what.replace(" ", "-")
    submit(world, name, ODD[what])
    found = world.wait(name, decided, what="has no status")
    assert "ApiRefused" not in {each["reason"] for each in found["status"]["conditions"]}
    shown = str(found["status"])
    assert not {"\x1b", "\x00"} & set(shown)


def decided(body: Manifest) -> bool:
    return body["status"].get("observedGeneration") == 1 and body["status"].get("phase") not in {None, "Verifying"}


def test_a_prefix_with_a_hundred_thousand_objects_is_refused_early(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator
) -> None:
    with FaultyStore() as faulty, make_world(installed, minio) as world:
        faulty.store.objects = dict.fromkeys((f"granite-1/{number:06}" for number in range(100_000)), b"")
        world.apply(
            world.registry(
                objectStores=[{"uriPrefix": "s3://models/", "endpoint": faulty.store.url, "tls": "Disabled"}]
            )
        )
        world.apply(world.model(), world.version(artifact={"uri": "s3://models/granite-1/"}))
        invalid = world.phase("granite-1", "Artifact Invalid")
        assert condition(invalid, "Ready")["reason"] == "ArtifactInvalid"  # type: ignore[index]  # it has one
        assert faulty.store.requests["list"] < 30
        assert faulty.store.requests["read"] == 0
