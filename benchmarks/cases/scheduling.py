"""Cases of the ready queue: one callback after the other, and a long backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.measure import throughput
from benchmarks.model import Case, Target, Workload, WrongResult, processor_time

ITERATIONS = 100_000
BACKLOG = 50_000


def iteration(loop: asyncio.AbstractEventLoop) -> int:
    """A callback that schedules itself again: every callback is an iteration of its own."""
    left = ITERATIONS

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            loop.stop()

    loop.call_soon(again)
    loop.run_forever()
    if left:
        raise WrongResult(f"{left} callbacks missing")
    return ITERATIONS


def _schedule_0(loop: asyncio.AbstractEventLoop, callback: Callable[..., object]) -> None:
    for _ in range(BACKLOG):
        loop.call_soon(callback)


def _schedule_1(loop: asyncio.AbstractEventLoop, callback: Callable[..., object]) -> None:
    for _ in range(BACKLOG):
        loop.call_soon(callback, 1)


def _schedule_3(loop: asyncio.AbstractEventLoop, callback: Callable[..., object]) -> None:
    for _ in range(BACKLOG):
        loop.call_soon(callback, 1, 2, 3)


# Written out: `call_soon(callback, *arguments)` would make a bound method and a tuple per call, 180 ns on CPython 3.13,
# a third of what is to be measured.
_SCHEDULE = {0: _schedule_0, 1: _schedule_1, 3: _schedule_3}


def backlog(arguments: int) -> Workload:
    """Schedules many callbacks with so many arguments before the loop runs any of them."""
    schedule = _SCHEDULE[arguments]

    def workload(loop: asyncio.AbstractEventLoop) -> int:
        ran = 0

        def count(*_received: object) -> None:
            nonlocal ran
            ran += 1

        schedule(loop, count)
        loop.call_soon(loop.stop)
        loop.run_forever()
        if ran != BACKLOG:
            raise WrongResult(f"{ran} of {BACKLOG} callbacks ran")
        return BACKLOG

    return workload


def _backlog_case(count: int) -> Case:
    workload = backlog(count)
    return Case(
        f"backlog.{count}",
        f"schedule {BACKLOG:,} callbacks with {count} arguments, run them",
        (processor_time(Target(stock=5, peer=1)),),
        throughput(workload),
        workload=workload,
    )


CASES = (
    Case(
        "iteration",
        f"a callback that re-schedules itself, {ITERATIONS:,} times",
        (processor_time(Target(stock=12, peer=1.5)),),
        throughput(iteration),
        workload=iteration,
    ),
    *(_backlog_case(count) for count in (0, 1, 3)),
)
