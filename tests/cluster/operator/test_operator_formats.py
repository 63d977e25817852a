"""Formats other than one safetensors file, from the store to the template and the list that admission reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.rig import Operator, until
from cluster.status import condition
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint
from modelfiles import safetensors_file
from unit.controllers.verification.onnx_files import DATA, onnx_model
from unit.domain.formats.gguf_files import written

WITHOUT_INDEX = {path: data for path, data in MINIATURE.items() if path != "model.safetensors.index.json"}


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    with make_world(installed, minio) as made:
        made.apply(made.registry(), made.model())
        yield made


def submit(world: World, files: dict[str, bytes], artifact_format: str = "safetensors") -> None:
    world.upload("granite-1", files)
    version = world.version(serving={"maxModelLen": 2048})
    version["spec"]["artifact"]["format"] = artifact_format
    world.apply(version)


def test_a_split_gguf_is_ready_and_served_by_its_first_file(world: World, operator: Operator, tmp_path: Path) -> None:
    submit(world, written(tmp_path, "model-Q8_0.gguf", tensors=5, split_max_tensors=2), "gguf")
    refused = world.phase("granite-1", "Does Not Fit")
    shut = condition(refused, "HardwareFits")
    assert shut is not None
    assert (shut["status"], shut["reason"]) == ("False", "GgufNotLoaded")
    world.apply(world.registry(serving={"vllmImage": "vllm/vllm-openai:v0.23.0"}))
    version = world.ready()
    first = "model-Q8_0-00001-of-00003.gguf"
    assert version["status"]["artifact"]["modelFile"] == first
    fits = condition(version, "HardwareFits")
    assert fits is not None
    assert (fits["status"], fits["reason"]) == ("Unknown", "FormatNotComputed")
    template = world.get("ConfigMap", version["status"]["template"]["name"])
    assert template is not None
    service = yaml.safe_load(template["data"]["inferenceservice.yaml"])
    assert service["spec"]["predictor"]["model"]["args"][0] == f"--model=/mnt/models/{first}"

    def listed() -> set[str]:
        return {spec["stage"] for spec in world.vetted() if spec.get("files", {}).get(world.uri("granite-1")) == first}

    until(lambda: "staging" in listed(), what=lambda: f"the file is told for {listed()}")


def test_onnx_is_verified_and_not_ready_as_nothing_serves_it(world: World, operator: Operator) -> None:
    submit(world, {"model.onnx": onnx_model("./weights.bin"), "weights.bin": DATA}, "onnx")
    version = world.phase("granite-1", "Policy Denied")
    status = {gate["name"]: gate for gate in version["status"]["gates"]}
    assert status["ArtifactVerified"]["open"]
    assert not status["TemplateEmitted"]["open"]
    assert "vLLM, which does not load it" in status["TemplateEmitted"]["found"]
    stalled = condition(version, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "FormatNotServed"
    assert "template" not in version["status"]
    assert not version["status"].get("clearedFor")


@pytest.mark.parametrize(
    ("files", "found", "remedy"),
    [
        (
            {"adapter_config.json": b"{}", "adapter_model.safetensors": safetensors_file({"a": ("U8", (1,))})},
            "adapter",
            "base model",
        ),
        (
            {**WITHOUT_INDEX, "consolidated.safetensors": safetensors_file({"a": ("U8", (1,))})},
            "consolidated.safetensors",
            "one set",
        ),
    ],
    ids=["adapter", "consolidated"],
)
def test_what_vllm_would_not_load_is_named(
    world: World, operator: Operator, files: dict[str, bytes], found: str, remedy: str
) -> None:
    submit(world, files)
    version = world.phase("granite-1", "Artifact Invalid")
    [gate] = [each for each in version["status"]["gates"] if each["name"] == "ArtifactVerified"]
    assert found in gate["found"]
    assert remedy in f"{gate['wanted']} {gate['remedy']}"


def test_what_tools_left_keeps_nothing_from_being_ready(world: World, operator: Operator) -> None:
    left = {".DS_Store": b"\0\0\0\1Bud1", ".cache/huggingface/download/x.metadata": b"x"}
    empty = {".cache/huggingface/download/x.lock": b"", "sub_$folder$": b""}
    submit(world, {**MINIATURE, **left, **empty, "tokenizer_config.json": b'{"a": 1, "a": 2}'})
    version = world.ready()
    assert version["status"]["artifact"]["files"] == len({**MINIATURE, **left, "tokenizer_config.json": b""})
