"""Cases of pending timers: arming and cancelling, what cancelled timers leave behind, memory."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from benchmarks.measure import resident_bytes, resident_bytes_before, run_coroutine
from benchmarks.model import (
    Case,
    LoopFactory,
    Metric,
    Sample,
    Target,
    WrongResult,
    processor_time,
)

PAIRS = 50_000
RECLAIMED = 500_000
REMEMBERED = 1_000_000
# How many timers a program arms between two turns of the loop.
PER_TURN = 100
MEGABYTE = 1e6


def _never() -> None:
    raise WrongResult("a timer fired that was not due or was cancelled")


def _delay(number: int) -> float:
    """A minute and more, spread over 100 s as time-outs of unequal requests are."""
    return 60.0 + (number % 10_000) * 0.01


async def _arm_and_cancel(loop: asyncio.AbstractEventLoop, pairs: int) -> None:
    for first in range(0, pairs, PER_TURN):
        for number in range(first, first + PER_TURN):
            loop.call_later(_delay(number), _never).cancel()
        await asyncio.sleep(0)


def arm_and_cancel(loop: asyncio.AbstractEventLoop) -> int:
    """`call_later` and `cancel` with nothing else pending."""
    loop.run_until_complete(_arm_and_cancel(loop, PAIRS))
    return PAIRS


def pending(count: int, factory: LoopFactory) -> Sample:
    """Arms `count` timers, then arms and cancels others beside them."""
    values: dict[str, float] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        delays = [_delay(number) for number in range(10_000)]
        start = time.process_time()
        for _ in range(count // len(delays)):
            for delay in delays:
                loop.call_later(delay, _never)
        values["rate"] = count / (time.process_time() - start)
        await _arm_and_cancel(loop, PER_TURN)
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        await _arm_and_cancel(loop, PAIRS)
        values["cpu"] = (time.process_time_ns() - cpu) / PAIRS
        values["wall"] = (time.perf_counter_ns() - wall) / PAIRS

    run_coroutine(factory, main)
    return Sample(values)


def reclaim(factory: LoopFactory) -> Sample:
    """What is left in memory of timers that were cancelled long before their deadline."""
    values: dict[str, float] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await _arm_and_cancel(loop, 10 * PER_TURN)
        before = resident_bytes_before()
        for _ in range(RECLAIMED // PER_TURN):
            for _ in range(PER_TURN):
                loop.call_later(3600, _never).cancel()
            await asyncio.sleep(0)
        values["left"] = (resident_bytes() - before) / MEGABYTE

    run_coroutine(factory, main)
    return Sample(values)


def remembered(keep: bool, factory: LoopFactory) -> Sample:
    """Memory per pending timer, with the handle dropped or kept by the program."""
    values: dict[str, float] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        kept: list[object] = [None] * REMEMBERED
        loop.call_later(60, _never)
        before = resident_bytes_before()
        for number in range(REMEMBERED):
            handle = loop.call_later(_delay(number), _never)
            if keep:
                kept[number] = handle
        del handle
        values["bytes"] = (resident_bytes() - before) / REMEMBERED

    run_coroutine(factory, main)
    return Sample(values)


def _pending_case(count: int) -> Case:
    return Case(
        f"timers.{count:.0e}".replace("e+0", "e"),
        f"call_later + cancel beside {count:,} pending timers",
        (
            processor_time(Target(stock=5, peer=1)),
            Metric("rate", "/s", Target(at_least=800_000), higher_is_better=True),
        ),
        partial(pending, count),
    )


def _memory_case(name: str, what: str, keep: bool) -> Case:
    return Case(
        name,
        f"{REMEMBERED:,} pending timers, handle {what}: memory of each",
        (Metric("bytes", "B", Target(peer=1)),),
        partial(remembered, keep),
        quick=not keep,
    )


CASES = (
    _pending_case(10_000),
    _pending_case(1_000_000),
    Case(
        "reclaim",
        f"memory left by {RECLAIMED:,} cancelled call_later(3600)",
        (Metric("left", "MB", Target(at_most=3), relative=False),),
        reclaim,
    ),
    _memory_case("memory.timers", "dropped", keep=False),
    _memory_case("memory.timers_kept", "kept", keep=True),
)
