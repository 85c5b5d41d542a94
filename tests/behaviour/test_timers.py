"""Timers: never early, in the order of their deadlines, and free of charge once cancelled."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
import weakref
from typing import Any

import pytest

from .leak_support import resident, traced_memory
from .support import Loop, run, run_until, turn


def test_no_timer_fires_early(loop: Loop) -> None:
    early: list[float] = []
    fired = 0

    def fire(deadline: float) -> None:
        nonlocal fired
        fired += 1
        if loop.time() < deadline:
            early.append(deadline - loop.time())

    now = loop.time()
    for step in range(300):
        deadline = now + step * 0.000173
        loop.call_at(deadline, fire, deadline)
    run_until(loop, lambda: fired == 300)
    # Stock asyncio accepts an error of its clock's resolution, a nanosecond or so.
    assert max(early, default=0.0) <= 1e-8


def test_sleep_never_ends_early(loop: Loop) -> None:
    async def main() -> list[float]:
        slept = []
        for delay in (0.0003, 0.001, 0.0015, 0.003):
            start = loop.time()
            await asyncio.sleep(delay)
            slept.append(loop.time() - start - delay)
        return slept

    assert min(run(loop, main())) >= -1e-8


def test_timers_fire_in_the_order_of_their_deadlines(loop: Loop) -> None:
    rng = random.Random(7)
    delays = [rng.randrange(0, 5000) / 1e6 for _ in range(2000)]
    seen: list[float] = []
    start = loop.time()
    for delay in delays:
        loop.call_at(start + delay, seen.append, delay)
    run_until(loop, lambda: len(seen) == len(delays))
    assert seen == sorted(delays)


def test_timers_due_in_one_batch_fire_in_the_order_of_their_deadlines(loop: Loop) -> None:
    rng = random.Random(8)
    deadlines = rng.sample(range(1, 5000), 3000)
    seen: list[int] = []
    now = loop.time()
    for deadline in deadlines:
        loop.call_at(now - 1 + deadline / 1e6, seen.append, deadline)
    turn(loop, 2)
    assert seen == sorted(deadlines)


def test_equal_deadlines_all_fire_in_one_batch(loop: Loop) -> None:
    seen: list[int] = []
    deadline = loop.time() + 0.001
    for number in range(500):
        loop.call_at(deadline, seen.append, number)
    run_until(loop, lambda: seen)
    assert sorted(seen) == list(range(500))


@pytest.mark.pyloop_only("stock asyncio keeps its timers in a heap, which is not stable among equals")
def test_equal_deadlines_fire_first_in_first_out(loop: Loop) -> None:
    seen: list[int] = []
    deadline = loop.time() + 0.001
    for number in range(500):
        loop.call_at(deadline, seen.append, number)
    run_until(loop, lambda: len(seen) == 500)
    assert seen == list(range(500))


def test_a_timer_cancels_another_of_the_same_batch(loop: Loop) -> None:
    seen: list[str] = []
    now = loop.time()
    loop.call_at(now - 2, lambda: victim.cancel())  # type: ignore[has-type]
    victim = loop.call_at(now - 1, seen.append, "cancelled")
    loop.call_at(now - 0.5, seen.append, "kept")
    turn(loop, 2)
    assert seen == ["kept"]


def test_a_ready_callback_cancels_a_due_timer(loop: Loop) -> None:
    seen: list[str] = []
    timer = loop.call_at(loop.time() - 1, seen.append, "cancelled")
    loop.call_soon(timer.cancel)
    turn(loop, 2)
    assert seen == []


def test_cancelling_after_the_timer_fired_is_harmless(loop: Loop) -> None:
    seen: list[str] = []
    timer = loop.call_later(0, seen.append, "fired")
    turn(loop, 2)
    timer.cancel()
    timer.cancel()
    turn(loop, 2)
    assert seen == ["fired"]


def test_a_cancelled_timer_never_fires(loop: Loop) -> None:
    rng = random.Random(9)
    seen: list[int] = []
    start = loop.time()
    timers = [loop.call_at(start + rng.random() * 0.005, seen.append, number) for number in range(1000)]
    kept = set(range(1000))
    for number in rng.sample(range(1000), 600):
        timers[number].cancel()
        kept.discard(number)
    run_until(loop, lambda: len(seen) >= len(kept))
    run(loop, asyncio.sleep(0.006))
    assert sorted(seen) == sorted(kept)


def test_a_timer_set_by_a_timer_fires(loop: Loop) -> None:
    seen: list[int] = []

    def chain(depth: int) -> None:
        seen.append(depth)
        if depth < 20:
            loop.call_later(0.0001, chain, depth + 1)

    loop.call_later(0, chain, 0)
    run_until(loop, lambda: len(seen) == 21)
    assert seen == list(range(21))


def test_a_timer_of_zero_set_by_a_due_timer_waits_for_the_next_batch(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.call_later(0, seen.append, "third")
        seen.append("first")

    now = loop.time()
    loop.call_at(now - 2, first)
    loop.call_at(now - 1, seen.append, "second")
    run_until(loop, lambda: len(seen) == 3)
    assert seen == ["first", "second", "third"]


def test_an_earlier_timer_shortens_the_sleep(loop: Loop) -> None:
    seen: list[str] = []
    far = loop.call_later(3600, seen.append, "far")
    idle = threading.Event()

    def from_elsewhere() -> None:
        idle.wait(20)
        loop.call_soon_threadsafe(lambda: loop.call_later(0.001, seen.append, "near"))

    thread = threading.Thread(target=from_elsewhere)
    thread.start()
    loop.call_soon(idle.set)
    loop.call_soon(lambda: None)
    run_until(loop, lambda: seen)
    thread.join(20)
    far.cancel()
    assert seen == ["near"]


def test_ten_thousand_timers_fire_once_each_in_order(loop: Loop) -> None:
    seen: list[int] = []
    start = loop.time()
    for number in range(10_000):
        loop.call_at(start + (number % 100) * 1e-4 + number * 1e-9, seen.append, number)
    run_until(loop, lambda: len(seen) >= 10_000)
    assert sorted(seen) == list(range(10_000))
    assert seen == sorted(seen, key=lambda number: (number % 100, number))


def test_the_timers_of_two_loops_do_not_mix(loop: Loop, loop_factory: Any) -> None:
    other = loop_factory()
    seen: list[tuple[str, int]] = []
    for number in range(100):
        loop.call_later(0.001, seen.append, ("one", number))
        other.call_later(0.001, seen.append, ("other", number))
    run_until(loop, lambda: len(seen) == 100)
    assert {who for who, _ in seen} == {"one"}
    run_until(other, lambda: len(seen) == 200)
    other.close()
    assert {who for who, _ in seen[100:]} == {"other"}


def test_cancelled_timers_free_their_callbacks_long_before_the_deadline(loop: Loop) -> None:
    class Payload:
        def __call__(self) -> None: ...

    watched = []
    for _ in range(1000):
        payload = Payload()
        watched.append(weakref.ref(payload))
        loop.call_later(3600, payload).cancel()
        del payload
    gc.collect()
    assert [reference() for reference in watched] == [None] * 1000


def test_cancelled_timers_hold_no_memory(loop: Loop) -> None:
    async def arm_and_cancel(count: int) -> None:
        for number in range(count):
            loop.call_later(3600 + number % 60, print, number).cancel()
            if number % 1000 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(loop, arm_and_cancel(20_000))
    gc.collect()
    resident_before = resident() if sys.platform == "linux" else 0
    with traced_memory() as growth:
        for _ in growth.series():
            run(loop, arm_and_cancel(50_000), seconds=50)
            gc.collect()
        resident_grown = resident() - resident_before if sys.platform == "linux" else 0
    # A held handle takes at least 100 bytes: 50 000 of them would be 5 MB.
    assert growth.least() < 500_000
    assert resident_grown < 4_000_000


def test_timers_outlive_the_reference_to_their_handle(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0.001, seen.append, "fired")
    gc.collect()
    run_until(loop, lambda: seen)
    assert seen == ["fired"]


def test_asyncio_timeouts_use_the_timers(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_future(), 0.001)
        done, pending = await asyncio.wait([loop.create_future()], timeout=0.001)
        assert not done
        assert len(pending) == 1
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await loop.create_future()

    run(loop, main())
