"""Cases of other threads: throughput of `call_soon_threadsafe`, and waking a parked loop."""

from __future__ import annotations

import asyncio
import threading
import time

from benchmarks.measure import percentile, throughput
from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult, processor_time

CALLS = 50_000
WAKES = 300
# Long enough for every loop to run dry and block in its poll; the pause itself is not measured.
PAUSE = 0.002


def threadsafe(loop: asyncio.AbstractEventLoop) -> int:
    """Another thread schedules callbacks while the loop runs them, in the order they were sent."""
    expected = 0

    def receive(number: int) -> None:
        nonlocal expected
        if number != expected:
            raise WrongResult(f"call {number} arrived where {expected} was due")
        expected += 1
        if expected == CALLS:
            loop.stop()

    def send() -> None:
        for number in range(CALLS):
            loop.call_soon_threadsafe(receive, number)

    sender = threading.Thread(target=send)
    loop.call_soon(sender.start)
    loop.run_forever()
    sender.join()
    if expected != CALLS:
        raise WrongResult(f"{expected} of {CALLS} calls arrived")
    return CALLS


def wake(factory: LoopFactory) -> Sample:
    """How long a parked loop takes from another thread's call to its callback."""
    loop = factory()
    delays: list[int] = []

    def arrived(sent: int) -> None:
        delays.append(time.perf_counter_ns() - sent)

    def send() -> None:
        for _ in range(WAKES):
            time.sleep(PAUSE)
            loop.call_soon_threadsafe(arrived, time.perf_counter_ns())
        loop.call_soon_threadsafe(loop.stop)

    sender = threading.Thread(target=send)
    loop.call_soon(sender.start)
    loop.run_forever()
    sender.join()
    loop.close()
    if len(delays) != WAKES:
        raise WrongResult(f"{len(delays)} of {WAKES} wake-ups arrived")
    return Sample({"p50": percentile(delays, 0.5) / 1e3, "p99": percentile(delays, 0.99) / 1e3})


CASES = (
    Case(
        "threadsafe",
        f"call_soon_threadsafe from another thread, {CALLS:,} times",
        (processor_time(Target(stock=15)),),
        throughput(threadsafe, rounds=3),
        workload=threadsafe,
    ),
    Case(
        "wake",
        "wake of a parked loop by call_soon_threadsafe",
        (Metric("p50", "us", Target(uvloop=1), beside="p99"),),
        wake,
    ),
)
