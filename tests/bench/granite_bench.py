from __future__ import annotations
from bench.figures import Result
from gatehouse.local.progress import Progress

__all__ = ["bench_granite"]


async def bench_granite(*, whole: bool, progress: Progress) -> list[Result]:
    return []
