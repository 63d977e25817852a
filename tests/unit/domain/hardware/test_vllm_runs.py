"""The fit held against vLLM itself: public configurations in two releases, and runs on real accelerators."""

from __future__ import annotations

from collections import defaultdict

import pytest

from gatehouse.domain.hardware.dimensions import Unmodelled, limit_named
from gatehouse.domain.hardware.splits import tensor_parallel_size
from gatehouse.domain.hardware.weights import estimated_bytes
from vllmruns import (
    GIB,
    OTHER_WEIGHTS,
    PAGE,
    PICTURE,
    Report,
    Run,
    configurations,
    drawing,
    page_with_table,
    reports,
    runs,
)

BUILT = [each for each in runs() if each.error is None]

OTHER_LIMITS = {
    ("microsoft__Phi-3.5-mini-instruct", "0.33.0"): "4,096 is what 0.33 starts with by itself; it accepts 131,072",
    ("zai-org__GLM-4.1V-9B", "0.33.0"): "transformers 5 reads a nested text_config only, which this older file has not",
}
GUESSED = 2048
"""What vLLM takes where nothing says a length."""


def label(run: Run) -> str:
    return f"{run.name}-{run.version}-{run.size}"


@pytest.mark.parametrize("run", BUILT, ids=label)
def test_the_cache_is_what_vllm_needs(run: Run) -> None:
    layout = run.layout()
    assert not isinstance(layout, Unmodelled), layout
    for tokens, need in run.cache.items():
        cost = layout.cost(tokens)
        block = sum(term.bytes for term in layout.terms)
        assert cost >= need - block, (tokens, need)
        assert cost <= need * 1.01 + block, (tokens, need)


def test_the_cache_is_exact_in_nearly_all() -> None:
    other = {
        run.name
        for run in BUILT
        if (layout := run.layout()) and not isinstance(layout, Unmodelled)
        if any(layout.cost(tokens) != need for tokens, need in run.cache.items())
    }
    # 0.11.0 windows all layers of dots.llm1 whatever its layer_types say: a block more until the window is full.
    assert other == {"rednote__dots.llm1(class default)"}


@pytest.mark.parametrize("run", [run for run in runs() if run.size == 1 and run.limit], ids=label)
def test_the_limit_is_what_vllm_accepts(run: Run) -> None:
    limit = limit_named(run.model)[0]
    if (run.name, run.version) in OTHER_LIMITS:
        assert limit != run.limit
    elif limit is None:
        assert run.limit == GUESSED
    else:
        assert limit == run.limit


def test_the_split_is_the_largest_that_vllm_accepts() -> None:
    accepted: dict[str, dict[int, bool]] = defaultdict(dict)
    for run in runs():
        if run.version == "0.11.0":
            accepted[run.name][run.size] = run.error is None
    for name, sizes in accepted.items():
        if not sizes.get(1):
            continue
        model = configurations()[name][1]
        for count in sizes:
            best = max(size for size, sound in sizes.items() if sound and size <= count)
            assert tensor_parallel_size(model, count).size == best, (name, count)


@pytest.mark.parametrize("run", BUILT, ids=label)
def test_the_weights_of_a_configuration_are_what_vllm_allocates(run: Run) -> None:
    """Of a model whose part that sees images is not known, the language part alone is."""
    if (run.name, run.version) in OTHER_WEIGHTS:
        return
    estimate = estimated_bytes(run.model, run.release, tensor_parallel_size=run.size)
    assert estimate == pytest.approx(run.weights, rel=0.01)


def test_each_exception_is_one() -> None:
    far = {(run.name, run.version) for run in BUILT if not run.is_close}
    assert far == OTHER_WEIGHTS.keys()


@pytest.mark.parametrize("report", reports(), ids=lambda report: report.name)
def test_measured_runs(report: Report) -> None:
    if not report.starts:
        # What was refused never fits; what is only tight is told as that.
        assert report.found.verdict == "DoesNotFit"
    elif report.note == "":
        assert report.found.verdict in {"Fits", "Tight"}
    if report.available is not None and not report.note:
        assert report.computed == pytest.approx(report.available, rel=0.05, abs=0.3)
    elif report.available is not None:
        assert report.computed <= report.available  # too careful, never the other way


def test_the_reports_are_measured_in_gib() -> None:
    assert GIB == 2**30
    assert len(reports()) == 16


def test_the_page_shows_these_figures() -> None:
    """``.venv/bin/python tests/vllmruns.py`` writes them anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_table(page)
    assert PICTURE.read_text(encoding="utf-8") == drawing()
