"""`call_every()` and `interval()`: periodic without drift, on stock asyncio and on pyloop."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import math
import time
from typing import Any

import pyloop
import pytest
from pyloop.timers import InvalidRegistration, MissedTick, PeriodicHandle, Tick, call_every, interval
from pyloop.timers._schedule import Schedule

from .support import Loop, LoopFactory, collect_until_dead, run, run_until, turn


def test_a_hundred_thousand_ticks_do_not_drift() -> None:
    start = 1234.567
    for missed in MissedTick:
        schedule = Schedule(start, 0.001, missed)
        for number in range(100_000):
            # Each a little late, as in life.
            taken = schedule.take(schedule.next + number % 5 * 0.001)
            assert taken == (number, start + number * 0.001)


def scheduled(missed: MissedTick, busy: list[float]) -> list[tuple[int, float]]:
    """The ticks of 1 s that an owner takes who is busy so long after each."""
    schedule, now, ticks = Schedule(0.0, 1.0, missed), 0.0, []
    for seconds in busy:
        now = max(now, schedule.next)
        taken = schedule.take(now)
        assert taken is not None
        ticks.append(taken)
        now += seconds
    return ticks


def test_missed_ticks_are_followed_as_their_policy_says() -> None:
    busy = [0.0, 3.5, 0.0, 0.0, 0.0, 0.0]
    assert scheduled(MissedTick.BURST, busy) == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    assert scheduled(MissedTick.SKIP, busy) == [(0, 0), (1, 1), (2, 2), (5, 5), (6, 6), (7, 7)]
    assert scheduled(MissedTick.DELAY, busy) == [(0, 0), (1, 1), (2, 2), (3, 5.5), (4, 6.5), (5, 7.5)]


def test_a_skip_lands_behind_the_present_whatever_is_rounded() -> None:
    for interval_ in (0.1, 0.3, 0.7, 1 / 3):
        for late in range(1, 500):
            schedule = Schedule(0.0, interval_, MissedTick.SKIP)
            now = late * interval_
            schedule.take(now)
            assert schedule.next > now
            assert schedule.next - now <= interval_ * (1 + 1e-9)


def test_ticks_are_exact_and_never_early(loop: Loop) -> None:
    async def main() -> list[Tick]:
        ticks = []
        async for tick in interval(0.002):
            assert loop.time() >= tick.actual >= tick.scheduled
            assert tick.lateness == tick.actual - tick.scheduled
            ticks.append(tick)
            if len(ticks) == 50:
                return ticks
        raise AssertionError

    ticks = run(loop, main())
    start = ticks[0].scheduled
    assert [(tick.sequence, tick.scheduled) for tick in ticks] == [(n, start + n * 0.002) for n in range(50)]


def test_an_interval_can_begin_later(loop: Loop) -> None:
    async def main() -> None:
        ticks = pyloop.interval(datetime.timedelta(milliseconds=1), first=0.02)
        before = loop.time()
        tick = await ticks.tick()
        assert tick.sequence == 0
        assert tick.scheduled >= before + 0.02

    run(loop, main())


def test_a_tick_that_was_cancelled_is_not_lost(loop: Loop) -> None:
    async def main() -> None:
        # The first is due at once, the second so late that none of the cancelled waits can end with it.
        ticks = interval(0.3)
        first = await ticks.tick()
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ticks.tick(), 0.0001)
        second = await ticks.tick()
        assert (second.sequence, second.scheduled) == (1, first.scheduled + 0.3)

    run(loop, main())


def test_missed_ticks_let_others_run(loop: Loop) -> None:
    async def main() -> None:
        ticks = interval(1e-7)
        other = asyncio.ensure_future(asyncio.sleep(0.005))
        while not other.done():
            await ticks.tick()

    run(loop, main())


def test_reset_moves_the_schedule(loop: Loop) -> None:
    async def main() -> None:
        ticks = interval(0.01)
        ticks.reset()
        await ticks.tick()
        before = loop.time()
        ticks.reset()
        tick = await ticks.tick()
        assert tick.sequence == 1
        assert tick.scheduled >= before + 0.01

    run(loop, main())


def test_a_callback_runs_every_interval(loop: Loop) -> None:
    ran: list[float] = []
    start = loop.time()
    handle = call_every(0.003, lambda: ran.append(loop.time()), loop=loop)
    run_until(loop, lambda: len(ran) >= 10)
    handle.cancel()
    count = len(ran)
    for number, at in enumerate(ran, 1):
        assert at >= start + number * 0.003
    run(loop, asyncio.sleep(0.01))
    assert len(ran) == count
    assert handle.cancelled()


def test_the_first_run_can_be_set(loop: Loop) -> None:
    ran: list[str] = []
    soon = call_every(3600, ran.append, "soon", first=0, loop=loop)
    late = call_every(0.0001, ran.append, "late", first=3600, loop=loop)
    run_until(loop, lambda: ran)
    turn(loop, 5)
    assert ran == ["soon"]
    assert soon.when() == pytest.approx(loop.time() + 3600, abs=10)
    assert soon.sequence == 1
    soon.cancel()
    late.cancel()


def test_a_pyloop_has_the_method() -> None:
    loop = pyloop.new_event_loop()
    ran: list[int] = []
    handle = loop.call_every(0.001, ran.append, 1, missed=MissedTick.SKIP)
    assert isinstance(handle, PeriodicHandle)
    run_until(loop, lambda: len(ran) >= 3)
    handle.cancel()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_every(1, print)


def test_a_callback_that_raises_is_reported_and_runs_again(loop: Loop, reports: list[dict[str, Any]]) -> None:
    ran: list[int] = []

    def fail() -> None:
        ran.append(1)
        raise ValueError("on purpose")

    other: list[int] = []
    handles = [call_every(0.001, fail, loop=loop), call_every(0.001, other.append, 1, loop=loop)]
    run_until(loop, lambda: len(ran) >= 3 and len(other) >= 3)
    for handle in handles:
        handle.cancel()
    assert len(reports) == len(ran)
    assert all(isinstance(report["exception"], ValueError) for report in reports)
    assert reports[0]["handle"] is handles[0]


def test_a_callback_can_cancel_itself(loop: Loop) -> None:
    ran: list[int] = []

    def once() -> None:
        ran.append(1)
        handle.cancel()

    handle = call_every(0.001, once, loop=loop)
    run_until(loop, lambda: ran)
    run(loop, asyncio.sleep(0.005))
    assert ran == [1]


def test_the_context_of_the_call_is_kept(loop: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    given = contextvars.Context()
    given.run(variable.set, "given")
    seen: list[str] = []
    variable.set("captured")
    handles = [
        call_every(0.001, lambda: seen.append(variable.get()), loop=loop),
        call_every(0.001, lambda: seen.append(variable.get()), loop=loop, context=given),
    ]
    variable.set("later")
    run_until(loop, lambda: {"captured", "given"} <= set(seen))
    assert "later" not in seen
    for handle in handles:
        handle.cancel()


def test_a_slow_callback_gets_what_its_policy_says(loop: Loop) -> None:
    numbers: dict[MissedTick, list[int]] = {missed: [] for missed in MissedTick}
    handles: dict[MissedTick, PeriodicHandle] = {}
    # How often each had run when the loop was blocked.
    before: dict[MissedTick, int] = {}

    def record(missed: MissedTick) -> None:
        numbers[missed].append(handles[missed].sequence)
        if all(numbers.values()) and not before:
            before.update((each, len(numbers[each])) for each in MissedTick)
            time.sleep(0.055)  # The loop is blocked: that is the point.

    def has_caught_up() -> bool:
        skipped = before and len(numbers[MissedTick.SKIP]) > before[MissedTick.SKIP]
        return bool(skipped) and len(numbers[MissedTick.BURST]) > max(6, len(numbers[MissedTick.DELAY]))

    for missed in MissedTick:
        handles[missed] = call_every(0.01, record, missed, first=0, missed=missed, loop=loop)
    run_until(loop, has_caught_up, "more ticks of BURST than of DELAY")
    for handle in handles.values():
        handle.cancel()
    for all_of_them in (MissedTick.BURST, MissedTick.DELAY):
        assert numbers[all_of_them] == list(range(1, len(numbers[all_of_them]) + 1))
    # Seen in a callback is the number of the next tick.
    last, first = numbers[MissedTick.SKIP][before[MissedTick.SKIP] - 1 :][:2]
    assert first >= last + 5


@pytest.mark.parametrize("value", [0, -1, math.nan, datetime.timedelta(0)])
def test_bad_intervals_are_refused(loop: Loop, value: float) -> None:
    with pytest.raises(InvalidRegistration):
        call_every(value, print, loop=loop)
    with pytest.raises(InvalidRegistration):
        interval(value)
    with pytest.raises(InvalidRegistration):
        call_every(1, print, first=-1, loop=loop)


def test_reset_before_the_first_tick_moves_it(loop: Loop) -> None:
    async def main() -> None:
        for first in (0.0, 3600.0):
            ticks = interval(0.005, first=first)
            before = loop.time()
            ticks.reset()
            tick = await ticks.tick()
            assert tick.sequence == 0
            assert before + 0.005 <= tick.scheduled <= tick.actual < before + 3600.0

    run(loop, main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        interval(1).reset()


def test_reset_leaves_a_closed_loop_alone(loop_factory: LoopFactory) -> None:
    ticks = interval(0.005)

    async def left_waiting() -> asyncio.Task[Tick]:
        await ticks.tick()
        waiting = asyncio.ensure_future(ticks.tick())
        await asyncio.sleep(0)
        return waiting

    async def go_on() -> None:
        ticks.reset()
        assert (await ticks.tick()).sequence == 1

    first, second = loop_factory(), loop_factory()
    waiting = first.run_until_complete(left_waiting())
    first.close()
    run(second, go_on())
    second.close()
    # Of a loop that will not run it any more: asyncio would tell.
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


def test_bad_arguments_are_refused(loop: Loop) -> None:
    with pytest.raises(TypeError):
        call_every("1", print, loop=loop)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        call_every(1, None, loop=loop)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        call_every(1, print, missed="skip", loop=loop)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        call_every(1, print)


def test_a_cancelled_handle_lets_go_of_its_callback(loop: Loop) -> None:
    import weakref

    class Callback:
        def __call__(self) -> None: ...

    callback = Callback()
    dead = weakref.ref(callback)
    handle = call_every(3600, callback, loop=loop)
    handle.cancel()
    del callback
    collect_until_dead(dead)


def test_an_unreferenced_handle_goes_on(loop: Loop) -> None:
    import gc

    ran: list[int] = []
    call_every(0.001, ran.append, 1, loop=loop)
    gc.collect()
    run_until(loop, lambda: len(ran) >= 3)
