"""Checks of small artifacts in a store in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from fakestore import FakeStore
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import (
    CheckRequest,
    CheckResult,
    Verifier,
)
from modelfiles import config_json, safetensors_file, shard_index

__all__ = ["NOW", "WEIGHTS", "FixedClock", "check", "request_for", "rules", "sharded", "tiny", "verification"]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEIGHTS = safetensors_file({"a": ("BF16", (4, 4)), "b": ("F8_E4M3", (8,))})


class FixedClock:
    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


def tiny(**changes: bytes | None) -> FakeStore:
    """A whole model of three files; keyword ``path=None`` leaves a file out. Dots are written as they are."""
    files = {"config.json": config_json(), "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", **changes}
    return FakeStore({f"m/{path}": data for path, data in files.items() if data is not None})


def sharded(**changes: bytes | None) -> FakeStore:
    first, second = safetensors_file({"a": ("BF16", (4,))}), safetensors_file({"b": ("BF16", (4,))})
    files = {
        "config.json": config_json(),
        "model.safetensors.index.json": shard_index({"a": "one.safetensors", "b": "two.safetensors"}),
        "one.safetensors": first,
        "two.safetensors": second,
        "tokenizer.json": b"{}",
        **changes,
    }
    return FakeStore({f"m/{path}": data for path, data in files.items() if data is not None})


def request_for(store: FakeStore, **options: object) -> CheckRequest:
    base = CheckRequest(store=store, prefix="m/", artifact_format="safetensors")
    return replace(base, **options)  # type: ignore[arg-type]  # checked by the dataclass's own fields


def verification(request: CheckRequest, *, at: datetime = NOW) -> Verifier:
    return Verifier(request, clock=FixedClock(at), slots=CheckSlots())


async def check(store: FakeStore, **options: object) -> CheckResult:
    return await verification(request_for(store, **options)).run()


def rules(result: CheckResult) -> list[str]:
    return [problem.reason for problem in result.record.problems]
