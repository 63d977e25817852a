"""Which object is what, from names and sizes alone."""

from __future__ import annotations

import mimetypes
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact import manifest
from gatehouse.domain.artifact.foreign import left_by
from gatehouse.domain.artifact.layout import CONFIGURATIONS, MAX_FILES, OWN_FILES, Layout
from gatehouse.domain.artifact.unsafe_files import danger_of
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.formats.layout import lay_out
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.formats.table import CHECKED_FORMATS


def listing(*paths: str, **sizes: int) -> Listing:
    return Listing.of(StoredObject(path=path, size=sizes.get(path, 10), etag='"e"') for path in paths)


def sized(**paths: int) -> Listing:
    return Listing.of(StoredObject(path=path, size=size, etag='"e"') for path, size in paths.items())


def rules(found: Layout) -> list[str]:
    return [problem.reason for problem in found.problems]


def paths(objects: tuple[StoredObject, ...]) -> list[str]:
    return [stored.path for stored in objects]


SINGLE = ("config.json", "model.safetensors", "tokenizer.json")
SHARDED = (
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
)


@pytest.mark.parametrize(
    ("artifact_format", "names", "weights"),
    [
        ("safetensors", SINGLE, ["model.safetensors"]),
        ("safetensors", SHARDED, list(SHARDED[1:3])),
        ("safetensors", ("config.json", "any-name.safetensors"), ["any-name.safetensors"]),
        ("gguf", ("model-Q4_K_M.gguf", "README.md"), ["model-Q4_K_M.gguf"]),
        (
            "gguf",
            ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"),
            ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
        ),
        ("onnx", ("onnx/decoder.onnx", "onnx/encoder.onnx"), ["onnx/decoder.onnx", "onnx/encoder.onnx"]),
        ("other", ("rank0.engine",), []),
    ],
)
def test_weights_of_a_sound_artifact(artifact_format: str, names: tuple[str, ...], weights: list[str]) -> None:
    found = lay_out(listing(*names), artifact_format=artifact_format)
    assert (rules(found), paths(found.weights)) == ([], weights)
    assert paths(found.files) == sorted(names)


def test_other_weights_are_checked_but_do_not_count() -> None:
    found = lay_out(listing(*SINGLE, "adapter/adapter_model.safetensors"), artifact_format="safetensors")
    assert paths(found.weights) == ["model.safetensors"]
    assert paths(found.others) == ["adapter/adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("artifact_format", "names", "expected"),
    [
        ("safetensors", ("model.safetensors",), ["ConfigMissing"]),
        ("safetensors", ("nested/config.json", "model.safetensors"), ["ConfigMissing"]),
        ("safetensors", ("config.json",), ["WeightsMissing"]),
        ("safetensors", ("README.md",), ["WeightsMissing"]),
        ("safetensors", ("weights.eqx", "vocab.txt"), ["WeightsMissing"]),
        ("safetensors", ("sub/model.safetensors",), ["WeightsMissing"]),
        ("safetensors", ("a.safetensors", "b.safetensors"), ["ConfigMissing", "IndexMissing"]),
        ("safetensors", ("config.json", "sub/model.safetensors"), ["WeightsMissing"]),
        ("safetensors", ("config.json", "MODEL.SAFETENSORS"), ["WeightsMissing"]),
        ("safetensors", ("config.json", "a.safetensors", "b.safetensors"), ["IndexMissing"]),
        ("safetensors", (*SINGLE, "consolidated.safetensors"), ["AmbiguousWeights"]),
        ("safetensors", (*SINGLE, "consolidated-00001-of-00001.safetensors"), ["AmbiguousWeights"]),
        ("safetensors", (*SINGLE, "adapter_model.safetensors", "adapter_config.json"), ["AmbiguousWeights"]),
        ("safetensors", (*SINGLE, "model.fp16.safetensors"), ["AmbiguousWeights"]),
        ("safetensors", ("config.json", "a.safetensors", "consolidated.safetensors"), ["AmbiguousWeights"]),
        ("gguf", ("README.md",), ["WeightsMissing"]),
        ("onnx", ("model.safetensors",), ["WeightsMissing"]),
        ("onnx", ("model.safetensors", "weights.bin"), ["UnsafeFile", "WeightsMissing"]),
        ("safetensors", (*SINGLE, "pytorch_model.bin"), ["UnsafeFile"]),
        ("safetensors", (*SINGLE, "modeling.py", "kernel.so.1"), ["UnsafeFile", "UnsafeFile"]),
        ("tensorrt", ("model.pkl",), ["UnsafeFile"]),
        ("safetensors", (*SINGLE, "../x"), ["HostileName"]),
        ("safetensors", (*SINGLE, "a//b"), ["HostileName"]),
        ("safetensors", (*SINGLE, "a/./b"), ["HostileName"]),
        ("safetensors", (*SINGLE, "new\nline"), ["HostileName"]),
        ("safetensors", (*SINGLE, "bell\x07"), ["HostileName"]),
        ("safetensors", (*SINGLE, "not-utf8-\udcff"), ["HostileName"]),
        ("safetensors", (*SINGLE, "lost-\ufffd"), ["HostileName"]),
        ("safetensors", (*SINGLE, "folder/"), ["HostileName"]),
        ("safetensors", (*SINGLE, ""), ["HostileName"]),
        ("safetensors", (*SINGLE, "x", "x/y/z"), ["PathConflict"]),
        ("safetensors", (*SINGLE, "x/y", "x/y/z"), ["PathConflict"]),
    ],
)
def test_problems(artifact_format: str, names: tuple[str, ...], expected: list[str]) -> None:
    found = lay_out(listing(*names), artifact_format=artifact_format)
    assert rules(found) == expected
    assert all(problem.found and problem.expected and problem.remedy for problem in found.problems)


