from __future__ import annotations

import hashlib
import pickle
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.manifest import ManifestEntry, check_path, digest, parse, render
from gatehouse.domain.common.format_error import FormatError
from modelfiles import outcome


def entry(path: str, content: bytes = b"") -> ManifestEntry:
    return ManifestEntry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def accepted(name: str) -> bool:
    return outcome(check_path, name) == name


PATHS = st.text(max_size=12).filter(accepted)

AWKWARD = [
    "a",
    "a b",
    " leading",
    "trailing ",
    "*star",
    "é/ü.bin",
    "日本/模型",
    "#hash",
    "-x",
    "a/-",
    "A",
    "a/b",
    "a.b",
    "😀",
]


def test_sha256sum_checks_the_manifest(tmp_path: Path) -> None:
    files = {name: name.encode() * 3 for name in AWKWARD if name != "a"}
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True) if "/" in name else None
        path.write_bytes(content)
    manifest = render(entry(name, content) for name, content in files.items())
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(manifest, encoding="utf-8")
    check = ["sha256sum", "--check", "--strict", "--quiet", sums.name]
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (tmp_path / "a b").write_bytes(b"changed")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 1


def test_sha256sum_writes_the_same_text(tmp_path: Path) -> None:
    names = sorted(["b", "a b", "B", "c.bin"])
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    written = subprocess.run(["sha256sum", *names], cwd=tmp_path, check=True, capture_output=True).stdout
    assert render(entry(name, name.encode()) for name in reversed(names)).encode() == written
    assert digest(entry(name, name.encode()) for name in names) == f"sha256:{hashlib.sha256(written).hexdigest()}"


def test_order_is_that_of_the_bytes() -> None:
    # UTF-16 order and code point order differ here; bytes follow code points.
    paths = ["\U0001f600", "\uff5e", "a", "Z", "a/b", "a.b"]
    lines = render(entry(path) for path in paths).splitlines()
    assert [line[66:] for line in lines] == ["Z", "a", "a.b", "a/b", "\uff5e", "\U0001f600"]


@given(st.dictionaries(PATHS, st.binary(max_size=4), max_size=6), st.randoms())
def test_rendering_is_stable_and_can_be_read_back(files: dict[str, bytes], random: object) -> None:
    entries = [entry(path, content) for path, content in files.items()]
    text = render(entries)
    assert parse(text) == {each.path: each.sha256 for each in entries}
    assert digest(entries) == digest(list(reversed(entries)))


@given(st.text(max_size=300))
def test_reading_arbitrary_text_raises_nothing_but_format_errors(text: str) -> None:
    files = outcome(parse, text)
    if isinstance(files, FormatError):
        return
    assert render(ManifestEntry(path, 0, sha256) for path, sha256 in files.items()) == text


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_a_name_is_refused_or_returned_unaltered(name: str | bytes) -> None:
    match outcome(check_path, name):
        case FormatError() as error:
            assert error.finding.reason == "HostileName"
            assert str(error).isprintable()
        case path:
            assert path == (name if isinstance(name, str) else name.decode())
            assert not path.startswith("/")
            assert ".." not in path.split("/")


@pytest.mark.parametrize("name", [*AWKWARD, "a" * 1024, b"bytes/too", "zero\u200dwidth joiner", "..a", "a..", "a/...b"])
def test_takes(name: str | bytes) -> None:
    assert check_path(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        ".",
        "a/../b",
        "./a",
        "a/.",
        "-",
        "a\\b",
        "a\nb",
        "a\rb",
        "a\0b",
        "a\x1b[2Jb",
        "a\x7f",
        "a\x85",
        "a\u2028b",
        "a\u202eb",
        "a\ud800",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        "a" * 1025,
        "é" * 513,
    ],
)
def test_refuses_a_hostile_name_and_shows_it_escaped(name: str | bytes) -> None:
    with pytest.raises(FormatError) as caught:
        check_path(name)
    assert caught.value.finding.reason == "HostileName"
    assert str(caught.value).isprintable()
    assert len(caught.value.finding.found) < 250


@pytest.mark.parametrize(
    "entries",
    [
        [entry("a"), entry("a")],
        [ManifestEntry("a", 1, "f" * 63)],
        [ManifestEntry("a", 1, "F" * 64)],
        [ManifestEntry("a", 1, "f" * 64 + "\n")],
    ],
)
def test_refuses_entries_that_are_not_a_manifest(entries: list[ManifestEntry]) -> None:
    with pytest.raises(FormatError, match="ManifestInvalid"):
        render(entries)


@pytest.mark.parametrize(
    "text",
    [
        "f" * 64 + "  a",
        "f" * 64 + " *a\n",
        "f" * 63 + "  a\n",
        "f" * 64 + "  b\n" + "f" * 64 + "  a\n",
        ("f" * 64 + "  a\n") * 2,
        "\n",
    ],
)
def test_refuses_text_that_is_not_a_manifest(text: str) -> None:
    with pytest.raises(FormatError, match="ManifestInvalid"):
        parse(text)


def test_errors_survive_the_way_between_processes() -> None:
    error = FormatError("Rule", "found", "wanted", "remedy")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy), copy.finding.reason) == (FormatError, str(error), "Rule")
