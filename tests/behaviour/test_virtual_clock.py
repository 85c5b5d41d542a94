"""A loop whose clock is moved: by itself when the loop is idle, or by the test. The real clock is the oracle."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pyloop
import pytest
from pyloop.testing import VirtualClock
from pyloop.timers import Interval

from .support import PATIENCE, Loop, LoopFactory, Recorder, python, run_in_thread, transport_over, turn, turns

# Real seconds that an hour of virtual time may take, on the busiest of machines.
SOON = 5.0


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def virtual(clock: VirtualClock) -> Iterator[pyloop.PyLoop]:
    """A loop on the clock."""
    loop = pyloop.PyLoop(clock=clock)
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


# The same program on all clocks. `unit` is what an hour's twentieth, 180 s, lasts.

UNIT = 180.0
# Real seconds of a unit. A machine that stands still for longer tells other units: then the next one is tried.
SCALED = (0.03, 0.1, 0.3, 1.0)


async def program(unit: float) -> list[tuple[str, int]]:
    """Sleeps, time-outs, cancelled timers and rearmed ones, over 20 units; gives what happened, and in which unit."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    happened: list[tuple[str, int]] = []

    def note(what: str) -> None:
        elapsed = (loop.time() - start) / unit
        assert elapsed >= int(elapsed + 1e-6)
        happened.append((what, int(elapsed + 1e-6)))

    async def sleeper(name: str, *units: int) -> None:
        for count in units:
            await asyncio.sleep(count * unit)
            note(name)

    async def impatient(name: str, units: int) -> None:
        try:
            await asyncio.wait_for(asyncio.sleep(50 * unit), units * unit)
        except asyncio.TimeoutError:
            note(name)

    async def waiting_for(event: asyncio.Event) -> None:
        await asyncio.wait_for(event.wait(), 100 * unit)
        note("event")

    event = asyncio.Event()
    cancelled = loop.call_later(4.5 * unit, note, "never")
    loop.call_later(3.2 * unit, cancelled.cancel)
    loop.call_at(start + 13.5 * unit, event.set)
    loop.call_at(start + 1.5 * unit, note, "call_at")
    await asyncio.gather(
        sleeper("a", 2, 5, 3),
        sleeper("b", 1, 15, 3),
        impatient("timeout 6", 6),
        impatient("timeout 12", 12),
        impatient("timeout 20", 20),
        waiting_for(event),
    )
    return happened


EXPECTED = [
    ("b", 1),
    ("call_at", 1),
    ("a", 2),
    ("timeout 6", 6),
    ("a", 7),
    ("a", 10),
    ("timeout 12", 12),
    ("event", 13),
    ("b", 16),
    ("b", 19),
    ("timeout 20", 20),
]


def test_real_clock_gives_the_order_that_the_virtual_one_is_held_to(loop: Loop) -> None:
    for unit in SCALED:
        happened = loop.run_until_complete(program(unit))
        if happened == EXPECTED:
            break
    assert happened == EXPECTED


def test_hour_of_time_outs_ends_at_once_and_in_the_order_of_real_time(virtual: pyloop.PyLoop) -> None:
    started = time.monotonic()
    assert virtual.run_until_complete(program(UNIT)) == EXPECTED
    assert time.monotonic() - started < SOON
    # Nothing went on beyond the last time-out.
    assert virtual.time() == 20 * UNIT


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with 3.11")
@pytest.mark.parametrize("seconds", [0.25, 3600.0, 86_400.0 * 365])
def test_timeout_block_ends_at_its_deadline_to_the_digit(virtual: pyloop.PyLoop, seconds: float) -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.sleep(seconds * 2)
        return virtual.time()

    assert virtual.run_until_complete(main()) == seconds


def test_each_timer_sees_its_own_deadline_as_the_time(virtual: pyloop.PyLoop) -> None:
    seen: list[tuple[float, float]] = []
    delays = [1e-9, 0.1, 0.3, 1 / 3, 1.1, 59.9, 3599.999999]
    for delay in reversed(delays):
        virtual.call_later(delay, lambda delay=delay: seen.append((delay, virtual.time())))
    virtual.call_later(7200, virtual.stop)
    virtual.run_forever()
    assert [delay for delay, _ in seen] == delays
    for delay, at in seen:
        # Never early, and no more than the nanosecond to which the clock goes.
        assert delay <= at <= delay + 1e-9