def test_an_empty_file_is_named_and_not_read() -> None:
    found = lay_out(sized(**{"config.json": 0, "model.safetensors": 10}), artifact_format="safetensors")
    assert rules(found)[0] == "EmptyFile"
    assert "config.json" in found.problems[0].found
    assert found.configurations == ()


@pytest.mark.parametrize("artifact_format", get_args(ArtifactFormat))
@pytest.mark.parametrize("name", ["__init__.py", "sub/run.SH", "x.zip", "bundle.js"])
def test_an_empty_file_that_has_to_go_is_not_to_be_uploaded_again(artifact_format: ArtifactFormat, name: str) -> None:
    found = lay_out(sized(**{name: 0, "model.onnx": 9}), artifact_format=artifact_format)
    said = [problem for problem in found.problems if shown(name) in problem.found]
    assert [problem.reason for problem in said] == ["UnsafeFile"]
    assert found.unsafe == (name,)


def test_an_empty_file_that_may_be_data_of_a_model_is_only_empty() -> None:
    found = lay_out(sized(**{"weights.bin": 0, "model.onnx": 9}), artifact_format="onnx")
    assert (rules(found), found.suspects, found.unsafe) == (["EmptyFile"], (), ())
    assert rules(lay_out(sized(**{"weights.bin": 0, "model.gguf": 9}), artifact_format="gguf")) == ["UnsafeFile"]


@pytest.mark.parametrize("artifact_format", sorted(CHECKED_FORMATS))
@pytest.mark.parametrize("names", [("README.md",), ("meta.json", "ner/model"), ("weights.eqx",), ("model.zip",)])
def test_where_there_are_no_weights_all_that_could_be_is_named(artifact_format: str, names: tuple[str, ...]) -> None:
    problem = lay_out(listing(*names), artifact_format=artifact_format).problems[-1]
    assert problem.reason == "WeightsMissing"
    assert all(f"*.{each}" in problem.found for each in CHECKED_FORMATS)
    assert "--format other" in problem.remedy
    assert ("no unsafe files" in problem.remedy) is (names == ("model.zip",))


def test_weights_that_only_their_own_program_reads_may_be_other() -> None:
    [problem] = lay_out(listing("weights.safetensors"), artifact_format="safetensors").problems
    assert problem.reason == "ConfigMissing"
    assert "Upload config.json" in problem.remedy
    assert "--format other" in problem.remedy


def test_weights_below_the_top_are_not_said_to_be_missing() -> None:
    [problem] = lay_out(listing("config.json", "sub/model.safetensors"), artifact_format="safetensors").problems
    assert (problem.reason, problem.found) == ("WeightsMissing", "no *.safetensors files at the top")
    assert "to the top" in problem.remedy


def test_folders_of_consoles_are_no_files() -> None:
    found = lay_out(sized(**{"": 0, "sub/": 0, **dict.fromkeys(SINGLE, 10)}), artifact_format="safetensors")
    assert (rules(found), paths(found.files)) == ([], sorted(SINGLE))


def test_a_folder_with_a_hostile_name_is_a_problem() -> None:
    found = lay_out(sized(**{"../": 0, **dict.fromkeys(SINGLE, 10)}), artifact_format="safetensors")
    assert "HostileName" in rules(found)


def test_own_files_are_passed_over() -> None:
    found = lay_out(listing(*SINGLE, *OWN_FILES), artifact_format="safetensors")
    assert paths(found.files) == sorted(SINGLE)
    assert (
        paths(lay_out(listing(*SINGLE, "sub/model.sig"), artifact_format="safetensors").files)[-1] == "tokenizer.json"
    )


def test_too_many_files_are_one_problem() -> None:
    many = listing(*(f"{number}.bin" for number in range(MAX_FILES + 1)))
    assert rules(lay_out(many, artifact_format="safetensors")) == ["TooManyFiles"]
    just_enough = lay_out(listing(*(f"f{number}" for number in range(MAX_FILES))), artifact_format="other")
    assert rules(just_enough) == []


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_what_loaders_read_as_a_configuration_is_one_in_any_folder(name: str) -> None:
    found = lay_out(listing(*SINGLE, name, f"vision/{name}", "config.4.0.0.json"), artifact_format="safetensors")
    assert {name, f"vision/{name}", "config.4.0.0.json"} <= set(paths(found.configurations))
    assert found.searched == ()


