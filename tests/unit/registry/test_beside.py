"""The overlay embedded: operator and server are two processes over one SQLite file, and both write."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from entriescontract import MODELS, a_new, names
from registrycontract import a_version, open_file

MANY = 60
OTHER = f"""
import asyncio, sys
from pathlib import Path
from gatehouse.registry.pool import DatabasePool
from entriescontract import a_new
from registrycontract import a_registry

async def main() -> None:
    databases = DatabasePool(data_dir=Path(sys.argv[1]))
    rows = await databases.open(a_registry(), password=None, ca_pem=None)
    print("open", flush=True)
    for number in range({MANY}):
        await rows.entries.create(a_new(name=f"theirs {{number}}"), actor="bob")
    print((await rows.counts()).versions, flush=True)
    await databases.aclose()

asyncio.run(main())
"""


async def test_two_processes_write_to_one_file_and_neither_loses_a_row(tmp_path: Path) -> None:
    opened = await open_file(tmp_path)
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OTHER,
        str(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"open\n"
    for number in range(MANY):
        await opened.rows.entries.create(a_new(name=f"ours {number}"), actor="alice")
        if number < 10:
            await opened.rows.save_version(a_version(number), files=None, change=None)
    said, failed = await other.communicate()
    assert (other.returncode, failed.decode()) == (0, "")
    expected = {f"{whose} {number}" for whose in ("ours", "theirs") for number in range(MANY)}
    assert {name for name in await names(opened, MODELS) if " " in name} == expected
    assert (await opened.rows.counts()).versions == 10
    await opened.databases.aclose()
    assert said.strip().isdigit()
