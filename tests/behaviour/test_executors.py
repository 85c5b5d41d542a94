"""Work handed to other threads, and how the default executor ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from typing import Any

import pytest

from .support import Loop, run, turns


def test_the_default_executor_runs_jobs_in_other_threads(loop: Loop) -> None:
    async def main() -> None:
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        assert await loop.run_in_executor(None, divmod, 7, 2) == (3, 1)
        await loop.shutdown_default_executor()

    run(loop, main())


def test_a_given_executor_is_used(loop: Loop) -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="given") as executor:

        async def main() -> None:
            name = await loop.run_in_executor(executor, lambda: threading.current_thread().name)
            assert name.startswith("given")

        run(loop, main())


def test_the_default_executor_can_be_set(loop: Loop) -> None:
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="set")
    loop.set_default_executor(executor)

    async def main() -> None:
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("set")
        await loop.shutdown_default_executor()

    run(loop, main())
    with pytest.raises(RuntimeError):
        executor.submit(print)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython 3.10 only warns of other executors")
def test_only_thread_pools_can_be_the_default(loop: Loop) -> None:
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        loop.set_default_executor(object())  # type: ignore[arg-type]


def test_an_exception_of_the_job_reaches_the_awaiting_coroutine(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        await loop.shutdown_default_executor()

    run(loop, main())


def test_many_jobs_all_come_back(loop: Loop) -> None:
    async def main() -> None:
        results = await asyncio.gather(*(loop.run_in_executor(None, pow, 2, power) for power in range(300)))
        assert results == [2**power for power in range(300)]
        await loop.shutdown_default_executor()

    run(loop, main())


def test_after_the_shutdown_no_job_is_taken(loop: Loop) -> None:
    async def main() -> None:
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)

    run(loop, main())


def test_the_shutdown_waits_for_running_jobs(loop: Loop) -> None:
    release, finished = threading.Event(), threading.Event()

    def job() -> None:
        release.wait(20)
        finished.set()

    async def main() -> None:
        future = loop.run_in_executor(None, job)
        shutdown = asyncio.ensure_future(loop.shutdown_default_executor())
        await turns(5)
        assert not shutdown.done()
        release.set()
        await shutdown
        assert finished.is_set()
        await future

    run(loop, main())


def test_the_shutdown_of_an_unused_executor_is_immediate(loop: Loop) -> None:
    run(loop, loop.shutdown_default_executor())
    run(loop, loop.shutdown_default_executor())


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="new in CPython 3.12, whose early releases join the threads anyway"
)
def test_the_shutdown_gives_up_after_its_timeout(loop: Loop) -> None:
    release = threading.Event()

    async def main() -> None:
        future = loop.run_in_executor(None, release.wait, 20)
        with pytest.warns(RuntimeWarning, match="joining its threads"):
            await loop.shutdown_default_executor(timeout=0.01)  # type: ignore[call-arg]
        release.set()
        await future

    run(loop, main())


def test_the_shutdown_does_not_block_the_loop(loop: Loop) -> None:
    release = threading.Event()
    seen: list[str] = []

    async def main() -> None:
        future = loop.run_in_executor(None, release.wait, 20)
        loop.call_later(0.001, seen.append, "timer")
        loop.call_later(0.002, release.set)
        await loop.shutdown_default_executor()
        await future

    run(loop, main())
    assert seen == ["timer"]


def test_a_cancelled_job_does_not_disturb_the_loop(loop: Loop) -> None:
    release = threading.Event()

    async def main() -> None:
        future: asyncio.Future[Any] = loop.run_in_executor(None, release.wait, 20)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()
        await loop.shutdown_default_executor()

    run(loop, main())


def test_coroutines_can_be_submitted_from_other_threads(loop: Loop) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    def job() -> int:
        return asyncio.run_coroutine_threadsafe(double(21), loop).result(20)

    async def main() -> None:
        assert await loop.run_in_executor(None, job) == 42
        await loop.shutdown_default_executor()

    run(loop, main())
