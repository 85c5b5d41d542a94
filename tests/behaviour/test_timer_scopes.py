"""`pyloop.timers.TimerScope`: the timers of one owner, on stock asyncio and on pyloop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pyloop.timers import (
    InvalidRegistration,
    MissedTick,
    NotAttached,
    TimerExists,
    TimerFired,
    TimerNotFound,
    TimerRegistration,
    TimerScope,
)

from .support import Loop, run, until


def test_a_one_shot_fires_once_with_all_it_was_registered_with(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            before = loop.time()
            scope.register_one_shot("once", 0.002, {"a": 1})
            fired = await scope.recv()
            match fired:
                case TimerFired(owner="owner", timer_name="once", sequence=0, callback_data={"a": 1}):
                    assert fired.fired_at >= fired.scheduled_at >= before + 0.002
                case _:
                    raise AssertionError(fired)
            assert scope.list_timers() == []
            scope.register_one_shot("once", 0)
            assert (await scope.recv()) is not None

    run(loop, main())


def test_a_periodic_timer_keeps_its_schedule(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope(None) as scope:
            scope.register_periodic("tick", 0.002, due_time=0)
            fired = [await scope.recv() for _ in range(20)]
            start = fired[0].scheduled_at  # type: ignore[union-attr]
            assert [item.scheduled_at for item in fired if item] == [start + n * 0.002 for n in range(20)]
            assert [item.sequence for item in fired if item] == list(range(20))

    run(loop, main())


def test_the_iterator_ends_with_the_scope(loop: Loop) -> None:
    async def main() -> list[int]:
        numbers = []
        scope = TimerScope("owner")
        scope.attach()
        scope.register_periodic("tick", 0.001)
        async for fired in scope:
            numbers.append(fired.sequence)
            if len(numbers) == 3:
                scope.detach()
        return numbers

    assert run(loop, main()) == [0, 1, 2]


def test_detaching_wakes_who_waits(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            waiting = [asyncio.ensure_future(scope.recv()) for _ in range(3)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*waiting) == [None, None, None]

    run(loop, main())


def test_messages_go_to_a_queue(loop: Loop) -> None:
    async def main() -> None:
        mailbox: asyncio.Queue[Any] = asyncio.Queue()
        async with TimerScope("owner", mailbox) as scope:
            scope.register_one_shot("a", 0.001, 1)
            scope.register_periodic("b", 0.003)
            assert [(await mailbox.get()).timer_name for _ in range(3)] == ["a", "b", "b"]
            with pytest.raises(RuntimeError, match="mailbox"):
                await scope.recv()

    run(loop, main())


def test_a_full_queue_gets_what_the_policy_says(loop: Loop) -> None:
    async def received(missed: MissedTick) -> list[int]:
        mailbox: asyncio.Queue[TimerFired] = asyncio.Queue(1)
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.01, due_time=0, missed=missed)
            await until(mailbox.full)
            await asyncio.sleep(0.075)
            assert mailbox.qsize() == 1
            return [(await mailbox.get()).sequence for _ in range(5)]

    async def main() -> None:
        assert await received(MissedTick.BURST) == [0, 1, 2, 3, 4]
        skipped = await received(MissedTick.SKIP)
        # Tick 1 waited for room all the time; then the schedule went on where the clock was.
        assert skipped[:2] == [0, 1]
        assert skipped[2] >= 7
        assert await received(MissedTick.DELAY) == [0, 1, 2, 3, 4]

    run(loop, main())


def test_an_unread_queue_does_not_grow_for_ever(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyloop.timers._mailbox.MOST_UNREAD", 10)

    async def main() -> None:
        mailbox: asyncio.Queue[TimerFired] = asyncio.Queue()
        async with TimerScope("owner", mailbox) as scope:
            scope.register_periodic("tick", 0.0005)
            await until(lambda: mailbox.qsize() == 10)
            await asyncio.sleep(0.02)
            assert mailbox.qsize() == 10
            for _ in range(15):
                await mailbox.get()

    run(loop, main())


def test_messages_go_to_a_callback(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        seen: list[str] = []

        def callback(fired: TimerFired) -> None:
            seen.append(fired.timer_name)
            if fired.timer_name == "bad":
                raise ValueError("on purpose")

        async with TimerScope("owner", callback) as scope:
            scope.register_periodic("bad", 0.001)
            scope.register_periodic("good", 0.001)
            await until(lambda: seen.count("bad") >= 3 and seen.count("good") >= 3)
        assert len(reports) == seen.count("bad")
        assert {report["timer"] for report in reports} == {"bad"}

    run(loop, main())


def test_a_coroutine_of_a_callback_is_awaited_before_the_next_firing(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        running, most, numbers = 0, 0, []

        async def callback(fired: TimerFired) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            numbers.append(fired.sequence)
            await asyncio.sleep(0.01)
            running -= 1
            if fired.sequence == 0:
                raise ValueError("on purpose")

        async with TimerScope("owner", callback) as scope:
            scope.register_periodic("tick", 0.001, missed=MissedTick.SKIP)
            await until(lambda: len(numbers) >= 4)
        assert most == 1
        # Every coroutine takes ten intervals: what it missed is left out.
        assert numbers == sorted(set(numbers))
        assert numbers[3] > 10
        assert len(reports) == 1

    run(loop, main())


def test_a_callback_can_unregister_its_timer(loop: Loop) -> None:
    async def main() -> None:
        seen: list[int] = []

        async def callback(fired: TimerFired) -> None:
            scope.unregister_timer("tick")
            await asyncio.sleep(0)
            seen.append(fired.sequence)

        async with TimerScope("owner", callback) as scope:
            scope.register_periodic("tick", 0.001)
            await until(lambda: seen)
            await asyncio.sleep(0.005)
        assert seen == [0]

    run(loop, main())


def test_nothing_arrives_after_unregistering_pausing_cancelling_or_detaching(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            for end in (
                lambda: scope.unregister_timer("a"),
                scope.cancel_all,
                scope.pause,
                lambda: (scope.detach(), scope.attach()),
            ):
                with contextlib.suppress(TimerNotFound):
                    scope.unregister_timer("a")
                scope.register_one_shot("a", 0)
                await asyncio.sleep(0.005)  # Long due, and not received.
                end()
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(scope.recv(), 0.005)

    run(loop, main())


def test_an_exception_leaves_no_timer(loop: Loop) -> None:
    async def main() -> None:
        fired: list[TimerFired] = []
        scope = TimerScope("owner", fired.append)
        with pytest.raises(ZeroDivisionError):
            async with scope:
                scope.register_periodic("a", 0.001)
                scope.register_one_shot("b", 0.001)
                raise ZeroDivisionError
        await asyncio.sleep(0.01)
        assert fired == []
        assert scope.list_timers() == []
        assert not scope.attached
        async with scope:
            scope.register_one_shot("b", 0)
            await until(lambda: fired)

    run(loop, main())


def test_a_detached_scope_refuses_everything(loop: Loop) -> None:
    async def main() -> None:
        scope = TimerScope("owner")
        for attempt in (
            lambda: scope.register_one_shot("a", 1),
            lambda: scope.register_periodic("a", 1),
            lambda: scope.unregister_timer("a"),
            scope.cancel_all,
            scope.pause,
            scope.resume,
        ):
            with pytest.raises(NotAttached):
                attempt()
        assert await scope.recv() is None
        assert scope.list_timers() == []

    run(loop, main())


def test_names_are_unique_in_a_scope(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("one") as one, TimerScope("other") as other:
            one.register_one_shot("a", 3600)
            other.register_one_shot("a", 3600)
            with pytest.raises(TimerExists):
                one.register_periodic("a", 1)
            for attempt in (one.unregister_timer, one.pause, one.resume):
                with pytest.raises(TimerNotFound):
                    attempt("b")
            one.unregister_timer("a")
            one.register_one_shot("a", 3600)

    run(loop, main())


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": None},
        {"name": "a", "interval": 0},
        {"name": "a", "interval": -1},
        {"name": "a", "interval": math.nan},
        {"name": "a", "due_time": -1},
        {"name": "a", "due_time": math.nan},
    ],
)
def test_bad_registrations_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRegistration):
        TimerRegistration(**arguments)


@pytest.mark.parametrize("arguments", [{"missed": "skip"}, {"lock": 3}, {"interval": "1"}])
def test_registrations_of_other_types_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        TimerRegistration("a", **arguments)


def test_a_paused_timer_keeps_its_remaining_time(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            scope.register_periodic("a", 0.3)
            await asyncio.sleep(0.01)
            scope.pause("a")
            (info,) = scope.list_timers()
            assert info.paused
            assert 0 < info.remaining <= 0.29
            await asyncio.sleep(0.01)
            scope.pause()
            assert scope.list_timers() == [info]
            before = loop.time()
            scope.resume()
            scope.resume("a")
            fired = await scope.recv()
            assert fired is not None
            assert fired.scheduled_at - before == pytest.approx(info.remaining, abs=0.05)

    run(loop, main())


class Locks:
    """Locks by key, as a lock server has them: each is had once, by whoever asks first."""

    def __init__(self) -> None:
        self.taken: dict[str, object] = {}

    def of(self, machine: str) -> Any:
        locks = self

        class Lock:
            def __init__(self, key: str) -> None:
                self.key = key

            async def acquire(self, blocking: bool = True) -> bool:
                assert not blocking
                await asyncio.sleep(0)
                return locks.taken.setdefault(self.key, self) is self

            async def release(self) -> None:
                if locks.taken.get(self.key) is self:
                    del locks.taken[self.key]

        return Lock


def test_a_locked_tick_runs_on_one_machine(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        locks = Locks()
        ran: list[tuple[str, int]] = []

        def callback(machine: str) -> Any:
            return lambda fired: ran.append((machine, round(time.time() / 0.05)))

        async with contextlib.AsyncExitStack() as stack:
            for machine in ("a", "b", "c"):
                scope = await stack.enter_async_context(TimerScope(machine, callback(machine)))
                scope.register_periodic("tick", 0.05, lock=locks.of(machine))
            await until(lambda: len(ran) >= 6)
        ticks = [tick for _, tick in ran]
        assert len(ticks) == len(set(ticks)), ran
        assert all(key.startswith("tick/") for key in locks.taken)
        # Each lock is given back when its tick is over.
        await until(lambda: not locks.taken)

    run(loop, main())
    # A busy machine's lock may not answer in time.
    assert {type(report["exception"]) for report in reports} <= {asyncio.TimeoutError}


def test_locks_that_end_within_an_interval_are_warned_of(
    loop: Loop, reports: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    made = 0

    class Short:
        timeout = 0.01

        def __init__(self, key: str) -> None:
            nonlocal made
            made += 1

        async def acquire(self, blocking: bool = True) -> bool:
            return True

        async def release(self) -> None: ...

    async def main() -> None:
        async with TimerScope("owner", lambda fired: None) as scope:
            scope.register_periodic("tick", 0.02, lock=Short)
            await until(lambda: made >= 3)

    run(loop, main())
    warned = [record.getMessage() for record in caplog.records if record.name == "pyloop.timers"]
    assert len(warned) == 1
    assert "'tick': a tick may run twice" in warned[0]
    assert {type(report["exception"]) for report in reports} <= {asyncio.TimeoutError}


def test_locks_that_fail_or_hang_leave_other_timers_alone(loop: Loop, reports: list[dict[str, Any]]) -> None:
    def failing(key: str) -> Any:
        raise OSError("no server")

    class Hanging:
        def __init__(self, key: str) -> None: ...

        async def acquire(self, blocking: bool = True) -> bool:
            await asyncio.sleep(3600)
            return True

        async def release(self) -> None: ...

    async def main() -> None:
        seen: list[str] = []
        async with TimerScope("owner", lambda fired: seen.append(fired.timer_name)) as scope:
            scope.register_periodic("failing", 0.01, lock=failing)
            scope.register_periodic("hanging", 0.02, lock=Hanging)
            scope.register_periodic("no lock", 0.01, lock=lambda key: 3)
            scope.register_periodic("plain", 0.005)
            await until(lambda: {report["timer"] for report in reports} == {"failing", "hanging", "no lock"})
            count = len(seen)
            await until(lambda: len(seen) >= count + 3)
        assert set(seen) == {"plain"}
        kinds = {type(report["exception"]) for report in reports}
        assert kinds == {OSError, asyncio.TimeoutError, TypeError}
        assert any("a lock has acquire() and release()" in str(report["exception"]) for report in reports)

    run(loop, main())


def test_asyncios_own_locks_and_context_managers_are_understood(loop: Loop) -> None:
    async def main() -> None:
        seen: list[str] = []
        shared = asyncio.Lock()
        entered = 0

        @contextlib.asynccontextmanager
        async def manager(key: str) -> AsyncIterator[bool]:
            nonlocal entered
            entered += 1
            yield entered % 2 == 1

        async with TimerScope("owner", lambda fired: seen.append(fired.timer_name)) as scope:
            scope.register_periodic("lock", 0.02, lock=lambda key: shared)
            scope.register_periodic("manager", 0.02, lock=manager)
            await until(lambda: {"lock", "manager"} <= set(seen) and entered >= 4)
        assert seen.count("manager") <= (entered + 1) // 2

    run(loop, main())


def test_two_waiting_receivers_share_what_fires(loop: Loop) -> None:
    async def main() -> None:
        async with TimerScope("owner") as scope:
            waiting = [asyncio.ensure_future(scope.recv()) for _ in range(2)]
            await asyncio.sleep(0)
            scope.register_one_shot("a", 0)
            scope.register_one_shot("b", 0)
            fired = await asyncio.gather(*waiting)
            assert sorted(item.timer_name for item in fired if item) == ["a", "b"]

    run(loop, main())
