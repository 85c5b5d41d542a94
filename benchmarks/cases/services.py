"""Cases of `pyloop.timers`, which works on every loop: named timers, periodic timers, how late they are, idleness.

On a loop that is not pyloop's the driver's thread waits for the deadlines, and its processor time counts.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

from benchmarks.measure import early_faults, percentile, run_coroutine, thread_count
from benchmarks.model import Case, LoopFactory, Metric, Sample, Target, WrongResult

# Operations that one figure is of, at least: few names are used many times over.
OPERATIONS = 50_000
EVENTS = 100_000
PERIODIC = 100
PERIOD = 0.005
# Each of the periodic timers ticks so often.
TICKS = 100
LATENESS = 400
IDLE_TIMERS = 10_000
QUIET = 0.6


def _never() -> None:
    raise WrongResult("a timer fired that is far from due")


def _delay(number: int) -> float:
    return 3600.0 + (number % 10_000) * 0.01


class _Stretch:
    """Processor time of operations of one kind, in pieces."""

    def __init__(self) -> None:
        self._spent = 0
        self._operations = 0
        self._start = 0

    def begin(self) -> None:
        self._start = time.process_time_ns()

    def end(self, operations: int) -> None:
        self._spent += time.process_time_ns() - self._start
        self._operations += operations

    def each(self) -> float:
        """Nanoseconds per operation."""
        return self._spent / self._operations


async def _carried_out(manager: object) -> None:
    """Returns when the manager has carried all commands so far out: they are in order."""
    await manager.set_timer("probe", 0)  # type: ignore[attr-defined]
    event = await manager.recv_event()  # type: ignore[attr-defined]
    if event is None or event.name != "probe":
        raise WrongResult(f"{event} came instead of the probe")


async def _names_of_a_manager(names: list[str]) -> dict[str, float]:
    from pyloop.timers import TimerManager

    set_, replace, cancel = _Stretch(), _Stretch(), _Stretch()
    # Wall time: what is left of the timers is freed later, and keeps nobody waiting.
    cancelled: list[float] = []
    async with TimerManager("benchmark", 0, 1024, 1024) as manager:
        for _ in range(max(1, OPERATIONS // len(names))):
            set_.begin()
            for number, name in enumerate(names):
                await manager.set_timer(name, _delay(number))
            await _carried_out(manager)
            set_.end(len(names))
            if len(manager) != len(names):
                raise WrongResult(f"{len(manager)} of {len(names)} timers are set")
            replace.begin()
            for number, name in enumerate(names):
                await manager.set_timer(name, _delay(number + 1))
            await _carried_out(manager)
            replace.end(len(names))
            cancel.begin()
            for name in names[::2]:
                await manager.cancel_timer(name)
            await _carried_out(manager)
            cancel.end(len(names[::2]))
            start = time.perf_counter_ns()
            await manager.cancel_all_timers()
            cancelled.append((time.perf_counter_ns() - start) / 1e3)
            await _carried_out(manager)
            if len(manager):
                raise WrongResult(f"{len(manager)} timers are left")
    return {
        "set": set_.each(),
        "replace": replace.each(),
        "cancel": cancel.each(),
        "cancel_all": statistics.median(cancelled),
    }


def _names_of_a_dictionary(loop: asyncio.AbstractEventLoop, names: list[str]) -> dict[str, float]:
    """The same with the loop's own timers, as a program without managers does it."""
    set_, replace, cancel = _Stretch(), _Stretch(), _Stretch()
    handles: dict[str, asyncio.TimerHandle] = {}
    for _ in range(max(1, OPERATIONS // len(names))):
        set_.begin()
        for number, name in enumerate(names):
            handles[name] = loop.call_later(_delay(number), _never)
        set_.end(len(names))
        replace.begin()
        for number, name in enumerate(names):
            handles[name].cancel()
            handles[name] = loop.call_later(_delay(number + 1), _never)
        replace.end(len(names))
        cancel.begin()
        for name in names[::2]:
            handles.pop(name).cancel()
        cancel.end(len(names[::2]))
        for handle in handles.values():
            handle.cancel()
        handles.clear()
    return {"set_calls": set_.each(), "replace_calls": replace.each(), "cancel_calls": cancel.each()}


def names(count: int, factory: LoopFactory) -> Sample:
    """Sets, replaces and cancels so many named timers, with a manager and with a dictionary of the loop's handles."""
    values: dict[str, float] = {}
    all_names = [f"session {number}" for number in range(count)]

    async def main() -> None:
        values.update(await _names_of_a_manager(all_names))
        values.update(_names_of_a_dictionary(asyncio.get_running_loop(), all_names))

    run_coroutine(factory, main)
    return Sample(values)


def events(factory: LoopFactory) -> Sample:
    """Receives the events of timers that are due at once."""
    from pyloop.timers import TimerManager

    values: dict[str, float] = {}

    async def main() -> None:
        async with TimerManager("benchmark") as manager:
            for number in range(EVENTS):
                await manager.set_timer(f"session {number}", 0)
            cpu, wall = time.process_time_ns(), time.perf_counter()
            received = {(await manager.recv_event()).name for _ in range(EVENTS)}  # type: ignore[union-attr]
            values["rate"] = EVENTS / (time.perf_counter() - wall)
            values["cpu"] = (time.process_time_ns() - cpu) / EVENTS
            if len(received) != EVENTS:
                raise WrongResult(f"{len(received)} of {EVENTS} timers were received")

    run_coroutine(factory, main)
    return Sample(values)


def periodic(factory: LoopFactory) -> Sample:
    """Lets many periodic callbacks tick."""
    from pyloop.timers import call_every

    values: dict[str, float] = {}

    async def main() -> None:
        done = asyncio.get_running_loop().create_future()
        left = PERIODIC * TICKS

        def tick() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        cpu, wall = time.process_time_ns(), time.perf_counter()
        handles = [call_every(PERIOD, tick, first=PERIOD * number / PERIODIC) for number in range(PERIODIC)]
        await done
        values["cpu"] = (time.process_time_ns() - cpu) / (PERIODIC * TICKS)
        if time.perf_counter() - wall < PERIOD * (TICKS - 1):
            raise WrongResult("ticks came early")
        for handle in handles:
            handle.cancel()

    run_coroutine(factory, main)
    return Sample(values)


def _lateness(measure: Callable[[list[float]], object], factory: LoopFactory) -> Sample:
    lateness: list[float] = []
    run_coroutine(factory, lambda: measure(lateness))
    in_microseconds = [value * 1e6 for value in lateness]
    values = {"p50": percentile(in_microseconds, 0.5), "p99": percentile(in_microseconds, 0.99)}
    return Sample(values, early_faults(lateness))


async def _lateness_of_events(lateness: list[float]) -> None:
    """How late the event of a manager's only timer is received."""
    from pyloop.timers import TimerManager

    async with TimerManager("benchmark") as manager:
        for number in range(LATENESS):
            delay = 0.001 + (number * 0.007919331) % 0.002
            start = time.monotonic()
            await manager.set_timer("probe", delay)
            await manager.recv_event()
            lateness.append(time.monotonic() - start - delay)


async def _lateness_of_ticks(lateness: list[float]) -> None:
    """How late the ticks of an interval are."""
    import pyloop

    async for tick in pyloop.interval(0.0023):
        lateness.append(tick.lateness)
        if len(lateness) == LATENESS:
            return


def idle(factory: LoopFactory) -> Sample:
    """Counts how often any thread waited while a manager, a scope and an interval had only far timers."""
    from pyloop.timers import TimerManager, TimerScope, call_every

    values: dict[str, float] = {}

    async def main() -> None:
        async with TimerManager("benchmark") as manager, TimerScope("benchmark") as scope:
            scope.register_periodic("scope", 3600)
            handle = call_every(3600, _never)
            for number in range(IDLE_TIMERS):
                await manager.set_timer(f"session {number}", _delay(number))
            await _carried_out(manager)
            await manager.set_timer("probe", QUIET)
            waiting = asyncio.ensure_future(manager.recv_event())
            await asyncio.sleep(QUIET / 6)
            waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            await waiting
            values["waits"] = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - waits
            values["threads"] = thread_count()
            handle.cancel()

    run_coroutine(factory, main)
    return Sample(values)


def _names_case(count: int) -> Case:
    return Case(
        f"names.{count:.0e}".replace("e+0", "e"),
        f"{count:,} named timers of a TimerManager; beside it a dict of call_later handles",
        (
            Metric("set", "ns", beside="set_calls"),
            Metric("replace", "ns", beside="replace_calls"),
            Metric("cancel", "ns", beside="cancel_calls"),
            Metric("cancel_all", "us", Target(at_most=1000)),
        ),
        partial(names, count),
        quick=count < 1_000_000,
    )


def _lateness_case(name: str, what: str, measure: Callable[[list[float]], object]) -> Case:
    return Case(
        f"lateness.{name}",
        f"lateness of {what}",
        (Metric("p50", "us", Target(at_most=100)), Metric("p99", "us", Target(at_most=300))),
        partial(_lateness, measure),
    )


CASES = (
    *(_names_case(count) for count in (100, 10_000, 1_000_000)),
    Case(
        "events",
        f"{EVENTS:,} events of a TimerManager, received",
        (Metric("cpu", "ns"), Metric("rate", "/s", higher_is_better=True)),
        events,
    ),
    Case(
        "periodic",
        f"a tick of one of {PERIODIC} call_every callbacks",
        (Metric("cpu", "ns"),),
        periodic,
    ),
    _lateness_case("manager", "a manager's event, from set_timer to recv_event", _lateness_of_events),
    _lateness_case("interval", "the ticks of an interval of 2.3 ms", _lateness_of_ticks),
    Case(
        "idle.services",
        f"{IDLE_TIMERS:,} far timers of a manager, a scope, a periodic callback: waits until an event",
        (
            # The driver's, which is due, the loop's, which receives, and the loop's for the driver to leave Python.
            Metric("waits", "waits", Target(at_most=3), relative=False),
            Metric("threads", "threads", relative=False),
        ),
        idle,
    ),
)
