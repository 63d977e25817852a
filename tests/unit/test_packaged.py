"""What strangers' packages are unpacked to: files of the model's folder, bounded, and of the recorded hash only."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from soak import packaged
from soak.packaged import Archive, ArchiveRefused, Case, cases, fetch, lay_down, unpack

FILES = {"pkg/__init__.py": b"code", "pkg/model/config.json": b"{}", "pkg/model/sub/a.onnx": b"onnx", "other/b": b"b"}


def wheel(path: Path, files: Mapping[str, bytes], *, link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if link is not None:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return path


def tarball(path: Path, files: Mapping[str, bytes], *, link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link is not None:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return path


KINDS = {"a.whl": wheel, "a.tgz": tarball}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_only_the_folder_of_the_model_is_unpacked(tmp_path: Path, kind: str) -> None:
    unpack(KINDS[kind](tmp_path / kind, FILES), folder="pkg/model", into=tmp_path / "to")
    there = {str(path.relative_to(tmp_path / "to")): path.read_bytes() for path in tmp_path.rglob("to/**/*.*")}
    assert there == {"config.json": b"{}", "sub/a.onnx": b"onnx"}


@pytest.mark.parametrize("name", ["pkg/model/../../../a", "pkg/model/sub/../../a"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, kind: str, name: str) -> None:
    path = KINDS[kind](tmp_path / kind, {name: b"x"})
    with pytest.raises(ArchiveRefused, match="which is no file below pkg/model"):
        unpack(path, folder="pkg/model", into=tmp_path / "to" / "deep")
    assert not list(tmp_path.rglob("a"))


def test_no_link_is_made(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path / kind, FILES, link="pkg/model/key")
    with pytest.raises(ArchiveRefused, match="'pkg/model/key', which is no file"):
        unpack(path, folder="pkg/model", into=tmp_path / "to")
    unpack(KINDS[kind](tmp_path / f"b{kind}", FILES, link="other/key"), folder="pkg/model", into=tmp_path / "two")


def test_what_is_unpacked_is_bounded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = KINDS[kind](tmp_path / kind, {**FILES, "elsewhere": bytes(10_000)})
    monkeypatch.setattr(packaged, "MAX_UNPACKED", 9_000)
    with pytest.raises(ArchiveRefused, match="unpacks to more than 9000 bytes"):
        unpack(path, folder="pkg/model", into=tmp_path / "to")
    monkeypatch.setattr(packaged, "MAX_UNPACKED", 90_000)
    monkeypatch.setattr(packaged, "MAX_ENTRIES", 3)
    with pytest.raises(ArchiveRefused, match="more than 3 entries"):
        unpack(path, folder="pkg/model", into=tmp_path / "two")


def test_an_archive_that_is_another_one_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path / "a-1-py3-none-any.whl", FILES)
    archive = Archive(
        registry="pypi",
        package="a",
        version="1",
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        folder="pkg/model",
    )
    assert fetch(archive, tmp_path) == path
    monkeypatch.setattr(packaged, "MAX_ARCHIVE", 10)
    with pytest.raises(ArchiveRefused, match="at most 10"):
        fetch(archive, tmp_path)
    monkeypatch.setattr(packaged, "MAX_ARCHIVE", 10_000)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArchiveRefused, match=r"is [0-9a-f]{64}; expected: "):
        fetch(archive, tmp_path)


def test_a_file_in_parts_is_joined_in_their_order(tmp_path: Path) -> None:
    archives = []
    for number in range(11):
        path = wheel(tmp_path / f"a{number}.whl", {f"p{number}/data/part": b"%d," % number})
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        archives.append(
            Archive(
                registry="pypi",
                package="a",
                version="1",
                file=path.name,
                sha256=sha256,
                folder=f"p{number}/data",
            )
        )
    case = Case(name="a", archives=tuple(archives), holds="parts", told="gguf", join="model.gguf")
    root = lay_down(case, fetched=tmp_path, into=tmp_path / "to")
    assert [path.name for path in root.iterdir()] == ["model.gguf"]
    assert (root / "model.gguf").read_bytes() == b"0,1,2,3,4,5,6,7,8,9,10,"


def test_a_refusal_without_a_reason_is_no_record(tmp_path: Path) -> None:
    archive = {"registry": "npm", "package": "a", "version": "1", "file": "a.tgz", "sha256": "00", "folder": "package"}
    case = {"name": "a", "archives": [archive], "holds": "x", "told": "onnx", "upload": ["UnsafeFile: 'a.py'"]}
    path = tmp_path / "packages.json"
    path.write_text(json.dumps([case]))
    with pytest.raises(ValueError, match="a: a refusal has a reason"):
        cases(path)
    path.write_text(json.dumps([{**case, "because": "it is code", "way": {"exclude": ["*.py"]}}]))
    (only,) = cases(path)
    assert only.operator == only.upload == ("UnsafeFile: 'a.py'",)
    assert only.way is not None
    assert only.way.exclude == ("*.py",)


def test_the_recorded_packages_are_read() -> None:
    recorded = cases()
    assert len({case.name for case in recorded}) == len(recorded) >= 20
    assert {archive.registry for case in recorded for archive in case.archives} == {"pypi", "npm"}
    assert all(len(archive.sha256) == 64 for case in recorded for archive in case.archives)
