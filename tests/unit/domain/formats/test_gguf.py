"""Files as gguf-py writes them, and the sets that they make: which is the model, and what is passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import gguf as gguf_py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.gguf import GgufSet, gguf_set
from gatehouse.domain.formats.gguf_header import GGML_TYPES, GgufHeader, GgufSplit, parse
from modelfiles import gguf_file, outcome
from unit.domain.formats.gguf_files import written

KEY = bytes(range(16))


def headers_of(files: Mapping[str, bytes]) -> dict[str, GgufHeader]:
    found = {path: parse(data, object_size=len(data), key=KEY) for path, data in files.items()}
    assert all(isinstance(header, GgufHeader) for header in found.values())
    return {path: header for path, header in found.items() if isinstance(header, GgufHeader)}


def judged(files: Mapping[str, bytes]) -> GgufSet:
    return gguf_set(headers_of(files), key=KEY)


def rule_of(files: Mapping[str, bytes]) -> str | None:
    found = judged(files)
    assert (found.problem is None) is bool(found.model)
    if found.problem is not None:
        assert all((found.problem.found, found.problem.expected, found.problem.remedy))
    return found.problem.reason if found.problem else None


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, bytes]:
    return written(tmp_path / "splits", split_max_tensors=2)


def test_splits_as_gguf_py_writes_them(splits: dict[str, bytes]) -> None:
    assert sorted(splits) == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]
    headers = headers_of(splits)
    first, second = headers.values()
    assert (first.split, second.split) == (
        GgufSplit(number=0, count=2, tensors=4),
        GgufSplit(number=1, count=2, tensors=4),
    )
    assert first.config is not None
    assert first.config.num_hidden_layers == 2
    assert second.config is None
    assert judged(splits).model == tuple(sorted(splits))


def test_a_first_split_may_hold_the_metadata_alone(tmp_path: Path) -> None:
    """As ``--no-tensor-first-split`` has it: gguf-py calls it a small first shard."""
    files = written(tmp_path, split_max_tensors=3, small_first_shard=True)
    headers = list(headers_of(files).values())
    assert (headers[0].tensors, len(headers)) == (0, 3)
    assert rule_of(files) is None


def test_splits_may_lie_in_a_folder(splits: dict[str, bytes]) -> None:
    files = {f"Q8_0/{path}": data for path, data in splits.items()}
    assert judged(files).model == tuple(sorted(files))


def test_a_set_that_is_not_whole_is_refused(splits: dict[str, bytes], tmp_path: Path) -> None:
    first, second = sorted(splits)
    other = written(tmp_path / "other", "model.gguf", tensors=6, split_max_tensors=2)
    cases: list[tuple[dict[str, bytes], str]] = [
        ({first: splits[first]}, "ShardMissing"),
        ({second: splits[second]}, "ShardMissing"),
        ({first: splits[second], second: splits[first]}, "SplitMismatch"),
        ({"a.gguf": splits[first], "b.gguf": splits[second]}, "AmbiguousWeights"),
        ({first: splits[first], second.replace("model", "other"): splits[second]}, "AmbiguousWeights"),
        ({**splits, "whole.gguf": gguf_file()}, "AmbiguousWeights"),
        ({**splits, **other}, "AmbiguousWeights"),
        ({first: gguf_file(), second: gguf_file()}, "SplitMismatch"),
        ({"a.gguf": splits[first]}, "SplitMismatch"),
        ({"a.gguf": gguf_file(), "b.gguf": gguf_file()}, "AmbiguousWeights"),
    ]
    assert [rule_of(files) for files, _ in cases] == [rule for _, rule in cases]


@pytest.mark.parametrize(
    ("names", "found", "remedy"),
    [
        (
            ["m-Q4_K_M.gguf", "m-Q8_0.gguf"],
            "2 models in 2 *.gguf files: 'm-Q4_K_M.gguf', 'm-Q8_0.gguf'",
            "gatehouse upload --exclude 'm-Q8_0.gguf' takes 'm-Q4_K_M.gguf'.",
        ),
        (
            ["Q4/m.gguf", "Q8/m.gguf", "f16/m.gguf"],
            "3 models in 3 *.gguf files: 'Q4/m.gguf', 'Q8/m.gguf', 'f16/m.gguf'",
            "gatehouse upload --exclude 'Q8/m.gguf' --exclude 'f16/m.gguf' takes 'Q4/m.gguf'.",
        ),
        (
            [f"m-{number}.gguf" for number in range(9)],
            "9 models in 9 *.gguf files: 'm-0.gguf', 'm-1.gguf', 'm-2.gguf' and 6 more",
            "gatehouse upload --exclude PATTERN leaves files out.",
        ),
        (["a b.gguf", "c.gguf"], "2 models in 2 *.gguf files: 'a b.gguf', 'c.gguf'", "PATTERN leaves files out."),
        (
            ["m-00001-of-00001.GGUF", "m-00001-of-00001.gguf"],
            "2 models in 2 *.gguf files",
            "--exclude 'm-?????-of-00001.gguf' takes 'm-00001-of-00001.GGUF'.",
        ),
    ],
)
def test_several_models_are_named_and_how_to_choose_one(names: list[str], found: str, remedy: str) -> None:
    problem = judged({name: gguf_file() for name in names}).problem
    assert problem is not None
    assert problem.reason == "AmbiguousWeights"
    assert problem.found.startswith(found)
    assert problem.remedy.startswith(f"Keep one of the {len(names)}, and give each other one a folder and a version")
    assert problem.remedy.endswith(remedy)


def test_splits_and_another_quantization_are_two_models(splits: dict[str, bytes]) -> None:
    problem = judged({**splits, "model-Q4_0.gguf": gguf_file()}).problem
    assert problem is not None
    assert problem.found.startswith("2 models in 3 *.gguf files: 'model-00001-of-00002.gguf' and 1 more of its set, ")
    assert "--exclude 'model-Q4_0.gguf' takes 'model-00001-of-00002.gguf' and 1 more" in problem.remedy


def test_splits_of_two_models_do_not_make_one(tmp_path: Path) -> None:
    mine, theirs = written(tmp_path / "a", split_max_tensors=2), written(tmp_path / "b", tensors=3, split_max_tensors=2)
    first, second = sorted(mine)
    assert rule_of({first: mine[first], second: theirs[second]}) == "SplitMismatch"


def test_no_tensor_is_in_two_splits(splits: dict[str, bytes]) -> None:
    first, second = sorted(splits)
    twice = splits[second].replace(b"blk.2.attn_q", b"blk.1.attn_q")
    assert rule_of({first: splits[first], second: twice}) == "DuplicateTensor"


def test_only_a_later_split_may_be_silent_about_the_model(splits: dict[str, bytes]) -> None:
    """Its own word that it is one counts only with a number: a hostile file gets no way around the architecture."""
    first, second = sorted(splits)
    for number in (0, 1):
        data = splits[second].replace(b"split.no\x02\0\0\0\x01\0", b"split.no\x02\0\0\0" + bytes([number]) + b"\0")
        found = outcome(parse, data, object_size=len(data))
        assert isinstance(found, GgufHeader if number else FormatError)
    whole = gguf_file().replace(b"general.architecture", b"general.orchitecture")
    error = outcome(parse, whole, object_size=len(whole))
    assert isinstance(error, FormatError)
    assert error.finding.reason == "MetadataInvalid"
    assert first < second


@pytest.mark.parametrize(
    ("name", "kind", "architecture"),
    [
        ("mmproj-model-f16.gguf", None, "clip"),
        ("gemma-3-4b-it-mmproj.gguf", None, "clip"),
        ("gemma-3.mmproj-Q8_0.gguf", None, "clip"),
        ("vision.gguf", "mmproj", "clip"),
        ("vision.gguf", None, "clip"),
        ("vision.gguf", "mmproj", "gemma3"),
        ("MMPROJ.gguf", None, "llama"),
    ],
)
def test_a_projector_is_one_by_its_name_or_by_what_it_says(
    tmp_path: Path, name: str, kind: str | None, architecture: str
) -> None:
    projector = written(tmp_path / "p", name, kind=kind, architecture=architecture)
    found = judged({"model.gguf": gguf_file(), **projector})
    assert found.model == ("model.gguf",)
    assert found.passed_over == {name: "a projector for images"}
    assert rule_of(projector) == "WeightsMissing"


def test_other_kinds_are_passed_over_beside_a_model(tmp_path: Path) -> None:
    adapter = written(tmp_path / "a", "lora.gguf", kind="adapter")
    matrix = written(tmp_path / "i", "imatrix.gguf", kind="imatrix")
    assert judged({"model.gguf": gguf_file(), **adapter, **matrix}).model == ("model.gguf",)
    assert rule_of(adapter) == "AdapterOnly"
    assert rule_of(matrix) == "WeightsMissing"


def test_every_kind_that_gguf_py_knows_has_a_role(tmp_path: Path) -> None:
    """The table grows with the library."""
    kinds = [value for name, value in vars(gguf_py.GGUFType).items() if name.isupper()]
    assert len(kinds) >= 4
    for kind in kinds:
        files = written(tmp_path / kind, "x.gguf", kind=kind)
        assert (judged({"model.gguf": gguf_file(), **files}).model == ("model.gguf",)) is (kind != "model")


def test_only_known_kinds_are_no_models(tmp_path: Path) -> None:
    """A word that nobody knows gets a file past nothing: it is a model, which has to say of which architecture."""
    for kind in ("draft", "MMPROJ", "x" * 5000, ""):
        files = written(tmp_path / f"k{len(kind)}", "x.gguf", kind=kind)
        assert rule_of(files) is None
        assert rule_of({"model.gguf": gguf_file(), **files}) == "AmbiguousWeights"
    silent = written(tmp_path / "s", "x.gguf", kind="draft")["x.gguf"].replace(
        b"general.architecture", b"general.orchitecture"
    )
    assert isinstance(outcome(parse, silent, object_size=len(silent)), FormatError)
    odd = gguf_file(metadata=[("general.type", 7)])
    assert isinstance(outcome(parse, odd, object_size=len(odd)), GgufHeader)


def test_types_are_those_of_gguf_py() -> None:
    """All that the library knows are known here, with its sizes; newer ones of ggml may be here already."""
    theirs = {kind.value: (kind.name, *gguf_py.GGML_QUANT_SIZES[kind]) for kind in gguf_py.GGMLQuantizationType}
    ours = {number: (known.name, known.block, known.size) for number, known in GGML_TYPES.items()}
    assert theirs.items() <= ours.items()


@settings(max_examples=30, deadline=None)
@given(tensors=st.integers(1, 9), most=st.integers(1, 4), small=st.booleans())
def test_what_gguf_py_splits_is_one_model(
    tmp_path_factory: pytest.TempPathFactory, tensors: int, most: int, small: bool
) -> None:
    files = written(tmp_path_factory.mktemp("s"), tensors=tensors, split_max_tensors=most, small_first_shard=small)
    headers = headers_of(files)
    read = gguf_py.GGUFReader
    folder = tmp_path_factory.mktemp("r")
    for path, data in files.items():
        (folder / path).write_bytes(data)
        theirs = read(folder / path)
        assert headers[path].tensors == len(theirs.tensors)
        assert headers[path].tensor_bytes == sum(int(tensor.n_bytes) for tensor in theirs.tensors)
    assert rule_of(files) is None
    assert sum(header.parameters for header in headers.values()) == tensors * 256
    for path in files:
        if len(files) > 1:
            left = {other: data for other, data in files.items() if other != path}
            assert rule_of(left) == "ShardMissing"


@given(
    names=st.lists(
        st.from_regex(re.compile(r"[ab](-0000[1-3]-of-0000[1-3])?\.gguf"), fullmatch=True), max_size=4, unique=True
    ),
    split=st.lists(
        st.one_of(
            st.none(), st.builds(GgufSplit, number=st.integers(0, 2), count=st.just(3), tensors=st.integers(0, 3))
        ),
        min_size=4,
        max_size=4,
    ),
)
def test_any_set_is_a_model_or_has_a_problem(names: list[str], split: list[GgufSplit | None]) -> None:
    headers = {
        name: GgufHeader(version=3, tensors=1, parameters=1, tensor_bytes=4, types={}, config=None, split=each)
        for name, each in zip(names, split, strict=False)
    }
    found = gguf_set(headers, key=KEY)
    assert (found.problem is None) is bool(found.model)
    if len(found.model) > 1:
        assert [headers[path].split for path in found.model] == [
            GgufSplit(number=number, count=3, tensors=3) for number in range(3)
        ]
