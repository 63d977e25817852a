"""A folder goes to a store that lacks what others have, in as few requests as to one that has it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from cluster.faultstore import BUCKET, running
from dialects import UploadStore, error
from gatehouse.cli.main import app
from modelfiles import config_json, safetensors_file

ROWS = 35_000_000
"""Of BF16, in one tensor: a file of 70 MB, which goes in parts."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model")
    (made / "config.json").write_bytes(config_json())
    (made / "model.safetensors").write_bytes(safetensors_file({"lm_head.weight": ("BF16", [ROWS])}))
    return made


@contextmanager
def served(store: UploadStore) -> Iterator[UploadStore]:
    """The store, by a thread of its own, as the command has a loop of its own."""
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with running(store):
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.Runner(loop_factory=lambda: loop).run(serve()))
    thread.start()
    try:
        assert up.wait(10)
        yield store
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def r2(request: web.Request) -> web.Response | None:
    """Cloudflare's words for it."""
    if "uploads" in request.query and "x-amz-checksum-algorithm" in request.headers:
        return error(501, "NotImplemented", "Header 'x-amz-checksum-algorithm' with value 'SHA256' not implemented")
    return None


def without_any(request: web.Request) -> web.Response | None:
    """A store that knows no header of checksums, neither of a question nor of a body, and no copies."""
    named = any(name.lower().startswith("x-amz-checksum-") for name in request.headers)
    return error(501, "NotImplemented") if named or "x-amz-copy-source" in request.headers else None


def nothing(_request: web.Request) -> web.Response | None:
    return None


@pytest.mark.parametrize("refuses", [nothing, r2, without_any])
def test_a_large_file_is_sent_whatever_the_store_lacks(
    refuses: object, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    with served(UploadStore(refuses=refuses)) as store:  # type: ignore[arg-type]  # one of the three above
        said = CliRunner().invoke(
            app,
            ["upload", str(folder), f"s3://{BUCKET}/m/", "--endpoint", store.url, "--no-ask"],
        )
    assert said.exit_code == 0, said.output
    assert {"m/config.json", "m/model.safetensors", "m/gatehouse.manifest"} <= set(store.objects)
    assert store.objects["m/model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert store.asked.count("begin") <= 2
    assert store.asked.count("part") == 3
