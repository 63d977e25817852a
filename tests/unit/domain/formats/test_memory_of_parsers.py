"""What a stranger's files make the operator keep, in bytes of memory at the peak. Each of these took hundreds of MB."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable

import orjson
import pytest

from gatehouse.api.model_evaluation import MAX_SLICES, ModelEvaluationSpec
from gatehouse.controllers.table import WATCHES
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats.layout import lay_out
from gatehouse.domain.formats.safetensors_header import MAX_INDEX, parse_index
from gatehouse.runtime.cache import pack
from gatehouse.runtime.kopf_source import PAGE_SIZE, _pages, _split
from gatehouse.runtime.watches import build_caches
from hostile import SHAPES, parse

MIB = 1024 * 1024


def peak(work: Callable[[], object]) -> int:
    """Bytes that ``work`` had allocated at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def listing(name: Callable[[int], str], count: int) -> Listing:
    return Listing.of(StoredObject(path=name(number), size=1, etag='"e"') for number in range(count))


@pytest.mark.parametrize("artifact_format", ["safetensors", "gguf", "onnx"])
@pytest.mark.parametrize(
    "name",
    [lambda number: f"{number}/{'a/' * 500}b", lambda number: f"{number}/{('a' * 30 + '/') * 30}b"],
    ids=["too deep", "as deep as may be"],
)
def test_deep_names_are_not_kept_folder_by_folder(name: Callable[[int], str], artifact_format: str) -> None:
    found = listing(name, 2_000)
    assert peak(lambda: lay_out(found, artifact_format=artifact_format)) < 16 * MIB


def test_a_name_has_at_most_32_levels() -> None:
    deepest, deeper = "a/" * 31 + "b", "a/" * 32 + "b"
    found = Listing.of(StoredObject(path=path, size=1, etag='"e"') for path in (deepest, deeper))
    hostile = [each for each in lay_out(found, artifact_format="safetensors").problems if each.reason == "HostileName"]
    assert len(hostile) == 1
    assert "33" in hostile[0].expected


def test_entries_that_say_nothing_of_where_a_tensor_lies_are_passed_over() -> None:
    shape = next(each for each in SHAPES["onnx"] if each.name == "external entries")
    data = shape.of(1_000_000)
    assert peak(lambda: parse("onnx", data, {})) < 6 * MIB


def test_an_index_is_at_most_16_mib() -> None:
    with pytest.raises(FormatError) as caught:
        parse_index(b" " * (MAX_INDEX + 1))
    assert caught.value.finding.reason == "JsonTooLarge"


def evaluation(*, metrics: int, slices: int) -> dict[str, object]:
    parts = [{"name": f"part-{number}", "value": "1"} for number in range(slices)]
    return {
        "versionRef": {"name": "a", "uid": "b"},
        "digest": f"sha256:{'0' * 64}",
        "kind": "Task",
        "suite": "s",
        "dataset": {"name": "d"},
        "evaluator": "e",
        "evaluatedAt": "2026-11-29T12:00:00Z",
        "metrics": [{"name": f"m{number}", "value": "1", "slices": parts} for number in range(metrics)],
    }


def test_an_evaluation_is_small() -> None:
    assert len(ModelEvaluationSpec.model_validate(evaluation(metrics=4, slices=64)).metrics) == 4
    for many in (evaluation(metrics=5, slices=64), evaluation(metrics=64, slices=5)):
        with pytest.raises(ValueError, match=f"at most {MAX_SLICES} slices"):
            ModelEvaluationSpec.model_validate(many)
    assert len(json.dumps(largest_evaluation(), ensure_ascii=False).encode()) < 256 * 1024


def largest_evaluation() -> dict[str, object]:
    """As large as the schema lets one be, without what the API server adds."""
    text = "\N{EARTH GLOBE EUROPE-AFRICA}" * 128
    value = "-" + "9" * 12 + "." + "9" * 17 + "e-99"
    largest = evaluation(metrics=64, slices=4) | {"suite": text, "notes": text * 32}
    for metric in largest["metrics"]:  # type: ignore[attr-defined]  # a list, as above
        metric |= {"name": text, "value": value, "stderr": value}
        metric["slices"] = [{"name": text, "value": value}] * 4
    return largest


def test_hundreds_of_the_largest_evaluations_are_kept_in_little_memory_at_a_start() -> None:
    """500 of 690 KB each took 1.7 GB. Of a page that is in memory a part is decoded, and what is kept is deflated."""
    count = 500
    spec = largest_evaluation()
    caches = build_caches(WATCHES)
    seen = 0

    def page(first: int) -> bytes:
        """No two are alike, so that nothing is shared between them but within one."""
        noise = random.Random(first)
        bodies = []
        for number in range(first, first + PAGE_SIZE):
            metrics = [
                {**metric, "name": noise.randbytes(64).hex()}
                for metric in spec["metrics"]  # type: ignore[attr-defined]  # as above
            ]
            metadata = {
                "name": f"e-{number}",
                "namespace": "team",
                "uid": str(number),
                "resourceVersion": str(number + 1),
            }
            bodies.append({"metadata": metadata, "spec": {**spec, "metrics": metrics}})
        return orjson.dumps({"items": bodies})

    def start() -> None:
        nonlocal seen
        for first in range(0, count, PAGE_SIZE):
            document, items = _split(page(first))
            assert items is not None
            for each in _pages(document, items, ("modelevaluations", None), first=first == 0):
                for body in each.items:
                    caches["modelevaluations"].apply(None, body)
                    seen += 1

    most = peak(start)
    assert seen == len(caches["modelevaluations"].keys()) == count
    kept = sum(len(pack(body)) for body in caches["modelevaluations"].bodies())
    print(
        f"{count} evaluations of {len(page(0)) // PAGE_SIZE} bytes: {most / MIB:.0f} MiB at most, {kept / MIB:.0f} kept"
    )
    assert kept < 32 * MIB
    assert most < 96 * MIB
