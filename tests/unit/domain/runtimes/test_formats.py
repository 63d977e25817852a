"""What a runtime loads, and which file it is told to load."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_version import MODEL_FILE, ArtifactStatus, ModelVersionSpec, ModelVersionStatus
from gatehouse.controllers.templates import serving_input as input_of
from gatehouse.domain.artifact.manifest import MAX_PATH_DEPTH, check_path
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.hardware.fit import SHIPPED_IMAGE, fit
from gatehouse.domain.runtimes.formats import SERVED_FORMATS, config_problem, model_argument, served_file
from gatehouse.domain.serving.template import render
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.gates import template_gate
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.records import VersionIds
from gatehouse.domain.version.status import version_status
from modelfiles import outcome
from unit.domain.hardware.fits import shipped
from unit.domain.serving.serving_inputs import serving_input

RUNTIMES = get_args(ModelVersionSpec.model_fields["runtime"].annotation)


GGUF_IMAGE = "vllm/vllm-openai:v0.23.0"
"""Of the newest release that loads GGUF by itself."""


def facts(artifact_format: str, model_file: str | None = None, *, image: str = GGUF_IMAGE) -> Facts:
    summary = worlds.summary(format=artifact_format, model_file=model_file)
    return worlds.facts(
        registry=worlds.registry(serving={"vllmImage": image}),
        version=worlds.version(artifact={"uri": worlds.URI, "format": artifact_format}),
        artifact=worlds.record(summary=summary),
    )


def test_every_runtime_says_which_formats_it_loads() -> None:
    assert SERVED_FORMATS.keys() == set(RUNTIMES)
    assert all(formats <= set(get_args(ArtifactFormat)) for formats in SERVED_FORMATS.values())


def test_onnx_has_no_template_and_its_gate_says_why() -> None:
    decision = decide(facts("onnx"))
    assert (decision.phase, decision.cleared_for) == ("Policy Denied", ())
    shut = decision.first_shut
    assert shut is not None
    assert (shut.name, shut.finding.reason, shut.status) == ("TemplateEmitted", "FormatNotServed", "False")
    assert "vLLM" in shut.finding.found
    assert "safetensors" in shut.finding.remedy
    hardware = next(gate for gate in decision.gates if gate.name == "HardwareFits")
    assert hardware.status == "Unknown"


def test_a_gguf_is_served_by_the_path_of_its_file() -> None:
    given_facts = facts("gguf", "Q8_0/model-00001-of-00003.gguf")
    decision = decide(given_facts)
    assert decision.phase == "Ready to Deploy"
    template = render(input_of(given_facts, decision, VersionIds(1, 2)))
    arguments = template.inference_service["spec"]["predictor"]["model"]["args"]
    # argparse takes the last, and the runtime's own --model comes before these.
    assert arguments[0] == "--model=/mnt/models/Q8_0/model-00001-of-00003.gguf"
    assert [each for each in arguments if each.startswith("--model=")] == arguments[:1]


def test_a_gguf_is_not_served_by_an_image_that_does_not_load_it() -> None:
    decision = decide(facts("gguf", "model.gguf", image=SHIPPED_IMAGE))
    assert decision.phase == "Does Not Fit"
    assert decision.first_shut is not None
    assert (decision.first_shut.name, decision.first_shut.finding.reason) == ("HardwareFits", "GgufNotLoaded")
    assert "vllm-gguf-plugin" in decision.first_shut.finding.remedy


NO_ARGUMENT = (None, "my model.gguf", "$(HOSTNAME).gguf", "{{.Name}}.gguf", "-x.gguf", "é.gguf", "a" * 600)


@pytest.mark.parametrize("file", NO_ARGUMENT)
def test_a_gguf_whose_name_no_argument_holds_is_not_served(file: str | None) -> None:
    decision = decide(facts("gguf", file))
    assert (decision.phase, decision.cleared_for) == ("Policy Denied", ())
    assert decision.first_shut is not None
    assert decision.first_shut.finding.reason == "ModelFileName"


@pytest.mark.parametrize(
    ("changes", "asked", "reason"),
    [
        ({"weights_bytes": 19 * 2**30}, None, "FormatNotComputed"),
        ({"weights_bytes": 21 * 2**30}, None, "WeightsTooLarge"),
        ({"weights_bytes": 21 * 2**30, "dtypes": {"F32": 2**30}}, None, "FormatNotComputed"),
        ({}, 131_072, "FormatNotComputed"),
        ({}, 131_073, "MaxModelLenTooLong"),
        ({"weights_bytes": None}, None, "FormatNotComputed"),
    ],
)
def test_of_a_gguf_only_what_is_sure_not_to_start_does_not_fit(
    changes: dict[str, Any], asked: int | None, reason: str
) -> None:
    """An L4: 19.8 GiB can be used."""
    found = fit(
        worlds.summary(**{"format": "gguf", "dtypes": {}, **changes}),
        shipped("nvidia-l4").spec,
        vllm_image=GGUF_IMAGE,
        requested_max_model_len=asked,
    )
    assert found.finding.reason == reason
    assert (found.verdict == "Unknown") is (reason == "FormatNotComputed")
    assert all((found.finding.found, found.finding.expected, found.finding.remedy))


@pytest.mark.parametrize("artifact_format", get_args(ArtifactFormat))
@pytest.mark.parametrize("model_type", [None, "granite"])
@pytest.mark.parametrize("architecture", [None, "GraniteForCausalLM"])
def test_a_config_json_that_does_not_say_which_model_it_is_gets_no_template(
    artifact_format: str, model_type: str | None, architecture: str | None
) -> None:
    """Of ONNX nothing is served anyway, and a GGUF says in itself what it is."""
    config = replace(worlds.config(), model_type=model_type, architecture=architecture)
    given_facts = facts(artifact_format, "model.gguf")
    summary = worlds.summary(format=artifact_format, model_file="model.gguf", config=config)
    gate = template_gate(replace(given_facts, artifact=worlds.record(summary=summary)), owed=True)
    nameless = model_type is None and artifact_format in {"safetensors", "other"}
    assert (gate.finding.reason == "ModelTypeMissing") is nameless
    if nameless:
        assert gate.shut
        assert ("and no architectures" in gate.finding.found) is (architecture is None)
        assert '"architectures": ["LlamaForCausalLM"]' in gate.finding.expected
        assert "save_pretrained" in gate.finding.remedy


def test_without_a_config_json_nothing_is_said_of_it() -> None:
    assert config_problem(None) is None
    assert template_gate(
        replace(facts("other"), artifact=worlds.record(summary=worlds.summary(format="other", config=None))), owed=True
    ).open


@pytest.mark.parametrize("artifact_format", get_args(ArtifactFormat))
@pytest.mark.parametrize("image", [GGUF_IMAGE, SHIPPED_IMAGE])
def test_a_length_is_asked_for_only_where_the_template_has_it(artifact_format: str, image: str) -> None:
    """Of weights that are not computed, and of an architecture that nobody knows."""
    config = replace(worlds.config(), architecture="NobodyKnowsForCausalLM")
    summary = worlds.summary(format=artifact_format, model_file="model.gguf", config=config)
    for asked in (None, 3_000):
        found = fit(summary, shipped("nvidia-l4").spec, vllm_image=image, requested_max_model_len=asked)
        assert found.verdict == ("DoesNotFit" if found.finding.reason == "GgufNotLoaded" else "Unknown")
        version = worlds.version(
            artifact={"uri": worlds.URI, "format": artifact_format}, serving={"maxModelLen": asked} if asked else {}
        )
        given_facts = worlds.facts(
            version=version,
            artifact=worlds.record(summary=summary),
            registry=worlds.registry(serving={"vllmImage": image}),
        )
        decision = decide(given_facts)
        gate = next(each for each in decision.gates if each.name == "HardwareFits")
        assert gate.finding.remedy == found.finding.remedy
        if "maxModelLen" not in gate.finding.remedy:
            assert decision.phase != "Ready to Deploy"
            continue
        assert found.max_model_len == (asked or 4096)
        if artifact_format == "other":  # ready once a policy permits the format
            continue
        template = render(input_of(given_facts, decision, VersionIds(1, 2)))
        arguments = template.inference_service["spec"]["predictor"]["model"]["args"]
        assert [each for each in arguments if each.startswith("--max-model-len")] == [
            f"--max-model-len={asked or 4096}"
        ]
        assert "stays unknown" in gate.finding.remedy


def test_the_status_names_the_file() -> None:
    given_facts = facts("gguf", "model.gguf")
    found = version_status(given_facts, decide(given_facts), registry_id=1, template=None, now=worlds.NOW).artifact
    assert isinstance(found, ArtifactStatus)
    assert found.model_file == "model.gguf"


def test_the_status_has_the_notes_within_its_bounds() -> None:
    given_facts = facts("gguf", "model.gguf")
    record = given_facts.artifact
    assert isinstance(record, ArtifactRecord)
    noted = replace(record, summary=worlds.summary(notes=("x" * 1000, *(f"note {number}" for number in range(40)))))
    given_facts = replace(given_facts, artifact=noted)
    status = version_status(given_facts, decide(given_facts), registry_id=1, template=None, now=worlds.NOW)
    assert status.artifact is not None
    assert [len(note) for note in status.artifact.notes[:2]] == [512, 6]
    assert len(status.artifact.notes) == 16
    ModelVersionStatus.model_validate(status.wire())


def test_what_was_learned_by_older_rules_is_no_file_to_serve() -> None:
    """A row from before files were recorded: nothing is guessed."""
    given_facts = facts("gguf")
    record = given_facts.artifact
    assert isinstance(record, ArtifactRecord)
    assert not decide(replace(given_facts, artifact=replace(record, rules=0))).ready


NAMES = st.one_of(st.from_regex(MODEL_FILE), st.text(max_size=20), st.text("ab./$(){}-+_ \n", max_size=12))


@given(name=NAMES)
@example(name="/".join("a" * MAX_PATH_DEPTH))
@example(name="/".join("a" * (MAX_PATH_DEPTH + 1)))
def test_a_file_that_is_served_is_a_plain_path_below_the_artifact(name: str) -> None:
    """No argument expands, leads out of the folder, or is more than one."""
    file = served_file(worlds.summary(format="gguf", model_file=name))
    if file is None:
        return
    assert outcome(check_path, file) == file
    argument = model_argument(file)
    assert re.fullmatch(r"--model=/mnt/models/[A-Za-z0-9._+/-]+", argument)
    assert not {"", ".", ".."} & set(file.split("/"))
    made = render(serving_input(model_file=file)).inference_service["spec"]["predictor"]["model"]["args"]
    assert made[0] == argument