@pytest.mark.parametrize("artifact_format", get_args(ArtifactFormat))
def test_a_format_is_checked_or_needs_a_policy(artifact_format: ArtifactFormat) -> None:
    """A format that is added without a check of its files is not cleared by itself."""
    unchecked = any(
        "files are only hashed" in note for note in lay_out(listing(), artifact_format=artifact_format).notes
    )
    assert unchecked is (artifact_format not in CHECKED_FORMATS)


def test_what_only_looks_like_a_configuration_is_searched() -> None:
    names = ("data_config.json", "Model_Configuration.JSON", "sub/configs.json", "chat.json", "config.yaml")
    found = lay_out(listing(*SINGLE, *names), artifact_format="safetensors")
    assert paths(found.configurations) == ["config.json"]
    assert paths(found.searched) == ["Model_Configuration.JSON", "data_config.json", "sub/configs.json"]


def test_missing_tokenizer_files_are_noted() -> None:
    assert lay_out(listing(*SINGLE[:2]), artifact_format="safetensors").notes == ("there are no tokenizer files",)
    assert lay_out(listing(*SINGLE), artifact_format="safetensors").notes == ()


@pytest.mark.parametrize(
    ("path", "danger"),
    [
        ("pytorch_model.bin", "Pickle"),
        ("sub/TRAINING_ARGS.BIN", "Pickle"),
        ("model.ckpt", "Pickle"),
        ("model.pth.", "Pickle"),
        ("model.pt ", "Pickle"),
        ("model.joblib", "Pickle"),
        ("model.keras", "Pickle"),
        ("modeling_x.py", "Code"),
        ("lib.so.1.2", "Code"),
        ("lib.dll", "Code"),
        ("bundle.min.js", "Code"),
        ("vad.worklet.MJS", "Code"),
        ("index.cjs", "Code"),
        ("index.d.ts", "Code"),
        ("ort-wasm-simd.wasm", "Code"),
        ("binding.node", "Code"),
        ("serve.zsh", "Code"),
        ("init.lua", "Code"),
        ("predict.R", "Code"),
        ("Main.class", "Code"),
        ("kernel.cubin", "Code"),
        ("bundle.js.map", None),
        ("model.json", None),
        ("vocab.js.txt", None),
        ("run.ipynb", None),
        ("model.zip", "Archive"),
        ("sub/Model.TAR", "Archive"),
        ("model.tar.gz", "Archive"),
        ("model.tgz. ", "Archive"),
        ("model.whl", "Code"),
        ("model.safetensors", None),
        ("model.bin.safetensors", None),
        ("array.npy", None),
        ("tokenizer.model", None),
        ("bin", None),
        ("python", None),
        ("notes.also", None),
    ],
)
def test_danger_by_name(path: str, danger: str | None) -> None:
    assert danger_of(path) == danger


ENDINGS = sorted(
    {*mimetypes.types_map, *mimetypes.common_types, *mimetypes.encodings_map, *mimetypes.suffix_map, ".zip", ".tar"}
)


def test_what_kserve_unpacks_is_unsafe() -> None:
    """KServe's storage initializer asks mimetypes, and unpacks these two types. The table grows with Python's."""
    names = [f"model{first}{second}" for first in ("", *ENDINGS) for second in ENDINGS]
    unpacked = [name for name in names if mimetypes.guess_type(name)[0] in {"application/zip", "application/x-tar"}]
    assert len(unpacked) > 100
    assert [name for name in unpacked if danger_of(name) is None] == []


NAMES = st.one_of(
    st.sampled_from(
        [
            *SINGLE,
            *OWN_FILES,
            "",
            "/",
            "a/",
            "a",
            "a/b",
            "A",
            ".hidden",
            ".git/x",
            "a_$folder$",
            ".DS_Store",
            "a/.cache/huggingface/x.lock",
            ".ipynb_checkpoints/x.py",
            "Model.sig",
            "model.sig/",
            "é",
            "e\u0301",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.builds(
        "{}/{}".format, st.sampled_from(["a", "b", "..", "."]), st.sampled_from(["c", "", "config.json", "x.zip"])
    ),
)


@given(objects=st.dictionaries(NAMES, st.integers(0, 2), max_size=8))
def test_each_object_is_in_the_manifest_or_of_one_exact_form(objects: dict[str, int]) -> None:
    found = lay_out(
        Listing.of(StoredObject(path=path, size=size, etag='"e"') for path, size in objects.items()),
        artifact_format="other",
    )
    covered, own = set(paths(found.files)), set(paths(found.own))
    assert own == objects.keys() & set(OWN_FILES)
    for path, size in objects.items():
        # KServe passes over what ends with a slash, and over what is empty.
        passed_over = path == "" or path.endswith("/") or left_by(path) is not None
        assert path in covered or path in own or (size == 0 and passed_over)
    if not found.problems:
        manifest.render(manifest.ManifestEntry(path, 1, "0" * 64) for path in covered)
        assert all(size for path, size in objects.items() if path in covered | own)


def test_the_unsafe_are_named_without_harm_to_a_terminal() -> None:
    found = lay_out(listing(*SINGLE, "evil\x1b[31m.pkl"), artifact_format="safetensors")
    assert found.unsafe == ("evil\\x1b[31m.pkl",)
