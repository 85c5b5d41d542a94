"""dask distributed: a scheduler, two workers in processes of their own and a client, each on the loop under test."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from .programs import BEGIN, MODULE, Program, program

pytest.importorskip("distributed", reason="distributed is not installed: install it to run these programs")

import distributed

Run = Callable[[Awaitable[Any]], Any]

# Workers without a nanny: a nanny would start further processes, which know nothing of the loop.
SCHEDULER = """
import distributed

async def main():
    async with distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False, jupyter=False) as scheduler:
        print("serves at", scheduler.address, flush=True)
        await scheduler.finished()

loop = new_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.close()
print("closed in order", flush=True)
"""
WORKER = """
import sys
import distributed

async def main():
    async with distributed.Worker(sys.argv[1], nthreads=2, dashboard=False, memory_limit=0) as worker:
        print("serves at", worker.address, flush=True)
        await worker.finished()

loop = new_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.close()
print("closed in order", flush=True)
"""


@pytest.fixture
def cluster(loop_name: str, tmp_path: pathlib.Path) -> Iterator[tuple[str, list[Program]]]:
    """The address of a scheduler that two workers have joined, and the three programs."""
    settings = {
        "DASK_TEMPORARY_DIRECTORY": str(tmp_path),
        "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
        "DASK_CONFIG": str(tmp_path),
        "PYTHONPATH": str(pathlib.Path(__file__).parents[1]),  # The functions of this module are imported by name.
    }
    begin = BEGIN[loop_name]
    with contextlib.ExitStack() as running:
        scheduler = running.enter_context(program(["-c", begin + SCHEDULER], tmp_path, **settings))
        address = scheduler.wait_for(r"serves at (tcp://\S+)")[1]
        workers = [
            running.enter_context(program(["-c", begin + WORKER, address], tmp_path, **settings)) for _ in range(2)
        ]
        for worker in workers:
            worker.wait_for("serves at")
        yield address, [scheduler, *workers]


def _square(number: int) -> int:
    return number * number


async def _loop_of_this_process() -> str:
    return type(asyncio.get_running_loop()).__module__


def _ping_pong(number: int) -> int:
    """A task that asks for others and waits for them: worker and scheduler talk to each other meanwhile."""
    with distributed.worker_client(separate_thread=True) as client:
        return sum(client.gather(client.map(_square, range(number), pure=False)))


def test_work_is_spread_over_two_workers(run: Run, loop_name: str, cluster: tuple[str, list[Program]]) -> None:
    address, programs = cluster

    async def main() -> None:
        async with distributed.Client(address, asynchronous=True, direct_to_workers=False) as client:
            await client.wait_for_workers(2, timeout=30)
            where = await client.run(_loop_of_this_process)
            assert list(where.values()) == [MODULE[loop_name]] * 2
            assert await client.run_on_scheduler(_loop_of_this_process) == MODULE[loop_name]

            futures = client.map(_square, range(300), pure=False)
            assert sum(await client.gather(futures)) == sum(n * n for n in range(300))
            assert len(set().union(*(await client.who_has(futures)).values())) == 2

            assert await client.submit(_ping_pong, 20) == sum(n * n for n in range(20))

            body = bytes(range(256)) * 20_000  # 5 MB, there and back
            (sent,) = await client.scatter([body], broadcast=True)
            assert await client.submit(bytes.__add__, sent, b"!") == body + b"!"

            failing = client.submit(_square, "text")
            with pytest.raises(TypeError):
                await failing
            await client.shutdown()

    run(main())
    for ended in programs:
        ended.wait_for("closed in order")
        assert ended.process.wait(30) == 0


def test_a_worker_that_dies_is_replaced_by_the_other(run: Run, cluster: tuple[str, list[Program]]) -> None:
    address, (_scheduler, first, _second) = cluster

    async def main() -> None:
        async with distributed.Client(address, asynchronous=True) as client:
            await client.wait_for_workers(2, timeout=30)
            futures = client.map(_square, range(40), pure=False)
            await distributed.wait(futures)
            first.process.send_signal(signal.SIGKILL)
            # What was on it is computed again.
            assert await client.gather(futures) == [n * n for n in range(40)]
            assert await client.submit(_square, 9, pure=False) == 81

    run(main())
