"""A decision that was carried out is decided again with the same outcome: a restart writes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import worlds
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.status import version_status

FACTS: dict[str, dict[str, Any]] = {
    "ready": {},
    "declared digest": {"version": worlds.version(artifact={"uri": worlds.URI, "digest": worlds.DIGEST})},
    "changed": {"version": worlds.version(artifact={"uri": worlds.URI, "digest": worlds.OTHER_DIGEST})},
    "missing": {"artifact": worlds.record(outcome="Missing", digest=None, summary=None)},
    "too long": {"version": worlds.version(serving={"maxModelLen": 100_000_000})},
    "draft": {"version": worlds.version(state="Draft"), "artifact": None},
    "archived": {"model": worlds.model(state="Archived"), "artifact": None},
}


@pytest.mark.parametrize("name", FACTS)
def test_what_was_written_is_what_is_decided_again(name: str) -> None:
    before: Facts = worlds.facts(**FACTS[name])
    first = decide(before)
    status = version_status(before, first, registry_id=7, template=None, now=before.now)
    assert first.record is not None
    row = replace(first.record, id=7, model_id=3)
    version = before.version.model_copy(update={"status": status})
    after = replace(before, version=version, row=row, holder_exists=True, artifact=row.artifact)
    second = decide(after)
    assert second.record == row
    assert second.change is None
    assert version_status(after, second, registry_id=7, template=None, now=after.now).wire() == status.wire()
