"""`pyloop.timers.TimerManager`, on stock asyncio and on pyloop: the driver waits, any loop receives."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time

import pytest
from pyloop.timers import InvalidRegistration, ManagerClosed, TimerExpired, TimerManager

from .support import Loop, LoopFactory, run, thread_running, turns


def test_a_timer_expires_on_time(loop: Loop) -> None:
    async def main() -> float:
        async with TimerManager() as manager:
            start = time.monotonic()
            await manager.set_timer("a", 0.01)
            assert await manager.recv_event() == TimerExpired("a")
            return time.monotonic() - start

    assert run(loop, main()) >= 0.01


def test_a_loop_in_debug_mode_is_told_by_the_drivers_thread(loop: Loop) -> None:
    # There is no Python code on that thread to say where a callback was made.
    loop.set_debug(True)

    async def main() -> None:
        async with TimerManager(command_buffer_size=1) as manager:
            for name in ("a", "b", "c"):
                await manager.set_timer(name, 0.01)
            names = {(await asyncio.wait_for(manager.recv_event(), 20)) for _ in range(3)}
            assert names == {TimerExpired("a"), TimerExpired("b"), TimerExpired("c")}

    run(loop, main())


def test_events_come_in_the_order_of_their_deadlines(loop: Loop) -> None:
    async def main() -> list[str]:
        names = []
        async with TimerManager() as manager:
            for index in reversed(range(50)):
                await manager.set_timer(f"{index:02}", 0.02 + index * 0.002)
            async for event in manager:
                names.append(event.name)
                if len(names) == 50:
                    return names
        raise AssertionError

    names = run(loop, main())
    assert names == sorted(names)


def test_expired_timers_that_are_cancelled_or_replaced_are_not_received(loop: Loop) -> None:
    async def main() -> None:
        async with TimerManager() as manager, TimerManager() as later:
            for name in ("a", "b", "c", "d"):
                await manager.set_timer(name, 0)
            # The driver serves earlier deadlines first.
            await later.set_timer("later", 0.02)
            await later.recv_event()
            await manager.cancel_timer("a")
            await manager.set_timer("b", 0.02)
            assert manager.try_recv_event() == TimerExpired("c")
            assert manager.try_recv_event() == TimerExpired("d")
            with pytest.raises(asyncio.QueueEmpty):
                manager.try_recv_event()
            assert await manager.recv_event() == TimerExpired("b")
            await manager.set_timer("e", 0)
            await later.set_timer("later", 0.02)
            await later.recv_event()
            await manager.cancel_all_timers()
            with pytest.raises(asyncio.QueueEmpty):
                manager.try_recv_event()
            assert len(manager) == 0

    run(loop, main())


def test_cancelled_receivers_lose_no_event(loop: Loop) -> None:
    async def main() -> None:
        rng = random.Random(3)
        received = []
        async with TimerManager() as manager:
            for index in range(300):
                await manager.set_timer(f"{index}", rng.random() * 0.05)
            while len(received) < 300:
                try:
                    event = await asyncio.wait_for(manager.recv_event(), rng.random() * 0.0005)
                except asyncio.TimeoutError:
                    continue
                assert event is not None
                received.append(event.name)
        assert sorted(received, key=int) == [f"{index}" for index in range(300)]

    run(loop, main())


def test_a_cancelled_receiver_passes_what_it_was_told_on(loop: Loop) -> None:
    async def main() -> None:
        async with TimerManager() as manager:
            for _ in range(50):
                first = asyncio.ensure_future(manager.recv_event())
                second = asyncio.ensure_future(manager.recv_event())
                await turns(2)
                await manager.set_timer("a", 0.0005)
                await asyncio.sleep(random.random() * 0.001)
                first.cancel()
                done = await asyncio.wait_for(asyncio.gather(first, return_exceptions=True), 10)
                if not isinstance(done[0], asyncio.CancelledError):
                    second.cancel()
                    await asyncio.wait([second])
                else:
                    assert await second == TimerExpired("a")

    run(loop, main())


def test_a_full_event_buffer_loses_nothing(loop: Loop) -> None:
    async def main() -> list[str]:
        async with TimerManager(event_buffer_size=2) as manager:
            for index in range(500):
                await manager.set_timer(f"{index}", index % 7 * 0.001)
            while len(names := names_of(manager, [])) == 0:
                await asyncio.sleep(0.001)
            while len(names) < 500:
                await asyncio.sleep(0.001)
                names_of(manager, names)
            return names

    def names_of(manager: TimerManager, names: list[str]) -> list[str]:
        while True:
            try:
                names.append(manager.try_recv_event().name)
            except asyncio.QueueEmpty:
                return names

    assert sorted(run(loop, main()), key=int) == [f"{index}" for index in range(500)]


def test_a_full_command_buffer_is_waited_for_or_raises(loop: Loop) -> None:
    async def main() -> None:
        async with TimerManager(command_buffer_size=1) as manager:
            refused = count = 0
            # On a busy machine the manager's thread may take each command before the next one comes, for a while.
            until = time.monotonic() + 30
            while count < 2000 or (not refused and time.monotonic() < until):
                try:
                    manager.try_set_timer(f"{count}", 3600)
                except asyncio.QueueFull:
                    refused += 1
                    await manager.set_timer(f"{count}", 3600)
                count += 1
            assert len(manager) == count
            assert refused > 0

    run(loop, main())


def test_shutdown_leaves_pending_events_and_refuses_commands(loop: Loop) -> None:
    async def main() -> None:
        manager = TimerManager("sessions")
        await manager.set_timer("a", 0)
        await manager.set_timer("later", 3600)
        await manager.shutdown()
        assert [event.name async for event in manager] == ["a"]
        assert await manager.recv_event() is None
        assert manager.is_closed()
        for attempt in (
            lambda: manager.try_set_timer("b", 1),
            lambda: manager.try_cancel_timer("b"),
            manager.try_cancel_all_timers,
            manager.try_shutdown,
            manager.try_recv_event,
        ):
            with pytest.raises(ManagerClosed):
                attempt()
        for coroutine in (manager.set_timer("b", 1), manager.cancel_all_timers(), manager.shutdown()):
            with pytest.raises(ManagerClosed):
                await coroutine
        assert "closed" in repr(manager)

    run(loop, main())


def test_commands_are_refused_as_soon_as_the_block_is_left(loop: Loop) -> None:
    async def main() -> None:
        for _ in range(200):
            async with TimerManager("brief") as manager:
                await manager.set_timer("later", 3600)
            assert manager.is_closed()
            assert "closed" in repr(manager)
            with pytest.raises(ManagerClosed):
                manager.try_set_timer("later", 0)
            with pytest.raises(ManagerClosed):
                await manager.set_timer("later", 0)
            assert await manager.recv_event() is None

    run(loop, main())


def test_leaving_the_block_ends_waiting_receivers(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with TimerManager() as manager:
                waiting = asyncio.ensure_future(manager.recv_event())
                await manager.set_timer("later", 3600)
                await turns(2)
                raise ZeroDivisionError
        assert await waiting is None

    run(loop, main())


@pytest.mark.parametrize("name", ["", None, 3, "\udc80"])
def test_bad_names_are_refused(loop: Loop, name: str) -> None:
    async def main() -> None:
        async with TimerManager() as manager:
            with pytest.raises(InvalidRegistration):
                await manager.set_timer(name, 1)
            with pytest.raises(InvalidRegistration):
                manager.try_cancel_timer(name)

    run(loop, main())


@pytest.mark.parametrize("duration", [-1, math.nan, -math.inf])
def test_bad_durations_are_refused(loop: Loop, duration: float) -> None:
    async def main() -> None:
        async with TimerManager() as manager:
            with pytest.raises(InvalidRegistration):
                await manager.set_timer("a", duration)
            await manager.set_timer("never", math.inf)
            assert len(manager) == 1

    run(loop, main())


def test_bad_managers_are_refused() -> None:
    for arguments in (
        {"heartbeat_interval": -1},
        {"command_buffer_size": 0},
        {"event_buffer_size": 0},
        {"name": "\udc80"},
    ):
        with pytest.raises(InvalidRegistration):
            TimerManager(**arguments)  # type: ignore[arg-type]


def test_a_tolerance_delivers_together(loop: Loop) -> None:
    async def main() -> None:
        async with TimerManager(heartbeat_interval=0.04) as manager:
            start = time.monotonic()
            for name, delay in (("c", 0.03), ("a", 0.01), ("b", 0.02)):
                await manager.set_timer(name, delay)
            assert await manager.recv_event() == TimerExpired("a")
            assert time.monotonic() - start >= 0.05
            assert manager.try_recv_event() == TimerExpired("b")
            assert manager.try_recv_event() == TimerExpired("c")

    run(loop, main())


def test_nothing_cancelled_or_replaced_is_received_under_stress() -> None:
    # All commands have a place, however the threads are scheduled.
    manager = TimerManager(command_buffer_size=20_000, event_buffer_size=8)
    wrong: list[str] = []
    expired = [0] * 3

    def command(thread: int) -> None:
        chance = random.Random(thread)
        own = f"thread {thread}"
        for _ in range(3000):
            # Due at any moment of what follows, and maybe in the event buffer by then.
            manager.try_set_timer(own, chance.random() * 0.0002)
            if chance.random() < 0.5:
                # Another thread may take the event meanwhile: before the cancellation, as it may.
                time.sleep(chance.random() * 0.0003)
            if chance.random() < 0.5:
                manager.try_set_timer(own, 3600)
            else:
                manager.try_cancel_timer(own)
            while True:
                try:
                    name = manager.try_recv_event().name
                except asyncio.QueueEmpty:
                    break
                expired[thread] += 1
                if name == own:
                    wrong.append(own)
        manager.try_cancel_timer(own)

    threads = [threading.Thread(target=command, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    assert not len(manager)
    manager.try_shutdown()
    assert not wrong
    # Events there were: the threads received each other's.
    assert sum(expired) > 10


def test_threads_share_a_manager(loop_factory: LoopFactory) -> None:
    manager = TimerManager()
    received: list[str] = []

    async def receive() -> None:
        async for event in manager:
            received.append(event.name)

    async def send(thread: int) -> None:
        for index in range(200):
            await manager.set_timer(f"{thread}.{index}", index % 5 * 0.001)

    def in_a_loop(coroutine: object) -> None:
        loop = loop_factory()
        loop.run_until_complete(coroutine)  # type: ignore[arg-type]
        loop.close()

    with thread_running(lambda: in_a_loop(receive())):
        senders = [threading.Thread(target=in_a_loop, args=(send(thread),)) for thread in range(3)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(20)
        deadline = time.monotonic() + 20
        while len(manager) and time.monotonic() < deadline:
            time.sleep(0.001)
        manager.try_shutdown()
    assert len(received) == len(set(received)) == 600
