"""Checks of the probes: whatever a check raises is an answer, and one that hangs is one too."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gatehouse.errors import Refused
from gatehouse.server import readiness
from gatehouse.server.errors import Unavailable
from gatehouse.server.readiness import ProbeResult, ReadinessCheck, ReadinessChecks, probe_of


@pytest.mark.parametrize(
    ("path", "probe"),
    [
        ("/readyz/isDirty", "isDirty"),
        ("/readyz/health", "health"),
        ("/api/model_registry/v1alpha3/readyz/health", "health"),
        ("/x/../readyz/isDirty", "isDirty"),
        ("/readyz", None),
        ("/readyz/health/", None),
        ("/readyz/Health", None),
        ("/notreadyz/health", None),
        ("readyz/health", None),
        ("/health", None),
        ("", None),
    ],
)
def test_paths_of_probes_count_by_their_end(path: str, probe: str | None) -> None:
    assert probe_of(path) == probe


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("there is no ModelRegistry a/b"), "database: there is no ModelRegistry a/b"),
        (Refused("does not read"), "database: does not read"),
        (RuntimeError("10.0.0.1 is odd"), "database: the server failed"),
    ],
)
async def test_every_error_fails_the_check(error: Exception, said: str, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> ProbeResult:
        raise error

    checks = [ReadinessCheck(name="database", run=fail)]
    with caplog.at_level(logging.ERROR):
        answer = await ReadinessChecks(dirty=checks, health=[]).answer("isDirty", method="GET", query=b"")
    assert answer.status_code == 503
    assert bytes(answer.body).decode().startswith(said)
    assert b"10.0.0.1" not in answer.body


async def test_a_check_that_hangs_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> ProbeResult:
        await asyncio.Event().wait()
        return ProbeResult(passed=True)

    monkeypatch.setattr(readiness, "_LONGEST", 0.05)
    checks = ReadinessChecks(dirty=[], health=[ReadinessCheck(name="database", run=hang)])
    assert await checks.failed() == "database does not answer within 0.05 s"


async def test_without_checks_the_answer_is_ok() -> None:
    answer = await ReadinessChecks(dirty=[], health=[]).answer("isDirty", method="GET", query=b"")
    assert (answer.status_code, answer.body) == (200, b"OK")
