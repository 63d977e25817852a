from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.parsing.budget import ByteBudget

TOTAL = 100


@given(st.lists(st.tuples(st.integers(0, 150), st.booleans()), max_size=30), st.randoms())
def test_no_more_is_held_than_there_is_and_all_of_it_comes_back(asked: list[tuple[int, bool]], order: object) -> None:
    async def run() -> None:
        budget = ByteBudget(TOTAL)
        held = 0

        async def use(size: int) -> None:
            nonlocal held
            async with budget.hold(size):
                held += min(size, TOTAL)
                assert held <= TOTAL
                await asyncio.sleep(0)
                held -= min(size, TOTAL)

        tasks = [asyncio.create_task(use(size)) for size, _ in asked]
        await asyncio.sleep(0)
        for task, (_, cancelled) in zip(tasks, asked, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.free == TOTAL

    asyncio.run(run())


async def test_the_large_do_not_wait_for_ever() -> None:
    budget = ByteBudget(TOTAL)
    order: list[str] = []

    async def use(name: str, size: int) -> None:
        async with budget.hold(size):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name, size in (("small", 60), ("large", 100), ("late", 10)):
            group.create_task(use(name, size))
    assert order == ["small", "large", "late"]
