"""Which files of a folder are sent, which are left out, and which stand against it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gatehouse.domain.artifact.layout import MAX_FILES
from gatehouse.errors import InputInvalid
from gatehouse.upload.check import FolderCheck, FolderRefused, check_names, guess_format, told_format
from gatehouse.upload.folder import FileChanged, FolderFiles, scan
from gatehouse.upload.folder_store import FolderStore
from modelfiles import config_json, safetensors_file


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def paths(found: FolderFiles) -> list[str]:
    return [file.path for file in found.files]


def rules(found: FolderFiles) -> list[tuple[str, str]]:
    return [(problem.reason, problem.found.split(":")[0]) for problem in found.problems]


def test_hidden_files_and_gatehouses_own_are_left_out_and_said(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a",
        "sub/b",
        ".git/config",
        ".DS_Store",
        "sub/.cache/x",
        "gatehouse.manifest",
        "model.sig",
        "sub/model.sig",
        "c.bin",
        "sub_$folder$",
        "Thumbs.db",
        "__MACOSX/sub/._b",
    )
    found = scan(tmp_path, exclude=["*.bin"])
    assert paths(found) == ["a", "model.sig", "sub/b", "sub/model.sig"]
    assert found.left_out == (
        ".DS_Store",
        ".git",
        "Thumbs.db",
        "__MACOSX/sub",
        "c.bin",
        "gatehouse.manifest",
        "sub/.cache",
        "sub_$folder$",
    )
    assert not found.problems


def test_a_snapshot_in_the_cache_of_hugging_face_is_followed_into_its_blobs(tmp_path: Path) -> None:
    cache = tmp_path / "models--ibm--granite"
    write(cache, "blobs/1f2e", "blobs/3d4c")
    snapshot = cache / "snapshots" / "0a1b"
    (snapshot / "onnx").mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/1f2e")
    (snapshot / "onnx" / "model.onnx").symlink_to("../../../blobs/3d4c")

    found = scan(snapshot)

    assert paths(found) == ["config.json", "onnx/model.onnx"]
    assert not found.problems
    assert found.files[0].real == cache / "blobs" / "1f2e"


def test_a_link_out_of_the_folder_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    write(tmp_path, "private/key", "model/config.json")
    model = tmp_path / "model"
    (model / "README.md").symlink_to(tmp_path / "private" / "key")
    (model / "sub").symlink_to(tmp_path / "private")
    (model / "same").symlink_to("config.json")

    found = scan(model)

    assert paths(found) == ["config.json", "same"]
    assert rules(found) == [("LinkOutside", "'README.md'"), ("LinkOutside", "'sub'")]
    assert "--follow-links" in found.problems[0].remedy
    assert paths(scan(model, follow_links=True)) == ["README.md", "config.json", "same", "sub/key"]


def test_blobs_are_only_those_of_the_own_cache(tmp_path: Path) -> None:
    write(tmp_path, "a/blobs/1", "b/blobs/2")
    snapshot = tmp_path / "a" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / "x").symlink_to("../../../b/blobs/2")
    assert rules(scan(snapshot)) == [("LinkOutside", "'x'")]


def test_links_that_lead_nowhere_or_in_circles(tmp_path: Path) -> None:
    write(tmp_path, "sub/a")
    (tmp_path / "gone").symlink_to("not-there")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "sub" / "up").symlink_to("..")
    assert rules(scan(tmp_path)) == [("LinkBroken", "'gone'"), ("LinkLoop", "'self'"), ("LinkLoop", "'sub/up/'")]


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        # A socket's address has room for some hundred characters.
        listening.bind(os.path.relpath(tmp_path / "sock"))
        (tmp_path / "null").symlink_to("/dev/null")
        assert rules(scan(tmp_path, follow_links=True)) == [
            ("NotAFile", "'null'"),
            ("NotAFile", "'pipe'"),
            ("NotAFile", "'sock'"),
        ]


def test_a_folder_too_deep_and_one_with_too_many_files_end(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 40)
    write(tmp_path / "deep", f"{deep}/x")
    assert rules(scan(tmp_path / "deep"))[0][0] == "TooDeep"
    (tmp_path / "many").mkdir()
    for number in range(MAX_FILES + 5):
        os.link(tmp_path / "deep" / deep / "x", tmp_path / "many" / str(number))
    assert len(scan(tmp_path / "many").files) == MAX_FILES + 1


@pytest.mark.parametrize("name", [b"\xff.json", b"new\nline", "\u202egpj.txt".encode(), b"back\\slash"])
async def test_names_that_are_no_names_are_refused_in_the_operators_words(tmp_path: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123, ASYNC230
        file.write(b"x")
    (tmp_path / "config.json").write_bytes(config_json())
    (tmp_path / "model.safetensors").write_bytes(safetensors_file({"a": ("BF16", (2, 2))}))
    check = FolderCheck(FolderStore(scan(tmp_path)), artifact_format="safetensors")
    with pytest.raises(FolderRefused, match="HostileName: found the object name"):
        await check.run()


async def test_a_file_that_git_lfs_did_not_fetch_is_said_to_be_that(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4a" * 32 + b"\nsize 117979485\n"
    (tmp_path / "model.onnx").write_bytes(pointer)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(FolderRefused, match=r"FileNotFetched: found 'model\.onnx': a pointer of Git LFS") as raised:
        await FolderCheck(FolderStore(scan(tmp_path)), artifact_format="onnx").run()
    assert len(raised.value.problems) == 1
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "config.json").write_bytes(config_json())
    (tmp_path / "model.safetensors").write_bytes(safetensors_file({"a": ("BF16", (2, 2))}))
    (tmp_path / "tokenizer.json").write_bytes(pointer)
    with pytest.raises(FolderRefused, match=r"FileNotFetched: found 'tokenizer\.json'"):
        await FolderCheck(FolderStore(scan(tmp_path)), artifact_format="safetensors").run()


async def test_what_nothing_checks_is_sent_with_a_word_on_the_policy_that_it_needs(tmp_path: Path) -> None:
    write(tmp_path, "weights.eqx")
    checked = await FolderCheck(FolderStore(scan(tmp_path)), artifact_format="other").run()
    assert checked.notes[-1].endswith(
        "until an enforced GovernancePolicy that applies to it names other in spec.artifact.formats"
    )
    (tmp_path / "weights.eqx").unlink()
    (tmp_path / "config.json").write_bytes(config_json())
    (tmp_path / "model.safetensors").write_bytes(safetensors_file({"a": ("BF16", (2, 2))}))
    checked = await FolderCheck(FolderStore(scan(tmp_path)), artifact_format="safetensors").run()
    assert not any("GovernancePolicy" in note for note in checked.notes)


@pytest.mark.parametrize("config", [b"{}", b'{"architectures": ["GraniteForCausalLM"]}', config_json()])
async def test_a_model_that_no_server_can_tell_is_sent_with_a_word_on_its_template(
    tmp_path: Path, config: bytes
) -> None:
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "model.safetensors").write_bytes(safetensors_file({"a": ("BF16", (2, 2))}))
    checked = await FolderCheck(FolderStore(scan(tmp_path)), artifact_format="safetensors").run()
    said = [note for note in checked.notes if "gets no serving template: a config.json with no model_type" in note]
    assert bool(said) is (b"model_type" not in config)


async def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FolderRefused, match="NoFiles"):
        await FolderCheck(FolderStore(scan(tmp_path)), artifact_format="safetensors").run()
    with pytest.raises(InputInvalid, match="no folder"):
        scan(tmp_path / "not-there")


def test_a_key_that_s3_does_not_take(tmp_path: Path) -> None:
    write(tmp_path, "a" * 200)
    found = scan(tmp_path)
    check_names(found, prefix="p" * 824)
    with pytest.raises(FolderRefused, match="KeyTooLong"):
        check_names(found, prefix="p" * 825)


async def test_a_file_that_was_replaced_after_it_was_found(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(config_json())
    (tmp_path / "model.safetensors").write_bytes(safetensors_file({"a": ("BF16", (2, 2))}))
    store = FolderStore(scan(tmp_path))
    (tmp_path / "new").write_bytes(safetensors_file({"a": ("BF16", (2, 2))}))
    (tmp_path / "new").replace(tmp_path / "model.safetensors")
    with pytest.raises(FileChanged, match=r"model\.safetensors"):
        await FolderCheck(store, artifact_format="safetensors").run()


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("config.json", "model.safetensors", "model.gguf", "model.onnx"), "safetensors"),
        (("config.json", "model.safetensors", "onnx/model.onnx"), "safetensors"),
        (("adapter_model.safetensors",), "safetensors"),
        (("Model-Q4.GGUF", "README.md"), "gguf"),
        (("config.json", "model.gguf"), "gguf"),
        (("model.onnx",), "onnx"),
        # Loaders take no safetensors without a config.json, and what is beside them as it is.
        (("vad.onnx", "vad_16k.safetensors"), "onnx"),
        (("model.safetensors", "model.gguf", "model.onnx"), "gguf"),
        (("model.gguf", "model.onnx"), "gguf"),
        # Where nothing is beside, the folders tell.
        (("config.json", "tokenizer.json", "onnx/model.onnx"), "onnx"),
        (("C/model.onnx", "E/model.onnx"), "onnx"),
        (("model_index.json", "unet/model.safetensors", "vae/model.onnx"), "safetensors"),
        (("README.md", "weights.eqx"), None),
        ((), None),
    ],
)
def test_the_format_is_told_from_the_names(tmp_path: Path, names: tuple[str, ...], wanted: str | None) -> None:
    write(tmp_path, *names)
    assert told_format(scan(tmp_path)) == wanted
    assert guess_format(scan(tmp_path)) == (wanted or "safetensors")
