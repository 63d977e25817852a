"""Several registries whose tables are migrated at once, each in the thread of its database."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import create_engine

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.registry.migrations import upgrade
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.schema import REVISIONS


async def test_databases_that_are_migrated_at_once_do_not_meet(tmp_path: Path) -> None:
    for number in range(16):
        engine = create_engine(f"sqlite:///{tmp_path}/team.registry-{number}.db")
        with engine.connect() as connection:
            upgrade(connection, REVISIONS[0])
            connection.commit()
        engine.dispose()
    databases = DatabasePool(data_dir=tmp_path)
    registries = [
        ModelRegistry.model_validate({"metadata": {"name": f"registry-{number}", "namespace": "team"}})
        for number in range(16)
    ]
    try:
        opened = await asyncio.gather(
            *(databases.open(registry, password=None, ca_pem=None) for registry in registries)
        )
        counts = [await rows.counts() for rows in opened]
    finally:
        await databases.aclose()
    assert {(each.models, each.versions) for each in counts} == {(0, 0)}
