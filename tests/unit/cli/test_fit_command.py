"""``gatehouse fit``: of a folder and of a config.json, as a table, as JSON and as a picture, and against a log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from gatehouse.cli.fit_output import HEADER
from gatehouse.cli.fit_picture import picture
from gatehouse.cli.main import app
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.hardware.scenarios import Choices, Machine, scenarios
from modelfiles import config_json, gguf_file, safetensors_file
from unit.domain.hardware.fits import PROFILES, shipped, summary
from unit.domain.hardware.vllm_logs import LOGS

SVG = "{http://www.w3.org/2000/svg}"


def run(*arguments: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(app, ["fit", *map(str, arguments)], **options)


def rows_of(result: Result) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return rows


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_bytes(config_json())
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "granite"
    folder.mkdir()
    (folder / "config.json").write_bytes(config_json(quantization_config=...))
    (folder / "model.safetensors").write_bytes(safetensors_file({"model.embed_tokens.weight": ("BF16", [64, 64])}))
    return folder


def test_a_configuration_needs_no_cluster_and_has_every_shipped_profile(config: Path) -> None:
    result = run(config)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{config}: config.json alone, so weights are estimated; vLLM 0.")
    assert lines[3].split() == list(HEADER)
    shown = {line.split()[0] for line in lines[4:] if line.startswith(("nvidia-", "amd-"))}
    assert shown == {path.stem for path in PROFILES.glob("*.yaml")} - {"kustomization"}
    assert "note: the weights are estimated from config.json" in result.stderr


def test_a_folder_is_read_as_upload_reads_it(folder: Path) -> None:
    result = run(folder, "--profile", "nvidia-l4", "-o", "json")
    assert result.exit_code == 0
    [row] = rows_of(result)
    assert (row["weightsBytes"], row["verdict"]) == (64 * 64 * 2, "Fits")
    assert not [note for note in json.loads(result.stdout)["notes"] if "estimated" in note]


def test_a_folder_that_upload_refuses_is_refused(folder: Path) -> None:
    (folder / "pytorch_model.pkl").write_bytes(b"\x80\x04.")
    result = run(folder, "--profile", "nvidia-l4")
    assert result.exit_code == 1
    assert "UnsafeFile" in result.stderr


def test_a_folder_without_weights_is_its_configuration(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    result = run(folder, "--profile", "nvidia-l4")
    assert result.exit_code == 0
    assert "weights are estimated" in result.stdout


def test_every_choice_is_a_row(config: Path) -> None:
    lengths, sizes = ("--max-model-len", 4096, "--max-model-len", 8192), ("--tensor-parallel-size", 1)
    result = run(config, "--profile", "nvidia-l4", "--profile", "nvidia-t4", *lengths, *sizes, "-o", "json")
    asked = [(row["profile"], row["maxModelLenAsked"]) for row in rows_of(result)]
    assert asked == [("nvidia-l4", 4096), ("nvidia-l4", 8192), ("nvidia-t4", 4096), ("nvidia-t4", 8192)]


def test_what_fits_nowhere_ends_with_1_and_says_why(config: Path) -> None:
    result = run(config, "--profile", "nvidia-l4", "--max-model-len", "131073", "--tensor-parallel-size", "1")
    assert result.exit_code == 1
    assert "DoesNotFit, MaxModelLenTooLong" in result.stdout
    assert "do       set spec.serving.maxModelLen to at most" in result.stdout


def test_the_release_counts(config: Path) -> None:
    graphs = [
        rows_of(run(config, "--profile", "nvidia-l4", "--release", release, "-o", "json"))[0]["cudaGraphBytes"]["most"]
        for release in ("0.11.0", "v0.33.0")
    ]
    assert graphs == [0, 2**31]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing/config.json"], "does not exist; expected: a folder, a config.json, or a ModelVersion"),
        (["UPPER"], "does not exist"),
        (["CONFIG", "--release", "latest"], "expected: a release of vLLM"),
        (["CONFIG", "--picture", "fit.png"], "expected: a file whose name ends with .svg"),
        (["CONFIG", "--calibrate", "no.log"], "no.log cannot be read"),
        (["CONFIG", "--calibrate", "CONFIG"], "the log has no line that vLLM prints"),
        (["CONFIG", "--max-model-len", "0"], "--max-model-len"),
    ],
)
def test_what_cannot_be_answered_says_why(config: Path, arguments: Sequence[str], said: str) -> None:
    result = run(*[each.replace("CONFIG", str(config)) for each in arguments])
    assert result.exit_code == (1 if "no line that vLLM prints" in said else 2)
    assert said in " ".join(result.stderr.split())


def test_a_configuration_that_is_none_is_an_error(config: Path) -> None:
    config.write_bytes(b"[1]")
    result = run(config)
    assert result.exit_code == 2
    assert "ConfigInvalid" in result.stderr


def test_a_log_says_how_vllm_was_started(config: Path) -> None:
    result = run(config, "--profile", "nvidia-h100-80gb", "--calibrate", LOGS / "0.33.0.log", "-o", "json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    [row] = found["rows"]
    assert (row["tensorParallelSize"], row["maxNumSeqs"], row["maxModelLenAsked"]) == (2, 128, 32_768)
    assert found["vllm"] == "0.33.0"
    assert [term["term"] for term in found["calibration"]] == [
        "weights",
        "overhead",
        "CUDA graphs (0.40 to 2.00 GiB)",
        "memory for the cache",
        "cache of 32,768 tokens",
    ]


def test_a_log_comes_from_stdin_too_and_vllm_then_took_its_own_sequences(config: Path) -> None:
    log = (LOGS / "0.11.0.log").read_bytes()
    result = run(config, "--profile", "nvidia-h100-80gb", "--calibrate", "-", input=log)
    assert result.exit_code == 0
    assert "1,024       16,000" in result.stdout
    assert "derived from the log" in result.stdout


def test_a_log_is_of_one_profile(config: Path) -> None:
    result = run(config, "--calibrate", LOGS / "0.11.0.log")
    assert result.exit_code == 2
    assert "expected: one --profile, on which vLLM started" in result.stderr


def test_a_log_with_a_size_that_no_machine_has_is_refused_at_once(config: Path) -> None:
    log = b"non-default args: {'tensor_parallel_size': 999999999}\nModel loading took 1.0 GiB\n"
    result = run(config, "--profile", "nvidia-l4", "--calibrate", "-", input=log)
    assert result.exit_code == 2
    assert "expected: at most 16" in result.stderr


def test_the_data_type_of_the_cache_is_the_logs(config: Path) -> None:
    line = "LLM engine (v0.11.0) with config: max_seq_len=8192, tensor_parallel_size=1, pipeline_parallel_size={}, {}\n"
    sizes = []
    for pipeline, dtype in ((1, "kv_cache_dtype=auto"), (2, "kv_cache_dtype=fp8")):
        log = f"{line.format(pipeline, dtype)}Model loading took 7.8 GiB and 1.0 seconds\n".encode()
        result = run(config, "--profile", "nvidia-l4", "--calibrate", "-", "-o", "json", input=log)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        sizes.append(found["rows"][0]["kvCacheBytes"])
        assert any("pipeline parallelism" in note for note in found["notes"]) == (pipeline == 2)
    assert sizes[0] == 2 * sizes[1]


def test_formats_that_are_not_computed_are_unknown_and_end_with_1(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(gguf_file())
    old = run(tmp_path, "--profile", "nvidia-l4", "--release", "0.23.0", "--picture", tmp_path / "fit.svg")
    assert old.exit_code == 1, old.output
    assert "Unknown, FormatNotComputed" in old.stdout
    shipped_release = run(tmp_path, "--profile", "nvidia-l4")
    assert shipped_release.exit_code == 1
    assert "DoesNotFit, GgufNotLoaded" in shipped_release.stdout


def test_it_starts_without_what_a_file_needs_not() -> None:
    heavy = "sqlalchemy", "kubernetes", "botocore", "aiohttp"
    modules = "gatehouse.cli.fit, gatehouse.actions.fit_models, gatehouse.actions.fit_answers"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout == "[]\n"


# The picture


def test_the_picture_has_a_bar_a_row(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "fit.svg"
    result = run(config, "--picture", path, "-o", "json")
    drawn = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own
    texts = [each.text or "" for each in drawn.iter(f"{SVG}text")]
    verdicts = [text for text in texts if text.split(",")[0] in {"Fits", "Tight", "DoesNotFit", "Unknown"}]
    assert [text.split(",")[0] for text in verdicts] == [row["verdict"] for row in rows_of(result)]
    assert "cache of one sequence" in texts


def test_the_parts_of_a_bar_are_as_long_as_what_they_stand_for() -> None:
    rows = scenarios(summary(), [Machine(name="nvidia-l4", spec=shipped("nvidia-l4").spec)], Choices(sizes=(1,)))
    drawn = ET.fromstring(picture(rows, title="granite"))  # noqa: S314
    bars = [each for each in drawn.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
    lengths = [float(each.attrib["width"]) for each in bars]
    [row] = rows
    found = row.found
    graphs = found.graph_bytes[1]
    sizes = [found.weights_bytes or 0, found.overhead_bytes or 0, graphs, row.cache_bytes or 0, row.free_bytes or 0]
    assert len(lengths) == len(sizes)
    for length, size in zip(lengths, sizes, strict=True):
        assert length / sum(lengths) == pytest.approx(size / sum(sizes), abs=0.001)
    [line] = drawn.iter(f"{SVG}line")
    assert float(line.attrib["x1"]) == pytest.approx(400 + sum(lengths), abs=0.2)


def test_names_in_a_picture_are_only_text() -> None:
    hostile = '"><script>alert(1)</script>\x00\u202e&'
    rows = scenarios(summary(), [Machine(name=hostile, spec=shipped("nvidia-l4").spec)], Choices(sizes=(1,)))
    drawn = ET.fromstring(picture(rows, title=hostile))  # noqa: S314
    assert {each.tag.removeprefix(SVG) for each in drawn.iter()} == {"svg", "title", "rect", "text", "line"}
    assert "\u202e" not in picture(rows, title=hostile)


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert ET.fromstring(picture((), title="none")).tag == f"{SVG}svg"  # noqa: S314
    unknown = Fit(verdict="Unknown", finding=Finding(reason="", found="", expected=""))
    [row] = scenarios(summary(), [Machine(name="l4", spec=shipped("nvidia-l4").spec)], Choices(sizes=(1,)))
    drawn = picture([type(row)(machine=row.machine, size=1, requested=None, found=unknown)], title="unknown")
    assert "length unknown" in drawn
