"""In what order callbacks run, and what an iteration is."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from fractions import Fraction
from typing import Any

import pytest

from .support import Loop, run, run_until, socket_pair, thread_running, turn


def test_callbacks_run_in_the_order_they_were_scheduled(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    turn(loop)
    assert seen == list(range(1000))


@pytest.mark.parametrize("count", range(7))
def test_a_callback_gets_all_its_arguments(loop: Loop, count: int) -> None:
    seen: list[tuple[int, ...]] = []
    loop.call_soon(lambda *args: seen.append(args), *range(count))
    loop.call_later(0, lambda *args: seen.append(args), *range(count))
    loop.call_soon_threadsafe(lambda *args: seen.append(args), *range(count))
    loop.call_later(0.0005, loop.stop)
    loop.run_forever()
    assert seen == [tuple(range(count))] * 3


def test_callbacks_take_no_unknown_keywords(loop: Loop) -> None:
    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError):
            schedule(print, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        loop.call_later(0, print, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        loop.call_soon()  # type: ignore[call-arg]


def test_the_callback_may_be_given_by_name(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(callback=lambda: seen.append("soon"))
    loop.call_soon_threadsafe(callback=lambda: seen.append("threadsafe"))
    loop.call_later(delay=0, callback=lambda: seen.append("later"))
    loop.call_at(when=loop.time(), callback=lambda: seen.append("at"))
    run_until(loop, lambda: len(seen) == 4)
    assert seen == ["soon", "threadsafe", "later", "at"]


def test_what_a_callback_schedules_runs_in_the_next_iteration(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    turn(loop)
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "third"]


def test_stop_does_not_cut_the_batch(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "same batch")
    loop.call_soon(lambda: loop.call_soon(seen.append, "next batch"))
    loop.run_forever()
    assert seen == ["same batch"]
    turn(loop)
    assert seen == ["same batch", "next batch"]


def test_a_batch_holds_what_was_ready_at_its_start(loop: Loop) -> None:
    batches: list[list[int]] = [[]]

    def chain(depth: int) -> None:
        batches[-1].append(depth)
        if depth < 3:
            loop.call_soon(chain, depth + 1)

    loop.call_soon(chain, 0)
    loop.call_soon(chain, 2)
    for _ in range(4):
        turn(loop)
        batches.append([])
    assert batches == [[0, 2], [1, 3], [2], [3], []]


def test_a_callback_cancelled_earlier_in_its_batch_does_not_run(loop: Loop) -> None:
    seen: list[str] = []
    handles: list[asyncio.Handle] = []
    loop.call_soon(lambda: handles[0].cancel())
    handles.append(loop.call_soon(seen.append, "cancelled"))
    loop.call_soon(seen.append, "kept")
    turn(loop)
    assert seen == ["kept"]


def test_due_timers_run_after_what_was_ready_before_the_poll(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(-1, seen.append, "timer")
    loop.call_soon(seen.append, "soon")
    turn(loop)
    turn(loop)
    assert seen == ["soon", "timer"]


def test_self_rescheduling_callbacks_do_not_starve_sockets_and_timers(loop: Loop) -> None:
    left, right = socket_pair()
    seen: list[str] = []
    rounds = 0

    def spin() -> None:
        nonlocal rounds
        rounds += 1
        if len(seen) < 2 and rounds < 200_000:
            loop.call_soon(spin)
        else:
            loop.stop()

    def readable() -> None:
        seen.append("socket")
        loop.remove_reader(left)

    loop.add_reader(left, readable)
    right.send(b"x")
    loop.call_soon(spin)
    loop.call_later(0.0001, seen.append, "timer")
    loop.run_forever()
    left.close()
    right.close()
    assert sorted(seen) == ["socket", "timer"]


# What crates/engine/src/pacing.rs promises: a poll after so many callbacks at the latest, and before so many
# nanoseconds and one stretch of callbacks more have passed.
CALLBACKS_BETWEEN_POLLS = 1024
NANOSECONDS_BETWEEN_POLLS = 50_000
STRETCH = 64
# The callback that sent, and the one that was ready when the poll found the socket.
BESIDES = 2


def test_a_readable_socket_waits_no_longer_than_the_documented_bound(loop: Loop) -> None:
    """Stock asyncio polls every time. Counted in callbacks, so that a busy machine makes no difference."""
    left, right = socket_pair()
    # Of each message: how many callbacks began before it was read, and how many of them after the bound in time.
    waited: list[tuple[int, int]] = []
    since_sent = overdue = due = 0
    on_its_way = False

    def readable() -> None:
        nonlocal on_its_way
        left.recv(1)
        on_its_way = False
        waited.append((since_sent, overdue))

    def spin() -> None:
        nonlocal since_sent, overdue, due, on_its_way
        since_sent += 1
        now = time.monotonic_ns()
        overdue += on_its_way and now > due
        if len(waited) == 50 or since_sent > 100_000:
            loop.stop()
            return
        # Some callbacks pass between two messages, so that polls come at any distance from the sending.
        if not on_its_way and since_sent >= 37 * (len(waited) % 7):
            since_sent = overdue = 0
            on_its_way = True
            right.send(b"x")
            due = time.monotonic_ns() + NANOSECONDS_BETWEEN_POLLS
        loop.call_soon(spin)

    loop.add_reader(left, readable)
    loop.call_soon(spin)
    loop.run_forever()
    loop.remove_reader(left)
    left.close()
    right.close()
    assert len(waited) == 50
    assert max(count for count, _ in waited) <= CALLBACKS_BETWEEN_POLLS + BESIDES
    assert max(late for _, late in waited) <= STRETCH + BESIDES


def test_threadsafe_callbacks_wake_an_idle_loop(loop: Loop) -> None:
    seen: list[int] = []
    idle = threading.Event()

    def other_thread() -> None:
        idle.wait(20)
        for number in range(100):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    with thread_running(other_thread):
        loop.call_soon(idle.set)
        loop.run_forever()
    assert seen == list(range(100))


def test_threadsafe_callbacks_of_each_thread_keep_their_order(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []
    finished = 0

    def done() -> None:
        nonlocal finished
        finished += 1
        if finished == 4:
            loop.stop()

    def sender(name: int) -> None:
        for number in range(2000):
            loop.call_soon_threadsafe(seen.append, (name, number))
        loop.call_soon_threadsafe(done)

    threads = [threading.Thread(target=sender, args=(name,)) for name in range(4)]
    loop.call_soon(lambda: [thread.start() for thread in threads])  # type: ignore[func-returns-value]
    loop.run_forever()
    for thread in threads:
        thread.join(20)
    assert len(seen) == 8000
    for name in range(4):
        assert [number for who, number in seen if who == name] == list(range(2000))


def test_threadsafe_callbacks_given_before_the_run_are_kept(loop: Loop) -> None:
    seen: list[str] = []
    with thread_running(lambda: loop.call_soon_threadsafe(seen.append, "early")):
        pass
    turn(loop)
    assert seen == ["early"]


def test_threadsafe_from_the_own_thread_keeps_the_common_order(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(seen.append, "a")
    loop.call_soon_threadsafe(seen.append, "b")
    loop.call_soon(seen.append, "c")
    turn(loop)
    assert seen == ["a", "b", "c"]


def test_a_handle_of_another_thread_can_be_cancelled_there(loop: Loop) -> None:
    seen: list[str] = []

    def other_thread() -> None:
        loop.call_soon_threadsafe(seen.append, "cancelled").cancel()
        loop.call_soon_threadsafe(seen.append, "kept")

    with thread_running(other_thread):
        pass
    turn(loop)
    assert seen == ["kept"]


# Delays


@pytest.mark.parametrize("delay", [0, 0.0, -1, -0.5, True])
def test_call_later_gives_a_timer_handle_whatever_the_delay(loop: Loop, delay: Any) -> None:
    handle = loop.call_later(delay, print)
    assert isinstance(handle, asyncio.TimerHandle)
    handle.cancel()


def test_call_later_zero_runs_even_without_the_clock_moving(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0, seen.append, "ran")
    turn(loop, 2)
    assert seen == ["ran"]


def test_negative_delays_order_by_deadline(loop: Loop) -> None:
    seen: list[int] = []
    for delay in (-1, -3, -2, -4):
        loop.call_later(delay, seen.append, delay)
    loop.call_at(loop.time() - 5, seen.append, -5)
    turn(loop, 2)
    assert seen == [-5, -4, -3, -2, -1]


def test_a_deadline_before_the_clock_began_is_due(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_at(-1e9, seen.append, "first")
    loop.call_at(-5, seen.append, "second")
    loop.call_at(0, seen.append, "third")
    loop.call_at(-math.inf, seen.append, "before all")
    turn(loop, 2)
    assert seen == ["before all", "first", "second", "third"]


@pytest.mark.pyloop_only("stock asyncio accepts NaN, which destroys the order of its heap")
def test_nan_is_refused(loop: Loop) -> None:
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(math.nan, print)
    with pytest.raises(ValueError, match="NaN"):
        loop.call_at(math.nan, print)


@pytest.mark.parametrize("forever", [math.inf, 1e300, 1e19, float(2**63)])
def test_an_endless_delay_never_fires_and_harms_no_other_timer(loop: Loop, forever: float) -> None:
    seen: list[str] = []
    by_delay = loop.call_later(forever, seen.append, "never")
    by_time = loop.call_at(forever, seen.append, "never")
    assert by_time.when() == forever
    loop.call_later(0.002, seen.append, "second")
    loop.call_later(0.001, seen.append, "first")
    run_until(loop, lambda: len(seen) >= 2)
    assert seen == ["first", "second"]
    by_delay.cancel()
    by_time.cancel()


def test_a_loop_with_only_endless_timers_sleeps_until_it_is_woken(loop: Loop) -> None:
    handle = loop.call_later(math.inf, print)
    idle = threading.Event()

    def other_thread() -> None:
        idle.wait(20)
        loop.call_soon_threadsafe(loop.stop)

    with thread_running(other_thread):
        loop.call_soon(idle.set)
        loop.run_forever()
    handle.cancel()


@pytest.mark.parametrize("delay", ["1", [], object()])
def test_a_delay_that_is_no_number_is_refused(loop: Loop, delay: Any) -> None:
    with pytest.raises(TypeError):
        loop.call_later(delay, print)


def test_a_missing_delay_is_refused(loop: Loop) -> None:
    with pytest.raises(TypeError):
        loop.call_later(None, print)  # type: ignore[arg-type]
    # CPython 3.10 asserts what later versions check.
    with pytest.raises((TypeError, AssertionError)):
        loop.call_at(None, print)  # type: ignore[arg-type]


def test_delays_may_be_integers_and_booleans_and_big(loop: Loop) -> None:
    handle = loop.call_later(10**6, print)
    assert handle.when() == pytest.approx(loop.time() + 10**6, abs=5)
    handle.cancel()
    handle = loop.call_later(Fraction(1, 2), print)  # type: ignore[arg-type]
    assert handle.when() == pytest.approx(loop.time() + 0.5, abs=5)
    handle.cancel()


def test_sleep_of_zero_lets_every_other_task_run_once(loop: Loop) -> None:
    seen: list[str] = []

    async def worker(name: str) -> None:
        for step in range(3):
            seen.append(f"{name}{step}")
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(worker("a"), worker("b"))

    run(loop, main())
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]
