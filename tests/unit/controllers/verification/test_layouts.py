"""Folders as tools and people leave them: what a loader reads is checked, the rest is named."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fakestore import FakeStore
from gatehouse.controllers.verification.verifier import CheckResult
from gatehouse.domain.artifact.foreign import left_by
from gatehouse.domain.artifact.values import RULES
from gatehouse.domain.common.finding import Finding
from modelfiles import config_json, gguf_file, safetensors_file, shard_index
from unit.controllers.verification.checks import check
from unit.controllers.verification.onnx_files import DATA, onnx_model
from unit.domain.formats.gguf_files import written

TOKENIZER = {"tokenizer.json": b"{}"}
CONFIG = {"config.json": config_json()}
MODEL = safetensors_file({"model.layers.0.q.weight": ("BF16", (4, 4))})
OTHER = safetensors_file({"layers.0.attention.wq.weight": ("BF16", (4, 4))})
ADAPTER = safetensors_file({"base_model.model.q.lora_A.weight": ("BF16", (4, 4))})
WHOLE = {**CONFIG, **TOKENIZER, "model.safetensors": MODEL}
SHARDED = {
    **CONFIG,
    **TOKENIZER,
    "model-00001-of-00001.safetensors": MODEL,
    "model.safetensors.index.json": shard_index({"model.layers.0.q.weight": "model-00001-of-00001.safetensors"}),
}


async def checked(files: Mapping[str, bytes], artifact_format: str = "safetensors") -> CheckResult:
    store = FakeStore({f"m/{path}": data for path, data in files.items()})
    return await check(store, artifact_format=artifact_format)


async def rules_of(files: Mapping[str, bytes], artifact_format: str = "safetensors") -> list[str]:
    result = await checked(files, artifact_format)
    assert all(problem.found and problem.expected and problem.remedy for problem in result.record.problems)
    return [problem.reason for problem in result.record.problems]


async def notes_of(files: Mapping[str, bytes], artifact_format: str = "safetensors") -> str:
    result = await checked(files, artifact_format)
    assert (result.record.outcome, result.record.problems) == ("Verified", ())
    assert result.record.summary is not None
    return "\n".join(result.record.summary.notes)


# Which files a loader reads


@pytest.mark.parametrize(
    ("files", "rules"),
    [
        ({**WHOLE, "consolidated.safetensors": OTHER}, ["AmbiguousWeights"]),
        ({**WHOLE, "adapter_model.safetensors": ADAPTER, "adapter_config.json": b"{}"}, ["AmbiguousWeights"]),
        ({**SHARDED, "model.safetensors": MODEL}, ["AmbiguousWeights"]),
        ({**SHARDED, "consolidated.safetensors": OTHER}, []),
        ({**SHARDED, "adapter_model.safetensors": ADAPTER}, []),
        ({**WHOLE, "original/consolidated.safetensors": OTHER}, []),
        ({**WHOLE, "2_Dense/model.safetensors": OTHER}, []),
        ({**WHOLE, "._model.safetensors": b"\0\5\26\7 resource fork"}, []),
        ({**WHOLE, ".hidden.safetensors": OTHER}, []),
        ({**WHOLE, "pytorch_model.bin": b"PK"}, ["UnsafeFile"]),
        ({**WHOLE, "original/consolidated.00.pth": b"x"}, ["UnsafeFile"]),
    ],
)
async def test_other_weights_beside_a_model(files: dict[str, bytes], rules: list[str]) -> None:
    assert await rules_of(files) == rules


async def test_what_is_passed_over_does_not_count_and_is_named() -> None:
    files = {**SHARDED, "consolidated.safetensors": OTHER, "adapter_model.safetensors": ADAPTER}
    result = await checked(files)
    assert result.record.summary is not None
    assert result.record.summary.parameters == 16
    assert "'adapter_model.safetensors', 'consolidated.safetensors'" in await notes_of(files)


async def test_an_ambiguous_set_names_its_files_and_what_to_keep() -> None:
    [problem] = (await checked({**WHOLE, "consolidated.safetensors": OTHER})).record.problems
    assert "consolidated.safetensors" in problem.found
    assert problem.remedy.startswith("Keep 'model.safetensors'")
    assert "gatehouse upload --exclude 'consolidated*.safetensors'" in problem.remedy


async def test_one_file_beside_an_index_says_which_of_both_to_leave_out() -> None:
    [problem] = (await checked({**SHARDED, "model.safetensors": MODEL})).record.problems
    assert "2 sets of weights: model.safetensors, and model.safetensors.index.json with the file that" in problem.found
    assert "gatehouse upload --exclude model.safetensors takes the shards" in problem.remedy


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("pytorch_model.bin", "*.safetensors files hold the model"),
        ("original/consolidated.00.pth", "*.safetensors files hold the model"),
        ("training_args.bin", "left by training"),
        ("checkpoint-5/optimizer.pt", "left by training"),
        (".ipynb_checkpoints/train-checkpoint.py", "left by Jupyter"),
        ("modeling_x.py", "runtime's own code"),
        ("eval.tar.gz", "Unpack it"),
        ("openvino/openvino_model.bin", "OpenVINO"),
        ("unknown.pkl", "Convert the weights"),
        ("modeling_x.py", "--exclude '*.py'"),
        ("web/bundle.mjs", "--exclude '*.mjs'"),
        ("kernel.so.1", "--exclude 'kernel.so.1'"),
    ],
)
async def test_an_unsafe_file_stays_refused_and_has_a_way_out_of_its_own(path: str, advice: str) -> None:
    files = {**WHOLE, path: b"x", "openvino/openvino_model.xml": b"<net/>"}
    [problem] = (await checked(files)).record.problems
    assert problem.reason == "UnsafeFile"
    assert advice in problem.remedy


CORE_ML = "x.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
FOREIGN = {
    "CTranslate2": ("model.bin", "config.json", "vocabulary.txt"),
    "CTranslate2 of two languages": ("a/model.bin", "a/source_vocabulary.json", "a/target_vocabulary.json"),
    "spaCy": ("vocab/lookups.bin", "meta.json", "config.cfg"),
    "spaCy in a folder": ("fr/lemmatizer/lookups/lookups.bin", "fr/meta.json", "fr/config.cfg"),
    "TensorFlow.js": ("age_model.bin", "age_model-weights_manifest.json"),
    "TensorFlow.js in shards": ("web/group1-shard1of2.bin", "web/model.json"),
    "Core ML": (CORE_ML, "x.mlpackage/Manifest.json"),
    "Core ML, compiled": ("x.mlmodelc/weights/weight.bin", "x.mlmodelc/metadata.json"),
    "OpenVINO": ("openvino_model.bin", "openvino_model.xml"),
}


@pytest.mark.parametrize("tool", sorted(FOREIGN))
async def test_files_of_other_tools_are_told_as_theirs_and_not_to_be_converted(tool: str) -> None:
    """None of them is a pickle, though all of them end as one."""
    path, *others = FOREIGN[tool]
    files = dict.fromkeys([path, *others], b"{}")
    for artifact_format in ("safetensors", "gguf", "onnx", "other"):
        problem = unsafe_one(await checked(files, artifact_format), path)
        assert tool.split(" ", maxsplit=1)[0].strip(",") in problem.remedy
        assert "no runtime of Gatehouse loads" in problem.remedy
        assert "safetensors" not in problem.remedy
        assert "format can run code" not in problem.found
        assert "with the ending of pickles, which can run code" in problem.found
    problem = unsafe_one(await checked({**files, "model.onnx": onnx_model("blob"), "blob": DATA}, "onnx"), path)
    assert "*.onnx files hold the model" in problem.remedy
    assert "--exclude" in problem.remedy


@pytest.mark.parametrize(
    ("path", "others", "advice"),
    [
        ("model.bin", ["vocab.txt"], "if they are PyTorch's"),
        ("other.bin", ["vocabulary.txt"], "if they are PyTorch's"),
        ("sub/model.bin", ["vocabulary.txt"], "if they are PyTorch's"),
        ("vocab/lookups.bin", ["meta.json"], "if they are PyTorch's"),
        ("vocab/lookups.bin", ["meta.json", "sub/config.cfg"], "if they are PyTorch's"),
        ("weights.bin", ["model.json"], "if they are PyTorch's"),
        ("mlpackage/weight.bin", [], "if they are PyTorch's"),
        ("model.pt", ["vocabulary.txt"], "Convert the weights to safetensors and remove"),
        ("model.joblib", [], "skl2onnx"),
        ("model.h5", [], "tf2onnx"),
    ],
)
async def test_what_no_tool_is_known_to_write_is_told_as_what_it_may_be(
    path: str, others: list[str], advice: str
) -> None:
    problem = unsafe_one(await checked(dict.fromkeys([path, *others], b"{}")), path)
    assert advice in problem.remedy


@pytest.mark.parametrize("path", ["silero_vad.jit", "teacher.pth", "sub/unknown.pkl", "model.joblib", "model.keras"])
@pytest.mark.parametrize("artifact_format", ["onnx", "gguf"])
async def test_beside_a_model_in_another_format_nobody_is_told_to_convert(path: str, artifact_format: str) -> None:
    model = {"onnx": {"model.onnx": onnx_model("blob"), "blob": DATA}, "gguf": {"model.gguf": gguf_file()}}
    [problem] = (await checked({**model[artifact_format], path: b"x"}, artifact_format)).record.problems
    assert problem.reason == "UnsafeFile"
    assert f"The *.{artifact_format} files hold the model" in problem.remedy
    assert f"Remove the file, or leave it out: gatehouse upload --exclude '{path}'." in problem.remedy


def unsafe_one(result: CheckResult, path: str) -> Finding:
    [problem] = [each for each in result.record.problems if each.reason == "UnsafeFile"]
    assert problem.found.startswith(f"'{path}', ")
    return problem


TENSORS = [f"t{number}" for number in range(3)]
TOP = ["model.safetensors", "a.safetensors", "consolidated.safetensors", "adapter_model.safetensors", ".b.safetensors"]
PLACES = st.dictionaries(
    st.sampled_from([*TOP, "model-00001-of-00002.safetensors", "sub/x.safetensors", "._a.safetensors"]),
    st.sampled_from(TENSORS),
    min_size=1,
    max_size=4,
)


def read_by_vllm(folder: Path) -> set[str]:
    """``DefaultModelLoader._prepare_weights`` of vLLM 0.11 for a folder on disk: glob, then what the index names."""
    found = {os.path.basename(each) for each in glob.glob(str(folder / "*.safetensors"))}  # noqa: PTH119, PTH207
    index = folder / "model.safetensors.index.json"
    return found & set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else found


@settings(max_examples=150, deadline=None)
@given(places=PLACES, data=st.data())
async def test_what_counts_is_what_vllm_reads(
    tmp_path_factory: pytest.TempPathFactory, places: dict[str, str], data: st.DataObject
) -> None:
    files = {path: safetensors_file({tensor: ("U8", (1,))}) for path, tensor in places.items()}
    top = sorted(path for path in places if "/" not in path and not path.startswith("."))
    if top and data.draw(st.booleans()):
        named = data.draw(st.lists(st.sampled_from(top), min_size=1, unique_by=lambda path: places[path]))
        files["model.safetensors.index.json"] = shard_index({places[path]: path for path in named})
    folder = tmp_path_factory.mktemp("m")
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    read = read_by_vllm(folder)
    record = (await checked({**CONFIG, **TOKENIZER, **files})).record
    if record.outcome == "Verified":
        assert record.summary is not None
        assert record.summary.parameters == len(read) > 0
        assert len({places[path] for path in read}) == len(read)
    elif len(read) == 1 and "model.safetensors" in read | {"model.safetensors"} - places.keys():
        # One file that both vLLM and transformers take: refused only as what it is.
        assert {problem.reason for problem in record.problems} <= {"AdapterOnly"}


# Layouts of other tools


@pytest.mark.parametrize(
    ("names", "rule", "advice"),
    [
        (("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"), "AdapterOnly", "Merge it into"),
        (("config.json", "adapter_config.json", "adapter_model.safetensors"), "AdapterOnly", "Merge it into"),
        (("params.json", "consolidated.safetensors", "tekken.json"), "MistralLayout", "for transformers"),
        (("model_index.json", "unet/config.json", "unet/x.safetensors"), "DiffusersLayout", "image pipelines"),
        (
            ("modules.json", "0_Transformer/config.json", "0_Transformer/model.safetensors"),
            "SentenceTransformersLayout",
            "0_Transformer/",
        ),
        (("modules.json", "0_StaticEmbedding/model.safetensors"), "SentenceTransformersLayout", "save it again"),
        (("MLmodel", "model/config.json", "model/model.safetensors"), "MlflowLayout", "model/"),
        (("MLmodel", "data/model.safetensors"), "MlflowLayout", "save_pretrained"),
        (("config.json", "rank0.engine"), "TensorRtLayout", "built from"),
        (("config.json", "rank0.safetensors", "rank1.safetensors"), "TensorRtLayout", "built from"),
        (("config.json", "1/model.plan"), "TensorRtLayout", "built from"),
        (("snapshots/abc/config.json", "snapshots/abc/model.safetensors"), "WeightsMissing", "snapshots/abc/"),
        (("model-Q4_K_M.gguf",), "WeightsMissing", "spec.artifact.format to gguf"),
        (("onnx/model.onnx",), "WeightsMissing", "spec.artifact.format to onnx"),
    ],
)
async def test_each_layout_is_recognised_and_has_its_own_way_out(
    names: tuple[str, ...], rule: str, advice: str
) -> None:
    contents = {".safetensors": MODEL, ".gguf": gguf_file(), ".json": b"{}"}
    files = {name: contents.get(os.path.splitext(name)[1], b"x") for name in names}  # noqa: PTH122
    problem = next(each for each in (await checked(files)).record.problems if each.reason == rule)
    assert advice in problem.remedy
    assert "Upload config.json" not in problem.remedy


async def test_sentence_transformers_at_the_top_are_a_model_like_others() -> None:
    files = {**WHOLE, "modules.json": b"[]", "1_Pooling/config.json": b"{}", "config_sentence_transformers.json": b"{}"}
    assert await rules_of(files) == []


LEFT = {
    ".cache/huggingface/download/model.safetensors.metadata": b"abc\n",
    ".cache/huggingface/.gitignore": b"*",
    ".DS_Store": b"\0\0\0\1Bud1",
    "sub/.DS_Store": b"\0\0\0\1Bud1",
    "._tokenizer.json": b"\0\5\26\7",
    "__MACOSX/x": b"x",
    "Thumbs.db": b"x",
    ".ipynb_checkpoints/README-checkpoint.md": b"x",
    ".git/HEAD": b"ref",
}
EMPTY = (
    ".cache/huggingface/download/model.safetensors.lock",
    "sub_$folder$",
    "_SUCCESS",
    ".ipynb_checkpoints/x",
    "sub/.gitkeep",
    "folder/",
)


async def test_what_tools_left_is_named_and_keeps_nothing_from_being_verified() -> None:
    assert all(left_by(path) for path in LEFT)
    notes = await notes_of({**WHOLE, **LEFT, **dict.fromkeys(EMPTY, b"")})
    for tool in ("Hugging Face's downloader", "Jupyter", "Windows", "git", "macOS"):
        assert f"left by {tool}" in notes
    result = await checked({**WHOLE, **LEFT, **dict.fromkeys(EMPTY, b"")})
    assert result.files is not None
    assert {file.path for file in result.files} == WHOLE.keys() | LEFT.keys()


async def test_only_what_a_tool_leaves_may_be_empty() -> None:
    assert await rules_of({**WHOLE, "added_tokens.json": b""}) == ["EmptyFile"]
    assert await rules_of({**WHOLE, "evil\x1b_$folder$": b""}) != []
    assert await rules_of({**WHOLE, "__init__.py": b""}) == ["UnsafeFile"]


# GGUF


async def test_the_splits_of_a_gguf_are_one_model_and_the_first_is_served(tmp_path: Path) -> None:
    splits = written(tmp_path / "s", "model-Q8_0.gguf", tensors=5, split_max_tensors=2)
    assert len(splits) == 3
    projector = written(tmp_path / "p", "vision.gguf", kind="mmproj", architecture="clip")
    result = await checked({**splits, **projector}, "gguf")
    summary = result.record.summary
    assert (result.record.outcome, result.record.problems) == ("Verified", ())
    assert summary is not None
    assert summary.model_file == "model-Q8_0-00001-of-00003.gguf"
    assert summary.parameters == 5 * 256
    assert summary.config is not None
    assert summary.config.max_position_embeddings == 2048
    notes = "\n".join(summary.notes)
    assert "split into 3 files" in notes
    assert "vision.gguf', a projector" in notes
    del splits["model-Q8_0-00002-of-00003.gguf"]
    assert await rules_of(splits, "gguf") == ["ShardMissing"]


async def test_a_damaged_split_is_named_and_nothing_is_said_of_the_set(tmp_path: Path) -> None:
    splits = written(tmp_path, tensors=4, split_max_tensors=2)
    first, second = sorted(splits)
    assert await rules_of({first: splits[first], second: splits[second][:-1]}, "gguf") == ["DataTruncated"]


# ONNX


@pytest.mark.parametrize(
    ("folder", "location", "file"),
    [
        ("", "model.onnx_data", "model.onnx_data"),
        ("", "./model.onnx_data", "model.onnx_data"),
        ("", "weights.bin", "weights.bin"),
        ("onnx/", ".//data/../weights.bin", "onnx/weights.bin"),
        ("onnx/", "model.onnx.data", "onnx/model.onnx.data"),
        ("", "model.pt", "model.pt"),
        ("", "blob", "blob"),
    ],
)
async def test_external_data_is_found_by_its_normalised_name_whatever_its_ending(
    tmp_path: Path, folder: str, location: str, file: str
) -> None:
    files = {f"{folder}model.onnx": onnx_model(location), file: DATA}
    assert await rules_of(files, "onnx") == []
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    # ONNX's own loader finds the same bytes.
    loaded = onnx.load(tmp_path / folder / "model.onnx").graph.initializer[0]
    assert loaded.raw_data == DATA


async def test_parameters_are_those_of_all_models_or_none() -> None:
    model = {"model.onnx": onnx_model("blob"), "blob": DATA}
    node = helper.make_node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[1.0, 2.0])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    opsets = [helper.make_opsetid("ai.onnx.ml", 3)]
    linear = helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:]), opset_imports=opsets)
    for more, parameters in (({}, 64), ({"linear.onnx": linear.SerializeToString()}, None)):
        record = (await checked({**model, **more}, "onnx")).record
        assert (record.outcome, record.problems) == ("Verified", ())
        assert record.summary is not None
        assert record.summary.parameters == parameters
        assert record.summary.weights_bytes == (None if parameters is None else 256)


async def test_a_pickle_is_no_external_data() -> None:
    model = {"model.onnx": onnx_model("weights.bin")}
    assert await rules_of({**model, "weights.bin": b"\x80\x04" + DATA}, "onnx") == ["UnsafeFile"]
    assert await rules_of({**model, "weights.bin": b"PK\3\4" + DATA}, "onnx") == ["UnsafeFile"]
    assert await rules_of({**model, "weights.bin": b"\x89HDF\r\n\x1a\n" + DATA}, "onnx") == ["UnsafeFile"]
    assert await rules_of({**model, "weights.bin": DATA, "other.bin": DATA}, "onnx") == ["UnsafeFile"]
    assert await rules_of({"model.onnx": onnx_model("x.py"), "x.py": DATA}, "onnx") == ["UnsafeFile"]
    assert await rules_of({"model.onnx": onnx_model("x.tar.gz"), "x.tar.gz": DATA}, "onnx") == ["UnsafeFile"]
    assert "UnsafeFile" in await rules_of({"model.onnx": b"no model", "weights.bin": DATA}, "onnx")
    unsafe = (await checked({**model, "other.bin": DATA}, "onnx")).record.summary
    assert unsafe is not None
    assert unsafe.unsafe_files == ("other.bin",)


# Configurations beside the model's own


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "sub/preprocessor_config.json"])
@pytest.mark.parametrize(
    ("content", "odd"),
    [
        (b'{"a": 1, "a": 2}', "'a' 2 times"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"temperature": 1e400}', "1e400"),
        (b'{"author": "Andr\xe9"}', "not UTF-8"),
        (b'{"bos": "\\ud800"}', "surrogate"),
        (b'{"top_p": ' + b"9" * 400 + b"}", "the number"),
    ],
)
async def test_what_is_odd_in_a_configuration_is_named_and_passed_over(name: str, content: bytes, odd: str) -> None:
    notes = await notes_of({**WHOLE, name: content})
    assert odd in notes
    assert name in notes


@pytest.mark.parametrize(
    "content",
    [
        b'{"auto_map": {}, "a": 1, "a": 2}',
        b'{"a": 1, "a": {"auto_map": {}}}',
        b'{"auto_map": 1, "auto_map": 2}',
        b'\xef\xbb\xbf{"auto_map": {}}',
        b'{"x": 1e400, "\\u0061uto_map": {}}',
        b'{"x": "\xe9", "auto\\u005fmap" : {}}',
        b'{"x": "\\ud800", "y": [{"auto_map":null}]}',
    ],
)
async def test_an_odd_configuration_that_names_code_is_refused(content: bytes) -> None:
    assert await rules_of({**WHOLE, "tokenizer_config.json": content}) == ["RemoteCode"]


@pytest.mark.parametrize("content", [b"{", b"[1]", b"not json", b"{}{}", '{"auto_map": 1}'.encode("utf-16")])
async def test_a_configuration_that_is_none_is_refused(content: bytes) -> None:
    assert await rules_of({**WHOLE, "tokenizer_config.json": content}) in (["JsonInvalid"], ["ConfigInvalid"])


@pytest.mark.parametrize("content", [b'{"a": 1, "a": 2}', b'\xef\xbb\xbf{"a": 1}', b'{"x": 1e400}', b'{"x": "\xe9"}'])
async def test_the_configuration_of_the_model_stays_strict(content: bytes) -> None:
    assert await rules_of({**WHOLE, "config.json": content}) in (["JsonInvalid"], ["JsonDuplicateKey"])


# What was checked by other rules


async def test_what_other_rules_found_is_checked_again_and_not_read_again() -> None:
    store = FakeStore({f"m/{path}": data for path, data in WHOLE.items()})
    first = await check(store)
    assert (await check(store, previous=first.record)).files is None
    known = {file.path: file for file in first.files or ()}
    older = replace(first.record, rules=RULES - 1, outcome="Invalid", digest=None)
    again = await check(store, previous=older, known=known)
    assert (again.record.outcome, again.record.rules) == ("Verified", RULES)
    assert again.record.digest == first.record.digest
