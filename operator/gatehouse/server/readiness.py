"""Answers of the probes ``.../readyz/isDirty`` and ``.../readyz/health``, as the Kubeflow Model Registry gives them.

The paths count by their end, below any prefix. ``?format=json`` lists the checks; the names of the members are those of
the original, capital letters included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from starlette.responses import PlainTextResponse, Response

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.server.errors import Internal, request_error
from gatehouse.server.rendering import json_response

__all__ = ["ProbeResult", "ReadinessCheck", "ReadinessChecks", "probe_of"]

_LONGEST: Final = 5.0
_KEPT: Final = 1.0
"""Seconds for which a result answers further probes: a probe needs no credentials, and a check asks the database."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What a check saw. Whoever reaches the port reads the message, which names no host and no credentials."""

    passed: bool
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessCheck:
    """A named check. An error that ``run`` raises fails the check."""

    name: str
    run: Callable[[], Awaitable[ProbeResult]]


def probe_of(path: str) -> str | None:
    """``isDirty`` or ``health`` for the paths of probes."""
    head, _, word = path.rpartition("/")
    return word if head.endswith("/readyz") and word in {"isDirty", "health"} else None


class ReadinessChecks:
    """``dirty`` are the checks of ``isDirty``: the database. ``health`` has further ones: the registry's service."""

    def __init__(self, *, dirty: Sequence[ReadinessCheck], health: Sequence[ReadinessCheck]) -> None:
        self._checks: Mapping[str, Sequence[ReadinessCheck]] = {"isDirty": dirty, "health": health}
        self._kept: dict[str, tuple[float, dict[str, ProbeResult]]] = {}
        self._turn = asyncio.Lock()

    async def failed(self) -> str | None:
        """The message of the first check that failed, or None."""
        results = await self._results("health")
        return next((result.message for result in results.values() if not result.passed), None)

    async def answer(self, probe: str, *, method: str, query: bytes) -> Response:
        """The answer to a probe."""
        if method != "GET":
            return PlainTextResponse("method not allowed\n", status_code=405, headers={"Allow": "GET"})
        started = time.monotonic()
        results = await self._results(probe)
        failures = [result.message for result in results.values() if not result.passed]
        status = 503 if failures else 200
        if b"format=json" not in query.split(b"&"):
            return PlainTextResponse((failures[0] or "FAIL") if failures else "OK", status_code=status)
        took = int((time.monotonic() - started) * 1000)
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        meta = ProbeResult(passed=True, details={"check_duration_ms": took, "timestamp": now})
        checks = {name: _written(name, result) for name, result in {**results, "meta": meta}.items()}
        return json_response({"status": "fail" if failures else "pass", "checks": checks}, status=status)

    async def _results(self, probe: str) -> dict[str, ProbeResult]:
        async with self._turn:
            at, kept = self._kept.get(probe, (0.0, {}))
            if not kept or time.monotonic() - at > _KEPT:
                kept = {check.name: await _run(check) for check in self._checks[probe]}
                self._kept[probe] = (time.monotonic(), kept)
            return kept


async def _run(check: ReadinessCheck) -> ProbeResult:
    try:
        async with asyncio.timeout(_LONGEST):
            return await check.run()
    except TimeoutError:
        return ProbeResult(passed=False, message=f"{check.name} does not answer within {_LONGEST:g} s")
    except ReconcileError as error:
        return ProbeResult(passed=False, message=f"{check.name}: {error.reason}")
    except Exception as error:  # noqa: BLE001 - a probe answers whatever a check raises
        if isinstance(known := request_error(error), Internal):
            _log.error("check failed", check=check.name, exc_info=error)
        return ProbeResult(passed=False, message=f"{check.name}: {known.message}")


def _written(name: str, result: ProbeResult) -> dict[str, Any]:
    status = "pass" if result.passed else "fail"
    return {"Name": name, "Status": status, "Message": result.message, "Details": dict(result.details)}
