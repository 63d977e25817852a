"""Sets of weights by their names: what belongs together, and how to come to one of them."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.artifact.weight_sets import choice, weight_sets
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.formats.layout import lay_out
from gatehouse.domain.formats.safetensors import BESIDE, single_and_index


def shards(name: str, count: int, ending: str = "safetensors") -> list[str]:
    return [f"{name}-{number:05}-of-{count:05}.{ending}" for number in range(1, count + 1)]


def problems(*paths: str) -> list[Finding]:
    every = ("config.json", "tokenizer.json", *paths)
    listing = Listing.of(StoredObject(path=path, size=10, etag='"e"') for path in every)
    return list(lay_out(listing, artifact_format="safetensors").problems)


@pytest.mark.parametrize(
    ("paths", "sets"),
    [
        (["model.safetensors"], [1]),
        (shards("model", 3), [3]),
        ([*shards("model", 2), *shards("model.fp16", 2)], [2, 2]),
        ([*shards("model", 2), *shards("model", 3)], [2, 3]),
        (["model.safetensors", *shards("consolidated", 2)], [2, 1]),
        (["a-Q4_K_M.gguf", "a-Q8_0.gguf", *shards("a-F16", 2, "gguf")], [2, 1, 1]),
        (["Q4/a.gguf", "Q8/a.gguf"], [1, 1]),
        (["a-00001-of-00002.GGUF", "a-00002-of-00002.GGUF"], [1, 1]),
        (["adapter_model.safetensors", "adapter_0.safetensors", "sub/adapter_model.safetensors"], [2, 1]),
        ([], []),
    ],
)
def test_files_of_one_set_belong_together(paths: list[str], sets: list[int]) -> None:
    assert [len(each.paths) for each in weight_sets(paths, beside=BESIDE)] == sets


NAMES = st.lists(
    st.one_of(
        st.sampled_from(["model.safetensors", "consolidated.safetensors", "adapter_model.safetensors", "a b.gguf"]),
        st.builds(
            lambda name, count, ending: shards(name, count, ending)[0],
            st.sampled_from(["model", "model-Q4", "mo[d]el", "m*l", "x/model", "model-00001-of-00002"]),
            st.integers(1, 3),
            st.sampled_from(["gguf", "safetensors"]),
        ),
        st.text(alphabet="am-*?[].0'\n", min_size=1, max_size=8).map(lambda name: f"{name}.gguf"),
    ),
    unique=True,
    min_size=2,
    max_size=6,
)


@given(NAMES)
def test_an_example_leaves_just_the_set_that_it_says(paths: list[str]) -> None:
    sets = weight_sets(paths, beside=BESIDE)
    assert sorted(path for each in sets for path in each.paths) == sorted(paths)
    if len(sets) < 2:
        return
    for kept in (None, *sets):
        said = choice(sets, kept=kept)
        assert "\n" not in said
        assert said.endswith(".")
        patterns = re.findall(r"--exclude '([^']*)'", said.partition("gatehouse upload ")[2])
        if patterns:
            left = [path for path in paths if not any(fnmatch.fnmatchcase(path, each) for each in patterns)]
            assert sorted(left) == sorted((kept or sets[0]).paths)


KEEP_SINGLE = "Keep 'model.safetensors', and give each other one a folder and a version of its own: "
KEEP_ONE = "Keep one of the 2, and give each other one a folder and a version of its own: gatehouse upload "


@pytest.mark.parametrize(
    ("paths", "rule", "remedy"),
    [
        (
            ["model.safetensors", "consolidated.safetensors"],
            "AmbiguousWeights",
            KEEP_SINGLE + "gatehouse upload --exclude 'consolidated*.safetensors' leaves the rest out.",
        ),
        (
            ["model.safetensors", *shards("model", 2)],
            "AmbiguousWeights",
            KEEP_SINGLE + "gatehouse upload --exclude 'model-?????-of-00002.safetensors' leaves the rest out.",
        ),
        (
            [*shards("model", 2), *shards("model.fp16", 2)],
            "AmbiguousWeights",
            KEEP_ONE + "--exclude 'model.fp16-?????-of-00002.safetensors' takes 'model-00001-of-00002.safetensors' and "
            "1 more of its set.",
        ),
        (
            ["a.safetensors", "b.safetensors", "c.safetensors", "d.safetensors", "model.safetensors"],
            "AmbiguousWeights",
            KEEP_SINGLE + "gatehouse upload --exclude PATTERN leaves files out.",
        ),
        (shards("consolidated", 2), "IndexMissing", "Upload model.safetensors.index.json of the model."),
        (shards("model", 2), "IndexMissing", "Upload model.safetensors.index.json of the model."),
        (["a.safetensors", "b.safetensors"], "IndexMissing", "Upload model.safetensors.index.json of the model."),
    ],
)
def test_a_folder_of_several_sets_says_which_and_how_to_choose(paths: list[str], rule: str, remedy: str) -> None:
    [problem] = problems(*paths)
    assert (problem.reason, problem.remedy) == (rule, remedy)
    if rule == "AmbiguousWeights":
        assert f"{len(weight_sets(paths, beside=BESIDE))} sets of weights" in problem.found


def test_one_file_beside_shards_and_their_index_names_both() -> None:
    problem = single_and_index(set(shards("model", 3)))
    assert "with the 3 files that it names" in problem.found
    assert "gatehouse upload --exclude model.safetensors takes the shards" in problem.remedy
