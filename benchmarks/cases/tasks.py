"""Cases of coroutines: yielding, gathering many tasks, and a timeout that never fires."""

from __future__ import annotations

import asyncio

from benchmarks.measure import throughput
from benchmarks.model import Case, Target, Workload, WrongResult, processor_time

YIELDS = 50_000
TASKS = 10_000
TIMEOUTS = 20_000
# A server does other work between its requests: now and then the loop gets a turn.
TIMEOUTS_PER_TURN = 100


def sleep_zero(loop: asyncio.AbstractEventLoop) -> int:
    """One task that does nothing but yield to the loop."""

    async def main() -> int:
        sleep = asyncio.sleep
        for _ in range(YIELDS):
            await sleep(0)
        return YIELDS

    return loop.run_until_complete(main())


def gather(loop: asyncio.AbstractEventLoop) -> int:
    """Many tasks at once, each of which yields once."""

    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*[child(number) for number in range(TASKS)])

    if loop.run_until_complete(main()) != list(range(TASKS)):
        raise WrongResult("results of gather out of order")
    return TASKS


def timeout(loop: asyncio.AbstractEventLoop) -> int:
    """`asyncio.timeout` around an await that is over at once, as around most reads of a server."""

    async def immediate() -> int:
        return 1

    async def main() -> int:
        done = 0
        for turn in range(TIMEOUTS):
            async with asyncio.timeout(60):
                done += await immediate()
            if turn % TIMEOUTS_PER_TURN == 0:
                await asyncio.sleep(0)
        return done

    return loop.run_until_complete(main())


def _case(name: str, title: str, workload: Workload) -> Case:
    return Case(name, title, (processor_time(Target(peer=1)),), throughput(workload), workload=workload)


CASES = (
    _case("sleep0", f"await asyncio.sleep(0), {YIELDS:,} times", sleep_zero),
    _case("gather", f"gather of {TASKS:,} tasks that yield once", gather),
    # `asyncio.timeout` came with Python 3.11.
    *([_case("timeout", "asyncio.timeout around an immediate await", timeout)] if hasattr(asyncio, "timeout") else []),
)
