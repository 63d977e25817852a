"""``gatehouse upload`` through outages, lost answers and kill -9: what is sent again, and what is not."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

from aiohttp import web

from cluster.buckets import Bucket
from cluster.countingproxy import cut, hold, refuse, running
from cluster.upload.uploads import LARGE, PARTS, Sender, command, environment, keys, pass_on, run, unfinished, verified
from gatehouse.domain.artifact.layout import MANIFEST
from gatehouse.storage.parts import PART_BYTES


async def kill_when(reached: asyncio.Event, folder: Path, bucket: Bucket, url: str, *options: str) -> None:
    """Runs the command until the event is set, and then kills it by signal 9."""
    process = await asyncio.create_subprocess_exec(
        *command(folder, bucket, url, *options),
        env=environment(bucket),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    await asyncio.wait_for(reached.wait(), 60)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


async def test_after_kill_9_only_what_is_missing_is_sent(bucket: Bucket, folder: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:
        reached = asyncio.Event()
        proxy.fail("part", pass_on, pass_on, hold(reached))
        await kill_when(reached, folder, bucket, proxy.url, "--parallel=1")
        assert proxy.parts == [1, 2, 3]
        assert unfinished(bucket, f"m/{LARGE}") == 1
        assert (await verified(bucket)).record.outcome in {"Missing", "Invalid"}
        proxy.reset()

        code, out, err = await run(folder, bucket, proxy.url, "-o", "json")

    assert code == 0, err
    assert sorted(proxy.parts) == [3, 4]
    size = (folder / LARGE).stat().st_size
    assert proxy.body_bytes["part"] == size - 2 * PART_BYTES
    assert proxy.requests["begin"] == 0
    report = json.loads(out)
    assert report["keptBytes"] == 2 * PART_BYTES
    assert report["digest"] == (await verified(bucket)).record.digest
    assert unfinished(bucket, f"m/{LARGE}") == 0


async def test_after_kill_9_between_files_the_finished_ones_are_not_sent_again(bucket: Bucket, small: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:
        reached = asyncio.Event()
        proxy.fail("put", pass_on, hold(reached))
        await kill_when(reached, small, bucket, proxy.url)
        # config.json is the last of the model's files: until it is there, nobody takes the rest for a model.
        assert proxy.keys[-2:] == [("put", "m/model.safetensors"), ("put", "m/config.json")]
        assert keys(bucket) == ["m/model.safetensors"]
        proxy.reset()

        code, _, err = await run(small, bucket, proxy.url)

        assert code == 0, err
        assert [key for operation, key in proxy.keys if operation == "put"] == ["m/config.json", f"m/{MANIFEST}"]


async def test_outages_on_the_way_are_gone_over(bucket: Bucket, folder: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:
        proxy.fail("put", refuse(503, "SlowDown", retry_after="0"), cut)
        proxy.fail("part", cut, refuse(500, "InternalError"), pass_on, cut)
        proxy.fail("begin", refuse(503, "SlowDown"))
        proxy.fail("complete", refuse(200, "InternalError"))
        sender = Sender(folder, bucket, url=proxy.url)

        result = await sender.send()

        assert proxy.requests["part"] == PARTS + 3
        assert proxy.requests["complete"] == 2
    assert sender.artifact is not None
    assert result.sent_bytes == sender.artifact.total_bytes
    assert (await verified(bucket)).record.digest == sender.artifact.digest


async def test_a_lost_answer_to_the_completion_is_no_failure(bucket: Bucket, folder: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:

        async def complete_but_lose_the_answer(request: web.Request) -> web.StreamResponse:
            await proxy.pass_on(request, "complete")
            return await cut(request)

        proxy.fail("complete", complete_but_lose_the_answer)
        sender = Sender(folder, bucket, url=proxy.url)
        await sender.send()
        assert proxy.requests["part"] == PARTS
    assert sender.artifact is not None
    assert (await verified(bucket)).record.digest == sender.artifact.digest


async def test_so_many_parts_go_at_once_and_no_more(minio_bucket: Bucket, folder: Path) -> None:
    async with running(minio_bucket.endpoint.url) as proxy:
        both = asyncio.Barrier(2)

        async def meet(_request: object) -> None:
            await asyncio.wait_for(both.wait(), 30)

        # Neither of the first two is passed on before the other is there.
        proxy.fail("part", meet, meet)
        await Sender(folder, minio_bucket, url=proxy.url, parallel=2).send()

        assert proxy.requests["part"] == PARTS
        assert proxy.most_bodies_at_once == 2


async def test_after_kill_9_before_the_checksum_only_that_is_computed(minio_bucket: Bucket, folder: Path) -> None:
    async with running(minio_bucket.endpoint.url) as proxy:
        reached = asyncio.Event()
        proxy.fail("copy", hold(reached))
        await kill_when(reached, folder, minio_bucket, proxy.url)
        proxy.reset()

        result = await Sender(folder, minio_bucket, url=proxy.url).send()

        assert (proxy.requests["part"], proxy.requests["begin"], proxy.requests["copy"]) == (0, 0, 1)
        assert LARGE not in result.sent
        assert result.unsummed == ()
    assert (await verified(minio_bucket, content=False)).record.outcome == "Verified"