def test_equal_deadlines_run_in_the_order_in_which_they_were_made(virtual: pyloop.PyLoop) -> None:
    ran: list[int] = []
    for number in range(200):
        virtual.call_at(60.0, ran.append, number)
    virtual.call_at(60.5, virtual.stop)
    virtual.run_forever()
    assert ran == list(range(200))


def test_clock_stands_still_while_callbacks_are_ready(virtual: pyloop.PyLoop) -> None:
    left = [1000]
    times = set()

    def again() -> None:
        times.add(virtual.time())
        left[0] -= 1
        if left[0]:
            virtual.call_soon(again)
        else:
            virtual.stop()

    virtual.call_later(0.001, times.add, "the timer")
    virtual.call_soon(again)
    virtual.run_forever()
    assert times == {0.0}


def test_cancelled_timer_moves_nothing(virtual: pyloop.PyLoop) -> None:
    virtual.call_later(5, print, "never").cancel()
    virtual.call_later(9, virtual.stop)
    virtual.run_forever()
    assert virtual.time() == 9.0


def test_real_clock_is_monotonic_and_shows_no_virtual_one(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    assert time.monotonic() <= loop.time() <= time.monotonic()
    assert getattr(loop, "clock", None) is None
    loop.close()


def test_periodic_timers_of_the_package_go_by_the_clock(virtual: pyloop.PyLoop) -> None:
    ticks: list[float] = []

    async def main() -> list[float]:
        periodic = virtual.call_every(60.0, lambda *_tick: ticks.append(virtual.time()))
        turns_of_interval = []
        async for _ in Interval(90.0, first=90.0):
            turns_of_interval.append(virtual.time())
            if len(turns_of_interval) == 4:
                break
        periodic.cancel()
        return turns_of_interval

    began = time.monotonic()
    assert virtual.run_until_complete(main()) == [90.0, 180.0, 270.0, 360.0]
    assert ticks[:5] == [60.0, 120.0, 180.0, 240.0, 300.0]
    assert time.monotonic() - began < SOON


# advance and jump


def test_advance_visits_every_deadline_at_its_own_time(clock: VirtualClock) -> None:
    clock.autojump = False
    loop = pyloop.PyLoop(clock=clock)
    ticks: list[float] = []

    async def every_second() -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(loop.time())

    async def main() -> None:
        ticking = loop.create_task(every_second())
        await turns(3)
        assert ticks == []
        await clock.advance(2.5)
        assert ticks == [1.0, 2.0]
        assert loop.time() == 2.5
        # What is due exactly at the end has run, and what it led to.
        await clock.advance(1.5)
        assert ticks == [1.0, 2.0, 3.0, 4.0]
        await clock.advance(0)
        assert loop.time() == 4.0
        ticking.cancel()

    loop.run_until_complete(main())
    loop.close()


def test_several_advances_end_in_the_order_of_their_targets(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    clock.autojump = False
    ended: list[tuple[float, float]] = []

    async def move(seconds: float) -> None:
        await clock.advance(seconds)
        ended.append((seconds, clock.time()))

    async def main() -> None:
        await asyncio.gather(move(5), move(2), move(2), move(9))

    virtual.run_until_complete(main())
    assert ended == [(2, 2.0), (2, 2.0), (5, 5.0), (9, 9.0)]


def test_cancelled_advance_ends_where_it_is(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    clock.autojump = False

    async def main() -> None:
        moving = clock.advance(100)
        virtual.call_at(30, moving.cancel)
        with pytest.raises(asyncio.CancelledError):
            await moving
        await clock.advance(1)

    virtual.run_until_complete(main())
    assert clock.time() == 31.0


def test_jump_is_one_step_after_which_everything_due_runs_in_order(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    clock.autojump = False
    seen: list[tuple[str, float]] = []
    for name, delay in (("late", 7), ("early", 3), ("not yet", 11)):
        virtual.call_later(delay, lambda name=name: seen.append((name, virtual.time())))
    clock.jump(10)
    assert virtual.time() == 10.0
    turn(virtual, 2)
    assert seen == [("early", 10.0), ("late", 10.0)]


def test_jump_is_noticed_by_a_loop_that_never_rests(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    fired: list[int] = []
    virtual.call_later(10, fired.append, 1)
    busy = [0]

    def again() -> None:
        busy[0] += 1
        if busy[0] == 5:
            clock.jump(10)
        if busy[0] < 12:
            virtual.call_soon(again)
        else:
            virtual.stop()

    virtual.call_soon(again)
    virtual.run_forever()
    assert fired == [1]


@pytest.mark.parametrize("seconds", [-1, -1e-9, math.nan, math.inf, -math.inf, 1e30])
def test_time_goes_neither_back_nor_beyond_the_clock(
    virtual: pyloop.PyLoop, clock: VirtualClock, seconds: float
) -> None:
    for move in (clock.advance, clock.jump):
        with pytest.raises(ValueError, match="second"):
            move(seconds)
    assert clock.time() == 0.0


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_clock_takes_no_senseless_start_or_grace(seconds: float) -> None:
    with pytest.raises(ValueError, match="start"):
        VirtualClock(seconds)
    with pytest.raises(ValueError, match="grace"):
        VirtualClock(grace=seconds)


def test_seconds_are_numbers(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    for move in (clock.advance, clock.jump):
        with pytest.raises(TypeError):
            move("soon")  # type: ignore[arg-type]


# One loop, one thread


def test_clock_belongs_to_one_loop(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    with pytest.raises(RuntimeError, match="belongs to another loop"):
        pyloop.PyLoop(clock=clock)
    assert virtual.clock is clock
    gc.collect()


def test_clock_without_a_loop_is_not_moved() -> None:
    clock = VirtualClock(2.5)
    assert clock.time() == 2.5
    for move in (clock.advance, clock.jump):
        with pytest.raises(RuntimeError, match="has no loop"):
            move(1)


def test_clock_of_a_closed_loop_is_not_moved() -> None:
    clock = VirtualClock()
    loop = pyloop.PyLoop(clock=clock)
    loop.close()
    for move in (clock.advance, clock.jump):
        with pytest.raises(RuntimeError, match="closed"):
            move(1)


def test_clock_is_moved_by_its_loops_thread_only(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    async def main() -> None:
        for move in (clock.advance, clock.jump):
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                await asyncio.to_thread(move, 1)
        assert await asyncio.to_thread(clock.time) == 0.0

    virtual.run_until_complete(main())


def test_other_objects_are_no_clocks() -> None:
    for wrong in (1.5, object(), time.monotonic, VirtualClock):
        with pytest.raises(TypeError, match=r"clock must be a pyloop\.testing\.VirtualClock, not "):
            pyloop.PyLoop(clock=wrong)  # type: ignore[arg-type]
    gc.collect()


def test_a_clock_is_named_where_its_arguments_are_wrong() -> None:
    with pytest.raises(TypeError, match="VirtualClock"):
        VirtualClock(speed=2)  # type: ignore[call-arg]


def test_derived_loops_may_pass_a_clock_on() -> None:
    class Mine(pyloop.PyLoop):
        def __init__(self, start: float) -> None:
            super().__init__(clock=VirtualClock(start))

    loop = Mine(40)
    loop.run_until_complete(asyncio.sleep(2))
    assert loop.time() == 42.0
    loop.close()


def test_clock_says_how_it_stands(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    clock.jump(1.5)
    assert repr(clock) == "<VirtualClock 1.5 s, autojump>"
    clock.autojump = False
    with clock.hold():
        assert repr(clock) == "<VirtualClock 1.5 s, moved by hand, held>"
    assert (clock.autojump, clock.grace) == (False, 0.0)


# What holds the jump back


def test_thread_in_flight_holds_the_jump_back(virtual: pyloop.PyLoop) -> None:
    go_on = threading.Event()

    async def main() -> tuple[str, float]:
        # Would be over at once, were the thread not waited for.
        work = asyncio.wait_for(virtual.run_in_executor(None, wait), 60)
        threading.Timer(0.05, go_on.set).start()
        return await work, virtual.time()

    def wait() -> str:
        assert go_on.wait(PATIENCE)
        return "done"

    assert virtual.run_until_complete(main()) == ("done", 0.0)


def test_advance_waits_for_threads_in_flight(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    async def main() -> None:
        working = asyncio.ensure_future(asyncio.to_thread(work))
        moving = clock.advance(10)
        await turns(3)
        assert entered.wait(PATIENCE)
        threading.Timer(0.05, go_on.set).start()
        await moving
        assert working.done()

    virtual.run_until_complete(main())


def test_work_of_a_cancelled_future_holds_nothing(virtual: pyloop.PyLoop) -> None:
    go_on = threading.Event()

    async def main() -> None:
        future = virtual.run_in_executor(None, go_on.wait, PATIENCE)
        future.cancel()
        await asyncio.sleep(3600)
        go_on.set()

    virtual.run_until_complete(main())
    assert virtual.time() == 3600.0


def test_name_look_up_holds_the_jump_back(virtual: pyloop.PyLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    started = threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        started.set()
        time.sleep(0.02)
        return real("127.0.0.1", 80)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main() -> None:
        assert await asyncio.wait_for(virtual.getaddrinfo("some.name.invalid", 80), 5)

    virtual.run_until_complete(main())
    assert started.is_set()
    assert virtual.time() == 0.0


def test_child_process_holds_the_jump_back(virtual: pyloop.PyLoop) -> None:
    async def main() -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('hello')", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(child.communicate(), 0.001)
        return output

    assert virtual.run_until_complete(main()) == b"hello\n"
    assert virtual.time() == 0.0
    virtual.run_until_complete(asyncio.sleep(60))
    assert virtual.time() == 60.0


def test_child_that_cannot_start_holds_nothing(virtual: pyloop.PyLoop) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")
        await asyncio.sleep(60)

    virtual.run_until_complete(main())
    assert virtual.time() == 60.0


def test_threads_of_the_test_hold_the_clock_as_they_like(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    arrived: list[float] = []

    def outside(hold: contextlib.AbstractContextManager[None]) -> None:
        with hold:
            time.sleep(0.03)
            virtual.call_soon_threadsafe(lambda: arrived.append(virtual.time()))

    async def main() -> None:
        hold = clock.hold()
        hold.__enter__()
        threads = [threading.Thread(target=outside, args=(clock.hold(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        virtual.call_later(10, lambda: arrived.append(-1))
        virtual.run_in_executor(None, lambda: [thread.join(PATIENCE) for thread in threads])
        hold.__exit__(None, None, None)
        await asyncio.sleep(20)

    virtual.run_until_complete(main())
    assert arrived == [0.0, 0.0, 0.0, -1]


def test_hold_let_go_by_a_thread_wakes_the_loop(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    held = threading.Event()

    def outside() -> None:
        with clock.hold():
            held.set()
            time.sleep(0.03)

    async def main() -> None:
        thread = threading.Thread(target=outside)
        thread.start()
        assert held.wait(PATIENCE)
        began = time.monotonic()
        await asyncio.sleep(3600)
        assert time.monotonic() - began < SOON
        thread.join(PATIENCE)

    virtual.run_until_complete(main())


def test_callbacks_of_threads_come_before_the_jump(virtual: pyloop.PyLoop) -> None:
    async def main() -> None:
        run_in_thread(lambda: virtual.call_soon_threadsafe(at.append, "thread"))
        virtual.call_later(1, at.append, "timer")
        await asyncio.sleep(2)

    at: list[str] = []
    virtual.run_until_complete(main())
    assert at == ["thread", "timer"]


def test_without_autojump_only_the_outside_goes_on(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    clock.autojump = False
    fired: list[str] = []

    async def main() -> None:
        virtual.call_later(0.001, fired.append, "timer")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            threading.Timer(0.05, theirs.send, (b"real",)).start()
            assert await virtual.sock_recv(ours, 10) == b"real"
        assert (virtual.time(), fired) == (0.0, [])
        clock.autojump = True
        await asyncio.sleep(1)
        assert fired == ["timer"]

    virtual.run_until_complete(main())


# I/O


def test_what_has_arrived_is_read_before_the_clock_moves(virtual: pyloop.PyLoop) -> None:
    async def main() -> None:
        protocol = Recorder()
        async with transport_over(protocol) as (_, peer):
            for number in range(100):
                peer.send(b"x")
                virtual.call_later(1, lambda: None)
                before = virtual.time()
                while len(protocol.received) <= number:
                    assert virtual.time() == before
                    await asyncio.sleep(0)
                await asyncio.sleep(1)

    virtual.run_until_complete(main())
    assert virtual.time() >= 100


def test_conversation_within_the_process_takes_no_time(virtual: pyloop.PyLoop) -> None:
    async def main() -> float:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                await asyncio.sleep(10)
                writer.write(line.upper())
            writer.close()
            await writer.wait_closed()
            served.set()

        served = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        for _ in range(5):
            writer.write(b"hello\n")
            assert await asyncio.wait_for(reader.readline(), 11) == b"HELLO\n"
        took = virtual.time()
        writer.close()
        await writer.wait_closed()
        # Until 3.11 the server's own `wait_closed()` does not wait for its connections.
        await served.wait()
        server.close()
        await server.wait_closed()
        return took

    assert virtual.run_until_complete(main()) == 50.0


def test_grace_waits_in_real_time_for_what_may_still_come() -> None:
    clock = VirtualClock(grace=0.5)
    loop = pyloop.PyLoop(clock=clock)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            # From a thread that the loop knows nothing of.
            threading.Timer(0.02, theirs.send, (b"x",)).start()
            assert await asyncio.wait_for(loop.sock_recv(ours, 1), 60) == b"x"
        assert loop.time() == 0.0
        began = time.monotonic()
        await asyncio.sleep(3600)
        assert time.monotonic() - began >= 0.5

    loop.run_until_complete(main())
    loop.close()


def test_grace_begins_anew_when_the_loop_was_woken() -> None:
    clock = VirtualClock(grace=0.4)
    loop = pyloop.PyLoop(clock=clock)

    async def main() -> float:
        woken: list[float] = []

        def wake() -> None:
            woken.append(time.monotonic())
            loop._write_to_self()

        threading.Timer(0.1, wake).start()
        await asyncio.sleep(3600)
        return time.monotonic() - woken[0]

    assert loop.run_until_complete(main()) >= 0.4
    loop.close()


# The rest of the loop


def test_stop_from_a_thread_comes_through(virtual: pyloop.PyLoop, clock: VirtualClock) -> None:
    clock.autojump = False
    virtual.call_later(1, print, "never")
    threading.Timer(0.03, lambda: virtual.call_soon_threadsafe(virtual.stop)).start()
    virtual.run_forever()
    assert virtual.time() == 0.0


def test_end_of_a_run_waits_for_the_executors_threads_without_a_time_out() -> None:
    # asyncio.run grants them 300 seconds, which a clock that jumps would spend in an instant, with a warning.
    done = python(
        "pyloop",
        """
import threading, time, warnings
from pyloop.testing import VirtualClock
warnings.simplefilter("error")
loop = pyloop.PyLoop(clock=VirtualClock())
started = threading.Event()
def work():
    started.set()
    time.sleep(0.2)
    print("worked")
async def main():
    future = loop.run_in_executor(None, work)
    started.wait()
    future.cancel()
    await asyncio.sleep(0)
loop.run_until_complete(main())
import sys
loop.run_until_complete(loop.shutdown_default_executor(*([300] if sys.version_info >= (3, 12) else [])))
print(loop.time())
loop.close()
""",
    )
    assert (done.stdout.split(), done.stderr) == (["worked", "0.0"], "")


def test_debug_mode_measures_slow_callbacks_in_real_time(
    virtual: pyloop.PyLoop, caplog: pytest.LogCaptureFixture
) -> None:
    virtual.set_debug(True)
    virtual.run_until_complete(asyncio.sleep(3600))
    assert not [record for record in caplog.records if "took" in record.getMessage()]
    caplog.clear()


def test_unfinished_advance_keeps_no_loop_alive() -> None:
    def make() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        clock = VirtualClock()
        loop = pyloop.PyLoop(clock=clock)
        clock.advance(5)
        loop.close()
        return weakref.ref(loop), weakref.ref(clock)

    references = make()
    for _ in range(3):
        gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_real_and_virtual_loops_live_side_by_side(loop_factory: LoopFactory) -> None:
    real = loop_factory()
    virtual = pyloop.PyLoop(clock=VirtualClock())
    finished: list[Callable[[], float]] = []
    virtual.run_until_complete(asyncio.sleep(3600))
    real.run_until_complete(asyncio.sleep(0.001))
    finished.append(real.time)
    assert abs(finished[0]() - time.monotonic()) < SOON
    assert virtual.time() == 3600.0
    virtual.close()
    real.close()
