"""Checks in the background: patience, progress, cancellation, the bound on what runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fakestore import FakeStore, failing
from gatehouse.controllers.verification.scheduler import CheckInterrupted, VerificationPool
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult
from gatehouse.domain.artifact.values import CheckProgress, Listing, StoredObject
from gatehouse.domain.common.errors import Transient
from gatehouse.domain.version.records import FileRecord
from modelfiles import config_json, safetensors_file

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class FixedClock:
    def now(self) -> datetime:
        return NOW


@dataclass(eq=False)
class GatedStore(FakeStore):
    """Reads of ``tokenizer.json`` wait until the gate opens; ``reached`` tells that one waits."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    async def sha256(self, prefix: str, stored: StoredObject, *, progress: Any, opened: Any = None) -> str:
        self.reached.set()
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        return await super().sha256(prefix, stored, progress=progress, opened=opened)


class Patience:
    """Waits that end when the test says so, or with their task."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, asyncio.Event]] = []
        self.changed = asyncio.Event()

    async def __call__(self, task: asyncio.Task[Any], seconds: float) -> None:
        over = asyncio.Event()
        self.waiting.append((seconds, over))
        self.changed.set()
        expired = asyncio.create_task(over.wait())
        try:
            await asyncio.wait({task, expired}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            expired.cancel()

    async def expire(self, seconds: float) -> None:
        """Let the next wait of that many seconds end, once there is one."""
        while not any(waited == seconds for waited, _ in self.waiting):
            self.changed.clear()
            await self.changed.wait()
        position = next(number for number, (waited, _) in enumerate(self.waiting) if waited == seconds)
        self.waiting.pop(position)[1].set()


def store(*, name: str = "m") -> GatedStore:
    return GatedStore(
        {
            f"{name}/config.json": config_json(),
            f"{name}/model.safetensors": safetensors_file({"a": ("U8", (4,))}),
            f"{name}/tokenizer.json": b"{}",
        }
    )


def request_for(gated: FakeStore, *, prefix: str = "m/") -> CheckRequest:
    return CheckRequest(store=gated, prefix=prefix, artifact_format="safetensors")


class Rig:
    def __init__(self, slots: CheckSlots | None = None) -> None:
        self.patience = Patience()
        self.told: list[str] = []
        self.heard = asyncio.Event()
        self.pool: VerificationPool[str] = VerificationPool(
            clock=FixedClock(), on_progress=self._tell, slots=slots, wait=self.patience
        )

    def _tell(self, key: str) -> None:
        self.told.append(key)
        self.heard.set()

    async def until_told(self, times: int) -> None:
        while len(self.told) < times:
            self.heard.clear()
            await self.heard.wait()

    async def outlast(self, key: str, request: CheckRequest) -> CheckProgress:
        """Call, and lose patience once the check waits at the gate."""
        calling = asyncio.create_task(self.pool.check(key, request, patience=2.0))
        gated = request.store
        assert isinstance(gated, GatedStore)
        await gated.reached.wait()
        await self.patience.expire(2.0)
        progress = await calling
        assert isinstance(progress, CheckProgress)
        return progress


async def test_a_fast_check_answers_at_once_and_tells_nobody() -> None:
    rig = Rig()
    gated = store()
    gated.gate.set()
    result = await rig.pool.check("k", request_for(gated), patience=2.0)
    assert isinstance(result, CheckResult)
    assert (result.record.outcome, rig.told, rig.pool.progress("k")) == ("Verified", [], None)
    await rig.pool.aclose()


async def test_a_slow_check_shows_progress_and_tells_when_it_ends() -> None:
    rig = Rig()
    gated = store()
    progress = await rig.outlast("k", request_for(gated))
    assert (progress.files_done, progress.files) == (2, 3)
    assert rig.pool.progress("k") == progress
    gated.gate.set()
    await rig.until_told(1)
    result = await rig.pool.check("k", request_for(gated), patience=2.0)
    assert isinstance(result, CheckResult)
    assert (gated.requests["list"], rig.told) == (1, ["k"])
    await rig.pool.aclose()


async def test_progress_is_told_only_when_there_is_some() -> None:
    rig = Rig()
    gated = store()
    await rig.outlast("k", request_for(gated))
    await rig.patience.expire(5.0)
    await rig.patience.expire(5.0)
    assert rig.told == []
    gated.gate.set()
    await rig.until_told(1)
    assert rig.told == ["k"]
    await rig.pool.aclose()


@pytest.mark.parametrize(
    "failure", [Transient(reason="DatabaseUnavailable", message="down"), TypeError("nobody foresaw this")]
)
async def test_files_are_saved_while_it_goes_on_and_saved_again_after_a_failure(failure: Exception) -> None:
    rig = Rig()
    gated = store()
    attempts: list[tuple[str, ...]] = []
    saved = asyncio.Event()

    async def save(files: Sequence[FileRecord]) -> None:
        attempts.append(tuple(sorted(file.path for file in files)))
        if len(attempts) == 1:
            raise failure
        saved.set()

    await rig.outlast("k", replace(request_for(gated), save=save))
    await rig.patience.expire(5.0)
    await rig.patience.expire(5.0)
    await saved.wait()
    assert attempts == [("config.json", "model.safetensors")] * 2
    await rig.pool.aclose()


async def test_a_failed_check_raises_at_the_next_call_and_starts_anew_after_it() -> None:
    rig = Rig()
    gated = store()
    await rig.outlast("k", request_for(gated))
    gated.objects.pop("m/tokenizer.json")
    outage = Transient(reason="StoreUnavailable", message="down")

    async def no_list(_prefix: str, *, limit: int, readable: bool = False) -> Listing | None:
        raise outage

    gated.list = no_list  # type: ignore[method-assign]  # the store goes down
    gated.gate.set()
    await rig.until_told(1)
    with pytest.raises(Transient) as raised:
        await rig.pool.check("k", request_for(gated), patience=2.0)
    assert raised.value is outage
    del gated.list  # type: ignore[attr-defined]  # the store is back
    result = await rig.pool.check("k", request_for(gated), patience=2.0)
    assert isinstance(result, CheckResult)
    await rig.pool.aclose()


@pytest.mark.parametrize("changed", [True, False])
async def test_a_check_that_fails_after_another_listing_is_no_outage(changed: bool) -> None:
    rig = Rig()
    gated = store()
    gated.gate.set()
    first = await rig.pool.check("k", request_for(gated), patience=2.0)
    assert isinstance(first, CheckResult)
    if changed:
        gated.objects["m/tokenizer.json"] = b'{"other": 1}'
    error = Transient(reason="StoreUnavailable", message="no")
    gated.before = failing("read", error)
    request = replace(request_for(gated), previous=first.record, distrusted=frozenset({"Bytes"}))
    if changed:
        assert await rig.pool.check("k", request, patience=2.0) == CheckInterrupted(error)
    else:
        with pytest.raises(Transient):
            await rig.pool.check("k", request, patience=2.0)
    await rig.pool.aclose()


async def test_another_request_for_the_key_replaces_the_check() -> None:
    rig = Rig()
    first, second = store(), store()
    second.gate.set()
    await rig.outlast("k", request_for(first))
    result = await rig.pool.check("k", request_for(second), patience=2.0)
    assert isinstance(result, CheckResult)
    assert (first.ended, first.gate.is_set()) == (1, False)
    await rig.pool.aclose()


async def test_cancel_ends_the_check_and_a_caller_that_waits_for_it_hears() -> None:
    rig = Rig()
    gated = store()
    calling = asyncio.create_task(rig.pool.check("k", request_for(gated), patience=2.0))
    await gated.reached.wait()
    await rig.pool.cancel("k")
    with pytest.raises(Transient) as raised:
        await calling
    assert (raised.value.reason, gated.ended, rig.pool.progress("k")) == ("CheckStopped", 1, None)
    await rig.pool.cancel("unknown")
    await rig.pool.aclose()


async def test_a_cancelled_caller_leaves_the_check_running() -> None:
    rig = Rig()
    gated = store()
    calling = asyncio.create_task(rig.pool.check("k", request_for(gated), patience=2.0))
    await gated.reached.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    gated.gate.set()
    assert isinstance(await rig.pool.check("k", request_for(gated), patience=2.0), CheckResult)
    assert gated.requests["list"] == 1
    await rig.pool.aclose()


async def test_closing_ends_every_check() -> None:
    rig = Rig()
    stores = {name: store(name=name) for name in ("a", "b")}
    for name, gated in stores.items():
        await rig.outlast(name, request_for(gated, prefix=f"{name}/"))
    await rig.pool.aclose()
    assert [gated.ended for gated in stores.values()] == [1, 1]
    assert {task for task in asyncio.all_tasks() if "check of" in task.get_name()} == set()


async def test_no_more_checks_run_than_there_are_slots() -> None:
    rig = Rig(CheckSlots(checks=asyncio.Semaphore(1)))
    first, second = store(), store()
    await rig.outlast("a", request_for(first))
    queued = asyncio.create_task(rig.pool.check("b", request_for(second), patience=2.0))
    await rig.patience.expire(2.0)
    assert await queued == CheckProgress(files_done=0, files=0, bytes_done=0, bytes=0)
    assert second.requests["list"] == 0
    first.gate.set()
    second.gate.set()
    await rig.until_told(2)
    assert sorted(rig.told) == ["a", "b"]
    await rig.pool.aclose()


async def test_small_artifacts_do_not_wait_behind_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatehouse.controllers.verification.verifier.HEAVY_BYTES", 10)
    rig = Rig(CheckSlots(checks=asyncio.Semaphore(1), heavy=asyncio.Semaphore(1)))
    large, small = store(), store()
    large.objects["m/tokenizer.json"] = b"{}" * 100
    small.gate.set()
    await rig.outlast("large", request_for(large))
    assert isinstance(await rig.pool.check("small", request_for(small), patience=2.0), CheckResult)
    await rig.pool.aclose()


@pytest.mark.parametrize("heavy_bytes", [10, 10**12])
async def test_a_store_that_is_silent_keeps_no_other_one_waiting(
    heavy_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its artifacts are looked at, small ones and large ones."""
    monkeypatch.setattr("gatehouse.controllers.verification.verifier.HEAVY_BYTES", heavy_bytes)
    rig = Rig()
    silent, fine = store(), store()
    silent.objects["m/tokenizer.json"] = b"{}" * 100
    fine.gate.set()
    for number in range(100):
        task = asyncio.create_task(rig.pool.check(str(number), request_for(silent), patience=2.0))
        await asyncio.sleep(0)
        task.cancel()
    await silent.reached.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert isinstance(await rig.pool.check("fine", request_for(fine), patience=2.0), CheckResult)
    await rig.pool.aclose()
