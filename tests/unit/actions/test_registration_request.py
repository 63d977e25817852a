"""What flags and a folder come to: names, manifests, and what is changed of what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import worlds
from gatehouse.actions.names import model_object_name, version_object_name
from gatehouse.actions.register import difference, version_difference
from gatehouse.actions.registration_request import RegistrationRequest, wanted
from gatehouse.api import ModelVersion
from gatehouse.cli.main import app
from gatehouse.domain.artifact.model_card import ModelCard
from gatehouse.errors import InputInvalid, ObjectMismatch
from gatehouse.upload.folder import scan
from gatehouse.upload.known_folder import known_folder
from gatehouse.upload.model_folder import FolderFacts, read_model_folder
from gatehouse_local.miniature import miniature_granite
from modelfiles import gguf_file

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
CARD = b"---\nlicense: apache-2.0\nlanguage: [en]\npipeline_tag: text-generation\nbase_model: [a/b, c/d]\n---\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {**miniature_granite(), "README.md": CARD}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def request(name: str = "granite", **version: Any) -> RegistrationRequest:
    flags = {"version": "1", "artifact": {"uri": "s3://models/granite/"}, **version}
    return RegistrationRequest(name=name, model={}, version=flags)


# names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Granite-3.1-8b-Instruct-FP8", "granite-3.1-8b-instruct-fp8"),
        ("ibm-granite/granite 3", "ibm-granite-granite-3"),
        ("a_.-_b", "a.b"),
        ("--A..", "a"),
        ("Qwen2.5(Coder)", "qwen2.5-coder"),
    ],
)
def test_names_follow_the_rule(name: str, safe: str) -> None:
    assert model_object_name(name) == safe


def test_a_version_is_named_after_its_model() -> None:
    assert version_object_name("granite", "3.1-May2025+fp8") == "granite-3.1-may2025-fp8"


@given(st.text(max_size=600), st.text(max_size=600))
def test_every_name_is_one_that_kubernetes_takes(name: str, other: str) -> None:
    try:
        safe = model_object_name(name)
    except InputInvalid:
        assert not re.search("[a-z0-9]", name.lower())
        return
    assert SUBDOMAIN.fullmatch(safe)
    assert len(safe) <= 253
    assert model_object_name(safe) == safe


def test_long_names_that_differ_stay_different() -> None:
    one, other = (model_object_name("m" * 300 + end) for end in "ab")
    assert one != other


# folder and flags


def test_a_folder_fills_what_flags_leave_open(folder: Path) -> None:
    made = wanted(request("Granite 3"), read_model_folder(folder))
    assert made.model["metadata"] == {"name": "granite-3"}
    assert made.model["spec"] == {
        "displayName": "Granite 3",
        "license": "Apache-2.0",
        "tasks": ["text-generation"],
        "languages": ["en"],
    }
    assert made.version["metadata"] == {"name": "granite-3-1"}
    assert made.version["spec"] == {
        "modelRef": {"name": "granite-3"},
        "version": "1",
        "artifact": {"uri": "s3://models/granite/", "format": "safetensors", "quantization": "FP8"},
        "hardwareProfileRef": {"name": "nvidia-l4"},
        "runtime": "vLLM",
        "lineage": {"baseModel": "a/b, c/d"},
    }


def test_flags_come_before_the_folder(folder: Path) -> None:
    asked = RegistrationRequest(
        name="granite",
        namespace="team",
        version_name="mine",
        model={"license": "MIT", "tasks": ["summarization"]},
        version={
            "version": "1",
            "artifact": {"uri": "s3://models/x", "quantization": "FP8-dynamic"},
            "lineage": {"baseModel": "e/f"},
            "hardwareProfileRef": {"name": "h100"},
        },
    )
    made = wanted(asked, read_model_folder(folder))
    assert (made.model["spec"]["license"], made.model["spec"]["tasks"]) == ("MIT", ["summarization"])
    assert made.version["metadata"] == {"name": "mine", "namespace": "team"}
    assert made.version["spec"]["artifact"]["quantization"] == "FP8-dynamic"
    assert made.version["spec"]["artifact"]["format"] == "safetensors"
    assert made.version["spec"]["lineage"] == {"baseModel": "e/f"}
    assert made.version["spec"]["hardwareProfileRef"] == {"name": "h100"}


def test_a_length_that_config_json_does_not_allow_is_refused(folder: Path) -> None:
    with pytest.raises(
        InputInvalid,
        match=r"--max-model-len is 131073; expected: at most 131072, the model's limit \(max_position_embeddings\)",
    ):
        wanted(request(serving={"maxModelLen": 131_073}), read_model_folder(folder))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"version": "a b"}, "--version is 'a b'"),
        ({"artifact": {"uri": "models/x"}}, "--uri is 'models/x'"),
        ({"artifact": {"uri": "s3://models/x", "digest": "abc"}}, "--digest is 'abc'"),
        ({"hardwareProfileRef": {"name": "NVIDIA"}}, "--hardware is 'NVIDIA'"),
        ({"lineage": {"code": {"commit": "main"}}}, "--code-commit is 'main'"),
        ({"customProperties": {"a": "x" * 2000}}, "--property is"),
    ],
)
def test_a_flag_that_is_not_right_is_named(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(InputInvalid) as raised:
        wanted(request(**flags), FolderFacts())
    assert str(raised.value).startswith(words)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", b"{", "JsonInvalid"),
        ("config.json", b'{"num_hidden_layers": -1}', "num_hidden_layers"),
        ("config.json", b"[" * 100_000, "JsonTooDeep"),
        ("README.md", b"---\na: &x 1\nb: *x\n---\n", "the alias *x"),
        ("README.md", b"---\nlicense: mit\n", "does not end"),
    ],
)
def test_what_cannot_be_read_is_noted_and_there_is_something_to_edit(
    folder: Path, name: str, content: bytes, words: str
) -> None:
    (folder / name).write_bytes(content)
    found = read_model_folder(folder)
    assert words in "; ".join(found.notes)
    assert wanted(request(), found).version["spec"]["artifact"]["format"] == "safetensors"


CARD_MEMBERS = st.sampled_from(["license", "tags", "language", "datasets", "base_model", "library_name"])
CARD_VALUES = st.sampled_from(
    ["mit", "[a, b]", "null", "x" * 300, '"\\u0007"', "{a: b}", "12", "[1.0, yes]", "a: b", "&x", "'", "\n- a\n- b"]
)
CARD_LINES = st.one_of(
    st.builds("{}: {}".format, CARD_MEMBERS, CARD_VALUES),
    st.sampled_from(["pipeline_tag: text-generation", "- a", "\t", "---", "# x"]),
)
CONFIGS = st.dictionaries(
    st.sampled_from(["quantization_config", "architectures", "hidden_size", "max_position_embeddings"]),
    st.one_of(st.integers(), st.text(max_size=4), st.just({"quant_method": "x" * 128}), st.lists(st.text(max_size=3))),
)


@given(
    head=st.one_of(st.lists(CARD_LINES, max_size=8).map("\n".join).map(str.encode), st.binary(max_size=80)),
    config=st.one_of(st.binary(max_size=40), CONFIGS.map(lambda members: json.dumps(members).encode())),
)
def test_whatever_a_folder_says_there_is_something_to_edit(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, config: bytes
) -> None:
    folder = tmp_path_factory.mktemp("m")
    (folder / "README.md").write_bytes(b"---\n" + head + b"\n---\n")
    (folder / "config.json").write_bytes(config)
    made = wanted(request(), read_model_folder(folder))
    assert (made.model["kind"], made.version["kind"]) == ("RegisteredModel", "ModelVersion")


@pytest.mark.parametrize("text", [b"{}", b'{"architectures": ["GraniteForCausalLM"]}', b'{"model_type": null}'])
def test_a_config_json_that_names_no_model_is_said_to_get_no_template(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    [note] = [note for note in read_model_folder(folder).notes if "serving template" in note]
    assert "a config.json with no model_type" in note
    assert '"architectures": ["LlamaForCausalLM"]' in note


ENCODER = {
    "position_embedding_type": "absolute",
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 8194,
}


@pytest.mark.parametrize(
    ("files", "limit", "quantization"),
    [
        ({}, 131_072, "FP8"),
        ({"config.json": json.dumps(ENCODER).encode()}, 4096, None),
        (
            {
                "config.json": json.dumps(ENCODER).encode(),
                "sentence_bert_config.json": b'{"max_seq_length": 512, "do_lower_case": false}',
            },
            512,
            None,
        ),
        (
            {
                "config.json": json.dumps(ENCODER).encode(),
                "tokenizer_config.json": b'{"model_max_length": 256}',
            },
            256,
            None,
        ),
        (
            {
                "config.json": json.dumps(ENCODER).encode(),
                "hf_quant_config.json": b'{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}',
            },
            4096,
            "FP4",
        ),
    ],
)
def test_what_fit_knows_of_a_folder_register_knows_too(
    folder: Path, files: dict[str, bytes], limit: int, quantization: str | None
) -> None:
    for name, text in files.items():
        (folder / name).write_bytes(text)
    found = read_model_folder(folder)
    known = known_folder(scan(folder))
    assert known.summary is not None
    assert found.config == known.config == known.summary.config
    made = wanted(request(serving={"maxModelLen": limit}), found)
    assert made.version["spec"]["artifact"].get("quantization") == quantization
    with pytest.raises(InputInvalid, match=f"at most {limit}, the model's limit"):
        wanted(request(serving={"maxModelLen": limit + 1}), found)


def test_the_limit_of_a_gguf_is_that_of_its_header(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(gguf_file())
    found = read_model_folder(tmp_path)
    assert found.config is not None
    assert found.config == known_folder(scan(tmp_path)).config
    assert found.artifact_format == "gguf"


def test_of_a_folder_that_upload_refuses_config_json_tells_and_the_notes_say_why(folder: Path) -> None:
    (folder / "sentence_bert_config.json").write_bytes(b'{"max_seq_length": 512, "do_lower_case": false}')
    for name in ("a.pkl", "b.pkl", "c.py", "d.sh"):
        (folder / name).write_bytes(b"print()")
    found = read_model_folder(folder)
    assert found.config is not None
    assert found.config.max_position_embeddings == 131_072
    refused = [note for note in found.notes if "refused" in note]
    assert refused[0].startswith("the folder will be refused: UnsafeFile: 'a.pkl'")
    assert refused[3] == "1 more problems for which it will be refused: gatehouse fit DIR names all of them"
    assert wanted(request(), found).version["spec"]["artifact"]["format"] == "safetensors"


def test_a_format_that_somebody_says_is_the_one_that_is_read(folder: Path) -> None:
    (folder / "model.gguf").write_bytes(gguf_file())
    assert read_model_folder(folder).config == read_model_folder(folder, artifact_format="safetensors").config
    assert (
        read_model_folder(folder, artifact_format="gguf").config
        == known_folder(scan(folder), artifact_format="gguf").config
    )


def test_a_folder_whose_names_tell_no_format_leaves_it_to_the_flag(folder: Path) -> None:
    for shard in folder.glob("*.safetensors"):
        shard.rename(shard.with_suffix(".eqx"))
    found = read_model_folder(folder)
    assert found.artifact_format is None
    assert found.notes == (
        "there are no *.safetensors, *.gguf or *.onnx files: name the format of the weights with --format",
    )
    assert "format" not in wanted(request(), found).version["spec"]["artifact"]


def test_a_link_to_elsewhere_is_not_read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_bytes(b"---\nlicense: secret\n---\n")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    found = read_model_folder(folder)
    assert found.card == ModelCard()
    assert "README.md" in found.notes[0]


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    import os

    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    assert read_model_folder(folder).card == ModelCard()


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="is no folder"):
        read_model_folder(tmp_path / "none")


# what is there


def test_a_difference_is_what_flags_say_otherwise() -> None:
    spec = {"license": "MIT", "tags": {"a": "1", "b": "2"}, "tasks": ["x"]}
    assert difference({"license": "MIT", "tags": {"a": "1"}}, spec) == {}
    assert difference({"license": "BSD", "tags": {"a": "3"}, "tasks": ["y"]}, spec) == {
        "license": "BSD",
        "tags": {"a": "3"},
        "tasks": ["y"],
    }
    assert difference({"lineage": {"code": {"commit": "c"}}}, {}) == {"lineage": {"code": {"commit": "c"}}}


def there(**status: Any) -> ModelVersion:
    return worlds.version(status=status)


def flags(**changes: Any) -> dict[str, Any]:
    return {"modelRef": {"name": "granite"}, "version": "1", "artifact": {"uri": worlds.URI}, **changes}


def changes(found: ModelVersion, asked: dict[str, Any]) -> Any:
    return version_difference(found, found.spec.wire(), asked)


def test_a_version_that_is_the_same_is_not_changed() -> None:
    assert changes(there(), flags()) == {}
    assert changes(there(), flags(artifact={"uri": worlds.URI.rstrip("/")})) == {}
    assert changes(there(artifact={"digest": worlds.DIGEST}), flags()) == {}


def test_a_version_changes_where_it_may() -> None:
    asked = flags(serving={"maxModelLen": 9}, hardwareProfileRef={"name": "h100"})
    assert changes(there(), asked) == {"serving": {"maxModelLen": 9}, "hardwareProfileRef": {"name": "h100"}}
    verified = there(artifact={"digest": worlds.DIGEST})
    asked = flags(artifact={"uri": worlds.URI, "digest": worlds.DIGEST})
    assert changes(verified, asked) == {"artifact": {"digest": worlds.DIGEST}}


@pytest.mark.parametrize(
    ("asked", "found", "has", "wants"),
    [
        (flags(artifact={"uri": "s3://models/other/"}), there(), "s3://models/granite", "s3://models/other"),
        (
            flags(artifact={"uri": worlds.URI, "digest": worlds.OTHER_DIGEST}),
            there(artifact={"digest": worlds.DIGEST}),
            worlds.DIGEST,
            worlds.OTHER_DIGEST,
        ),
        (
            flags(artifact={"uri": worlds.URI, "digest": worlds.OTHER_DIGEST}),
            there(artifact={"digest": worlds.OTHER_DIGEST}, recordedDigest=worlds.DIGEST),
            worlds.DIGEST,
            worlds.OTHER_DIGEST,
        ),
        (flags(version="1.0"), there(), "version 1;", "1.0"),
        (flags(modelRef={"name": "other"}), there(), "granite", "other"),
    ],
)
def test_what_a_version_stands_for_never_changes(
    asked: dict[str, Any], found: ModelVersion, has: str, wants: str
) -> None:
    with pytest.raises(ObjectMismatch) as raised:
        changes(found, asked)
    assert has in str(raised.value)
    assert f"expected: {wants}" in str(raised.value)


# the command


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["register", *arguments])


def test_a_dry_run_asks_no_cluster_and_prints_what_git_keeps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    said = run("granite", "--version", "1", "--uri", "s3://models/g/", "--from", str(folder), "--dry-run", "-o", "yaml")
    assert said.exit_code == 0, said.output
    model, version = yaml.safe_load_all(said.stdout)
    assert (model["kind"], version["kind"]) == ("RegisteredModel", "ModelVersion")
    assert "namespace" not in model["metadata"]
    assert "status" not in version
    names = run("granite", "--version", "1", "--uri", "s3://models/g/", "--dry-run", "-o", "name")
    assert names.stdout.split() == ["registeredmodel.gatehouse.dev/granite", "modelversion.gatehouse.dev/granite-1"]


def test_bad_input_ends_with_2_and_the_flag() -> None:
    said = run("granite", "--version", "1", "--uri", "http://x", "--dry-run")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith("error: --uri is 'http://x'")
    assert run("granite", "--version", "1", "--uri", "s3://models/g/", "--tag", "x", "--dry-run").exit_code == 2
    assert run("granite", "--version", "1", "--uri", "s3://models/g/", "--timeout", "soon").exit_code == 2


async def test_in_a_pod_the_namespace_is_the_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gatehouse.cli import connection

    mounted = tmp_path / "namespace"
    mounted.write_text("pipelines\n")
    monkeypatch.setattr(connection, "POD_NAMESPACE", mounted)
    assert await connection.default_namespace(None, None) == "pipelines"
