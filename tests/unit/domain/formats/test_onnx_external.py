"""Where the data of an ONNX model lies: as ONNX itself resolves it, and never out of the model's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.onnx_cpp2py_export import checker

from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.onnx_graph import normalised
from modelfiles import outcome

PARTS = st.sampled_from(["a", "b", "w.bin", ".", "..", "", ".hidden", "..x", " "])
LOCATIONS = st.lists(PARTS, min_size=1, max_size=6).map("/".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that the parts can name, three levels deep, with its own path as content; one beside the folder."""
    top = tmp_path_factory.mktemp("onnx")
    (top / "w.bin").write_text("outside")
    root = top / "model"
    for path in ("a", "b", "a/b", "b/a", "a/a"):
        (root / path).mkdir(parents=True, exist_ok=True)
        for name in ("w.bin", ".hidden", "..x", " "):
            (root / path / name).write_text(f"{path}/{name}")
    for name in ("w.bin", ".hidden", "..x", " "):
        (root / name).write_text(name)
    return root


def found_by_onnx(folder: Path, location: str) -> str | None:
    """The path of the file that ONNX opens below the folder."""
    try:
        descriptor = checker._open_external_data(str(folder), location, "t", True)
    except Exception:  # noqa: BLE001 - the library's own error has a type of its own
        return None
    with os.fdopen(descriptor) as opened:
        return opened.read()


@settings(max_examples=400)
@given(location=LOCATIONS)
def test_a_location_is_what_onnx_makes_of_it(folder: Path, location: str) -> None:
    found, theirs = outcome(normalised, location), found_by_onnx(folder, location)
    if theirs is not None:
        assert found == theirs
    elif not isinstance(found, FormatError):
        assert not (folder / found).is_file(), "what ONNX refuses names no file that is there"


@given(location=st.one_of(LOCATIONS, st.text(max_size=20), LOCATIONS.map("/".__add__)))
def test_no_location_leads_out_of_the_folder(location: str) -> None:
    found = outcome(normalised, location)
    if not isinstance(found, FormatError):
        assert not found.startswith("/")
        assert not {"", ".", ".."} & set(found.split("/"))
