"""The schemas of the kinds, the tables and the settings are the recorded ones: a change of a format is no accident."""

from __future__ import annotations

import json

import pytest

from wireformats import RECORD, formats


@pytest.mark.parametrize("group", ["kinds", "tables", "settings"])
def test_the_formats_are_the_recorded_ones(group: str) -> None:
    """After an intended change: `PYTHONPATH=tests .venv/bin/python tests/wireformats.py`, and note the change."""
    recorded, current = json.loads(RECORD.read_text())[group], formats()[group]
    assert recorded.keys() == current.keys()
    assert {name: part for name, part in current.items() if part != recorded[name]} == {}


def test_the_record_has_each_field_and_no_words_for_people() -> None:
    kinds = json.loads(RECORD.read_text())["kinds"]
    assert kinds["ModelVersion.v1alpha1.spec.artifact.uri"]["type"] == "string"
    assert kinds["ModelVersion.v1alpha1.status.gates[].found"]["type"] == "string"
    assert kinds["ModelVersion.v1alpha1.spec.lineage.hyperparameters{}"]["type"] == "string"
    assert kinds["ModelVersion v1alpha1"]["subresources"] == {"status": {}}
    assert [name for name, part in kinds.items() if "description" in part] == []
