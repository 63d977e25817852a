"""The examples of docs/rest.md, as they stand there, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from cluster.server.doors import Doors

PAGE = (Path(__file__).parents[3] / "docs/rest.md").read_text()
EXAMPLES = [block.strip() for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
"""The blocks of commands; those of JSON name their language."""
KEPT = {
    "registered_models?namespace=": "MODEL",
    "registered_models/$MODEL/versions": "VERSION",
}
"""A part of a call, and the variable for the id of the entry that the call makes."""


def test_every_example_of_the_page_works(doors: Doors, tmp_path: Path) -> None:
    world = doors.world
    world.upload("granite-3.1-fp8")
    status, experiment = doors.server.ask(
        "POST", "/api/model_registry/v1alpha3/experiments", {"name": "tuning"}, token=doors.submitter
    )
    assert status == 201
    status, run = doors.server.ask(
        "POST",
        "/api/model_registry/v1alpha3/experiment_runs",
        {"name": "1", "experimentId": experiment["id"]},
        token=doors.submitter,
    )
    assert status == 201
    variables = {"GATEHOUSE_URL": doors.url, "GATEHOUSE_TOKEN": doors.submitter, "RUN": run["id"]}
    calls = 0
    for block in EXAMPLES:
        if block.startswith("export"):
            variables |= exported(block, variables)
            continue
        for call in re.split(r"\n+(?=curl)", block):
            here = call.replace("team-a", world.namespace).replace("s3://models/", f"s3://{world.bucket}/")
            answer = shown(here, variables)
            assert "message" not in answer, (call, answer)
            calls += 1
            for part, variable in KEPT.items():
                if part in call:
                    variables[variable] = answer["id"]
    assert calls == sum(block.count("curl") for block in EXAMPLES) >= 8
    assert {"MODEL", "VERSION", "MODELS"} <= set(variables)
    archived = world.wait("granite-3.1-fp8-3.1-may-2025", lambda body: body["spec"]["state"] == "Archived")
    assert archived["spec"]["artifact"]["uri"] == world.uri("granite-3.1-fp8")


def exported(block: str, variables: dict[str, str]) -> dict[str, str]:
    """What the block sets beside what is set. Its own address and token are those of another cluster."""
    lines = [line for line in block.splitlines() if line.split("=")[0].removeprefix("export ") not in variables]
    done = bash("\n".join([*lines, "env -0"]), variables)
    return {
        name: value
        for name, _, value in (pair.partition("=") for pair in done.split("\0"))
        if f"export {name}=" in block
    }


def shown(call: str, variables: dict[str, str]) -> Any:
    """The JSON that a call prints."""
    return json.loads(bash(call, variables))


def bash(script: str, variables: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (script, done.stderr)
    return done.stdout
