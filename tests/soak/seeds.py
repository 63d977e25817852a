"""What the mutants are made of: files as real programs write them, for each parser by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

import modelfiles
from hostile import KEY, SHAPES

__all__ = ["ARGUMENTS", "SEEDS"]

_CARD = b"""---
license: apache-2.0
language: [en, de]
pipeline_tag: text-generation
tags:
- text-generation
- granite
base_model: ibm-granite/granite-3.1-8b-base
datasets:
- a/b
model-index:
- name: x
  results: []
---
# A model
"""


def _safetensors() -> list[bytes]:
    return [
        safetensors.numpy.save(
            {"a": np.zeros((4, 3), np.float32), "b": np.ones(7, np.int8)}, metadata={"format": "pt"}
        ),
        safetensors.numpy.save({f"layers.{number}.weight": np.zeros(2, np.float16) for number in range(40)}),
        safetensors.numpy.save({"": np.zeros((0, 3), np.uint8)}),
    ]


def _onnx() -> list[bytes]:
    weight = numpy_helper.from_array(np.zeros((4, 4), np.float32), "w")
    outside = TensorProto(name="e", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "model.data"), ("offset", "0"), ("length", "16")):
        outside.external_data.add(key=key, value=value)
    inner = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "inner", [], [])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("Constant", [], ["k"], value=weight),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, None]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], initializer=[weight, outside])
    model = helper.make_model(graph)
    helper.set_model_props(model, {"author": "a"})
    return [model.SerializeToString()]


def _gguf() -> list[bytes]:
    return [
        modelfiles.gguf_file(),
        modelfiles.gguf_file(alignment=64, metadata=[("a", [1, 2, 3]), ("b", ["x", "y"]), ("c", True), ("d", 1.5)]),
        modelfiles.gguf_file(metadata=[("split.no", 0), ("split.count", 2), ("split.tensors.count", 4)]),
        modelfiles.gguf_file(metadata=[("general.type", "mmproj")]),
    ]


def _configurations() -> list[bytes]:
    auto_map = {"auto_map": {"AutoModel": "m.M"}}
    return [modelfiles.config_json(), modelfiles.config_json(layer_types=["a"] * 40), json.dumps(auto_map).encode()]


def _indexes() -> list[bytes]:
    return [modelfiles.shard_index({f"t{number}": f"{number % 3}.safetensors" for number in range(30)}, total_size=5)]


def _listings() -> list[bytes]:
    written = b"<LastModified>2026-11-29T12:00:00.000Z</LastModified>"
    entry = b"<Contents><Key>a%2Fb</Key><Size>5</Size><ETag>&quot;e&quot;</ETag>" + written + b"</Contents>"
    head = b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return [
        head + b"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>" + entry * 3 + b"</ListBucketResult>"
    ]


def _results() -> list[bytes]:
    document: dict[str, Any] = {
        "results": {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.01, "alias": "arc"}},
        "versions": {"arc": 1.0},
        "n-shot": {"arc": 5},
        "n-samples": {"arc": {"original": 10, "effective": 10}},
        "date": 1.7e9,
        "config": {"model": "vllm", "limit": None},
    }
    return [json.dumps(document).encode()]


def _signatures() -> list[bytes]:

    return [next(shape for shape in SHAPES["signature"] if shape.name == "files").of(2000)]


def _manifests() -> list[bytes]:
    return [b"".join(b"%064x  f%d\n" % (number, number) for number in range(5))]


SEEDS: Mapping[str, Callable[[], Sequence[bytes]]] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "onnx-data": lambda: [bytes(600)],
    "gguf": _gguf,
    "configuration": _configurations,
    "remote-code": _configurations,
    "side-facts": _configurations,
    "mentioned-code": _configurations,
    "shards": _indexes,
    "signature": _signatures,
    "model card": lambda: [_CARD],
    "yaml documents": lambda: [_CARD],
    "lm_eval": _results,
    "listing page": _listings,
    "manifest-file": _manifests,
    "manifest": _manifests,
}
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "side-facts": {"name": "hf_quant_config.json"},
    "safetensors": {"key": KEY},
    "shards": {"key": KEY, "marks": {}, "files": ["0.safetensors", "1.safetensors", "2.safetensors"]},
    "manifest-file": {"files": {f"f{number}": f"{number:064x}" for number in range(5)}},
    "signature": {"files": {"f0": "00" * 32}},
}
