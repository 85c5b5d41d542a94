"""The case of a loop that has nothing to do yet: it should sleep until the first deadline."""

from __future__ import annotations

import asyncio
import resource
import time

from benchmarks.measure import run_coroutine, thread_count
from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult

PENDING = 10_000
# Seconds until the first deadline: long against any periodic tick that a loop might have.
QUIET = 0.6


def idle(factory: LoopFactory) -> Sample:
    """Counts how often the process gave up the processor between parking and the first deadline.

    A loop that sleeps through gives it up once. Switches of every thread count, since a helper
    thread that ticks drains the same battery.
    """
    values: dict[str, float] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = loop.create_future()

        def due() -> None:
            if not first.done():
                values["waits"] = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - waits
                values["cpu"] = (time.process_time() - cpu) * 1e6
                values["threads"] = thread_count()
                first.set_result(None)

        start = time.monotonic()
        handles = [loop.call_later(QUIET + number / 1000, due) for number in range(PENDING)]
        for _ in range(3):
            await asyncio.sleep(0)
        cpu = time.process_time()
        waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        await first
        if time.monotonic() - start < QUIET:
            raise WrongResult("the first timer fired early")
        for handle in handles:
            handle.cancel()

    run_coroutine(factory, main)
    return Sample(values)


CASES = (
    Case(
        "idle",
        f"{PENDING:,} pending timers, none due: waits until the first deadline",
        (
            Metric("waits", "waits", Target(at_most=1), relative=False),
            Metric("threads", "threads", Target(at_most=1), relative=False),
            Metric("cpu", "us"),
        ),
        idle,
    ),
)
