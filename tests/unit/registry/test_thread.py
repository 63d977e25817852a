"""A database's thread: one call after the other, and an exit that does not wait for a silent server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from gatehouse.registry.thread import DatabaseThread
from gatehouse_local.net import LOOPBACK

LEAVES = """
import asyncio, sys
from pathlib import Path
from gatehouse.registry.pool import DatabasePool
from registrycontract import a_registry

async def main(folder, kind, port):
    databases = DatabasePool(data_dir=Path(folder))
    server = {"host": "127.0.0.1", "port": int(port), "database": "registry", "username": "gatehouse"}
    opening = asyncio.create_task(databases.open(a_registry(**{kind: server}), password="x", ca_pem=None))
    print("asked", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await databases.aclose(patience=0.1)
    opening.cancel()
    print("left", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
FAR_LESS = 15.0
"""Seconds, than a driver waits for a server that says nothing."""


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_a_process_ends_while_a_server_says_nothing(kind: str, tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = str(server.getsockname()[1])
        tests = str(Path(__file__).parents[2])
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{LEAVES}"]
        with subprocess.Popen(
            [*command, str(tmp_path), kind, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            connection, _ = server.accept()
            with connection:
                said, _ = process.communicate("\n", timeout=FAR_LESS)
            asked, *warned, left = said.splitlines()
            assert (asked, left) == ("asked", "left")
            assert "database left open: it does not answer" in "".join(warned)
            assert process.returncode == 0


def test_calls_run_in_their_order_and_one_at_a_time() -> None:
    thread = DatabaseThread(name="rows")
    begun, may_end = threading.Event(), threading.Event()

    def first() -> str:
        begun.set()
        assert may_end.wait(5)
        return threading.current_thread().name

    answers = [thread.submit(first), thread.submit(divmod, 7, 2)]
    assert begun.wait(5)
    dropped = thread.submit(divmod, 1, 0)
    assert dropped.cancel()
    failed = thread.submit(divmod, 1, 0)
    assert not answers[1].done()
    may_end.set()
    assert [each.result(5) for each in answers] == ["rows", (3, 1)]
    with pytest.raises(ZeroDivisionError):
        failed.result(5)
    with pytest.raises(CancelledError):
        dropped.result(5)
    thread.shutdown()
    thread._thread.join(5)
    assert not thread._thread.is_alive()
