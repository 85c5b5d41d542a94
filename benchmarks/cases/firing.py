"""Cases of timers that do fire: how soon all are done, what one costs, and how late one is."""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial

from benchmarks.measure import early_faults, percentile, run_coroutine
from benchmarks.model import (
    Case,
    LoopFactory,
    Metric,
    Sample,
    Target,
    WrongResult,
    processor_time,
)

DELAYS = tuple(number / 1000 for number in range(10))
MANY = 100_000
# Enough samples for a p99, in about a second per run.
LATENESS = {0.3: 500, 1.0: 400, 5.5: 150, 20.0: 100}


async def _fire(count: int) -> list[float]:
    """Arms `count` timers of 0 to 9 ms, waits for all, and returns how late each was in seconds."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    lateness: list[float] = []
    now = time.monotonic

    def fired(deadline: float) -> None:
        lateness.append(now() - deadline)
        if len(lateness) == count:
            done.set_result(None)

    for number in range(count):
        delay = DELAYS[number % len(DELAYS)]
        loop.call_later(delay, fired, now() + delay)
    await done
    return lateness


def fire_workload(loop: asyncio.AbstractEventLoop) -> int:
    """A thousand timers of 0 to 9 ms until all have fired."""
    return len(loop.run_until_complete(_fire(1000)))


def until_all_fired(count: int, rounds: int, factory: LoopFactory) -> Sample:
    """Wall time until all timers have fired, median of several rounds."""
    walls: list[float] = []
    cpus: list[float] = []
    lateness: list[float] = []

    async def main() -> None:
        await _fire(count)
        for _ in range(rounds):
            cpu, wall = time.process_time(), time.perf_counter()
            round_lateness = await _fire(count)
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.process_time() - cpu) * 1e3)
            lateness.extend(round_lateness)
            await asyncio.sleep(0)
            if len(round_lateness) != count:
                raise WrongResult(f"{len(round_lateness)} of {count} timers fired")

    run_coroutine(factory, main)
    values = {"wall": statistics.median(walls), "cpu": statistics.median(cpus)}
    return Sample(values, early_faults(lateness))


def per_fired_timer(factory: LoopFactory) -> Sample:
    """Processor time per timer from its `call_later` to its callback."""
    loop = factory()
    try:
        loop.run_until_complete(_fire(MANY // 10))
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        lateness = loop.run_until_complete(_fire(MANY))
        values = {
            "cpu": (time.process_time_ns() - cpu) / MANY,
            "wall": (time.perf_counter_ns() - wall) / MANY,
        }
    finally:
        loop.close()
    return Sample(values, early_faults(lateness))


def sleeping(milliseconds: float, factory: LoopFactory) -> Sample:
    """How late a coroutine resumes that does nothing but sleep."""
    lateness: list[float] = []
    delay = milliseconds / 1000

    async def main() -> None:
        await asyncio.sleep(delay)
        for _ in range(LATENESS[milliseconds]):
            start = time.monotonic()
            await asyncio.sleep(delay)
            lateness.append(time.monotonic() - start - delay)

    run_coroutine(factory, main)
    in_microseconds = [value * 1e6 for value in lateness]
    values = {
        "p50": percentile(in_microseconds, 0.5),
        "p99": percentile(in_microseconds, 0.99),
        "min": min(in_microseconds),
    }
    return Sample(values, early_faults(lateness))


def _fire_case(count: int) -> Case:
    return Case(
        f"fire.{count}",
        f"{count:,} timers of 0 to 9 ms until all have fired",
        (Metric("wall", "ms", Target(stock=1), beside="cpu"),),
        partial(until_all_fired, count, 10),
    )


def _lateness_case(milliseconds: float) -> Case:
    return Case(
        f"lateness.{milliseconds:g}ms",
        f"lateness of a coroutine that sleeps {milliseconds:g} ms",
        (
            Metric("p50", "us", Target(at_most=60)),
            Metric("p99", "us", Target(at_most=200)),
            Metric("min", "us", Target(at_least=0), higher_is_better=True, relative=False),
        ),
        partial(sleeping, milliseconds),
        quick=milliseconds != 20,
    )


CASES = (
    *(_fire_case(count) for count in (100, 1_000, 10_000)),
    Case(
        "fire.cpu",
        f"processor time per timer, {MANY:,} timers of 0 to 9 ms",
        (processor_time(Target(stock=5)),),
        per_fired_timer,
    ),
    *(_lateness_case(milliseconds) for milliseconds in LATENESS),
)
