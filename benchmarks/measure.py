"""How a piece of work is timed: processor and wall time per operation, and resident memory."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.model import LoopFactory, Sample, Workload

ROUNDS = 5
_CLOCK_SLACK = 1e-8  # seconds: floating-point noise of adding a delay to a clock reading


def time_rounds(workload: Workload, factory: LoopFactory, rounds: int = ROUNDS) -> Sample:
    """Runs `workload` once to warm up, then `rounds` times; gives the median cost per operation.

    Processor time is that of the whole process, so that work moved to another thread is paid for.
    """
    loop = factory()
    try:
        workload(loop)
        processor, wall = [], []
        for _ in range(rounds):
            gc.collect()
            cpu_start, wall_start = time.process_time_ns(), time.perf_counter_ns()
            operations = workload(loop)
            processor.append((time.process_time_ns() - cpu_start) / operations)
            wall.append((time.perf_counter_ns() - wall_start) / operations)
    finally:
        loop.close()
    return Sample({"cpu": statistics.median(processor), "wall": statistics.median(wall)})


def throughput(workload: Workload, rounds: int = ROUNDS) -> Callable[[LoopFactory], Sample]:
    """Turns a workload into the `measure` function of a case."""
    return lambda factory: time_rounds(workload, factory, rounds)


def resident_bytes() -> int:
    """Resident memory of this process after a collection."""
    gc.collect()
    if sys.platform == "linux":
        # Counts pages one by one; /proc/self/statm reads counters that the kernel keeps per
        # processor and sums up lazily, which are off by some hundred kilobytes.
        with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
            line = next(line for line in rollup if line.startswith("Rss:"))
        return int(line.split()[1]) * 1024
    import psutil

    return int(psutil.Process().memory_info().rss)


def resident_bytes_before() -> int:
    """The same as a starting point: free memory goes back to the system first.

    Otherwise what is measured next would find room in what start-up left behind, and look free.
    """
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
            ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


def thread_count() -> int:
    """Threads of this process, those that Python does not know included."""
    if sys.platform == "linux":
        return len(os.listdir("/proc/self/task"))
    import psutil

    return int(psutil.Process().num_threads())


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def early_faults(lateness: Sequence[float]) -> list[str]:
    """Says by how much timers fired early; `lateness` in seconds."""
    worst = min(lateness)
    if worst >= -_CLOCK_SLACK:
        return []
    count = sum(1 for value in lateness if value < -_CLOCK_SLACK)
    return [f"{count} of {len(lateness)} timers early, by up to {-worst * 1e3:.3f} ms"]


def run_coroutine(factory: LoopFactory, main: Callable[[], object]) -> None:
    """Runs one coroutine function on a fresh loop and closes it."""
    loop = factory()
    try:
        coroutine = main()
        assert asyncio.iscoroutine(coroutine)
        loop.run_until_complete(coroutine)
    finally:
        loop.close()
