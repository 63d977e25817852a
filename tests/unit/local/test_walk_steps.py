"""A step of the walk ends with all that it started, however it ends."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cluster.rig import until
from gatehouse_local.walk import Step, StepFailed, run_step

ENDS = {
    "in time": ("", "begun", False),
    "with an error": ("; exit 3", "begun", True),
    "unexpectedly": ("; exit 3", "begun", False),
    "without what it must show": ("", "never", False),
    "too late": ("; wait", "begun", False),
    "too late, in the foreground": ("; sleep 999", "begun", False),
}


@pytest.mark.parametrize(("end", "shows", "fails"), ENDS.values(), ids=ENDS)
def test_nothing_that_a_step_started_outlives_it(tmp_path: Path, end: str, shows: str, fails: bool) -> None:
    """The child holds no pipe of the step, so the step does not wait for it."""
    script = f"sleep 987 >/dev/null 2>&1 & echo begun $!{end}"
    step = Step(title="", script=script, shows=shows, fails=fails)
    try:
        said = run_step(step, folder=tmp_path, env=dict(os.environ), seconds=1)
    except StepFailed as failed:
        said = str(failed)
    child = re.search(r"^begun (\d+)$", said, re.MULTILINE)

    assert child is not None, said
    until(lambda: not lives(int(child[1])), what="the child runs on")
    assert ("not done after 1 s" in said) == ("wait" in end or "sleep" in end)


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait to be reaped by who adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}
