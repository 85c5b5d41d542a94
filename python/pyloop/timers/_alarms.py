"""What a loop waits for: a deadline, by its own timers or the driver's, or the driver's word that work is done."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
import weakref
from asyncio import base_events
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pyloop._pyloop import DriverPort, LoopCore

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm(Protocol):
    """What can be cancelled: nothing runs after that."""

    def cancel(self) -> None:
        """Cancels the callback and lets go of it."""


def alarm_at(loop: asyncio.AbstractEventLoop, when: float, callback: Callable[[], object]) -> Alarm:
    """Runs the callback in the loop, not before `loop.time()` has reached `when`. For the loop's thread."""
    if isinstance(loop, LoopCore):
        return loop.call_at(when, callback)
    return _port_of(loop).arm(when, callback)


async def told(begin: Callable[[DriverPort], int]) -> None:
    """Waits until the driver tells what `begin` has it watch, on any loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    alarm = _port_of(loop).watch(begin, functools.partial(finish, future))
    try:
        await future
    finally:
        alarm.cancel()


def finish(future: asyncio.Future[None]) -> None:
    """Resolves a future, unless it is done."""
    if not future.done():
        future.set_result(None)


class _PortAlarm:
    __slots__ = ("handle", "number", "port")

    def __init__(self, port: _Port, number: int = 0) -> None:
        self.port = port
        # The driver's number of the wait: another one each time that the loop's clock asks for a further wait.
        self.number = number
        # Of the callback, once the driver has told: until it runs it can be cancelled.
        self.handle: asyncio.Handle | None = None

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
        else:
            self.port.disarm(self.number)


class _Entry(NamedTuple):
    when: float
    callback: Callable[[], object]
    context: contextvars.Context
    alarm: _PortAlarm


class _Armed:
    """What a port tells of, by number, and the descriptor by which it does.

    Only the loop's reader holds it: callbacks mostly lead back to the loop.
    """

    __slots__ = ("__weakref__", "alarms", "native", "watches")

    def __init__(self) -> None:
        # Dropped, it disarms all that it was to tell of.
        self.native = DriverPort()
        self.alarms: dict[int, _Entry] = {}
        # These run inside of the reader: they only resolve futures.
        self.watches: dict[int, Callable[[], object]] = {}


class _Port:
    """The driver's way into a loop: a descriptor that the loop watches from the first use to its end.

    The registry of ports holds it for as long as the loop lives. So it refers weakly to the loop and to what is armed:
    these, and the descriptor, end when the loop is closed and forgets its readers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._armed: Callable[[], _Armed | None] = _nothing

    def arm(self, when: float, callback: Callable[[], object]) -> _PortAlarm:
        loop, armed = self._watched()
        alarm = _PortAlarm(self)
        self._file(loop, armed, _Entry(when, callback, contextvars.copy_context(), alarm))
        return alarm

    def watch(self, begin: Callable[[DriverPort], int], callback: Callable[[], object]) -> _PortAlarm:
        _, armed = self._watched()
        number = begin(armed.native)
        armed.watches[number] = callback
        return _PortAlarm(self, number)

    def _watched(self) -> tuple[asyncio.AbstractEventLoop, _Armed]:
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise RuntimeError("Event loop is closed")
        armed = self._armed()
        if armed is None:
            armed = _Armed()
            loop.add_reader(armed.native.fileno(), self._due, armed)
            self._armed = weakref.ref(armed)
        return loop, armed

    def _file(self, loop: asyncio.AbstractEventLoop, armed: _Armed, entry: _Entry) -> None:
        # asyncio's own clock is the driver's: to the last digit. Another one is asked how much is left.
        when = entry.when if _is_monotonic(loop) else time.monotonic() + max(0.0, entry.when - loop.time())
        entry.alarm.number = armed.native.arm(when)
        armed.alarms[entry.alarm.number] = entry

    def disarm(self, number: int) -> None:
        armed = self._armed()
        if armed is not None:
            armed.alarms.pop(number, None)
            armed.watches.pop(number, None)
            armed.native.disarm(number)

    def _due(self, armed: _Armed) -> None:
        loop = self._loop()
        if loop is None:
            return
        due: list[tuple[float, int, _Entry]] = []
        for number in armed.native.take_due():
            watch = armed.watches.pop(number, None)
            if watch is not None:
                watch()
                continue
            entry = armed.alarms.pop(number, None)
            if entry is not None:  # None was cancelled after it was told.
                due.append((entry.when, number, entry))
        if not _is_monotonic(loop):
            # What is left was asked for at different moments: the driver's order may be another than the deadlines'.
            due.sort()
        now = loop.time()
        for when, _, entry in due:
            if when > now:
                # The loop's clock is coarser than the driver's, or another one.
                self._file(loop, armed, entry)
            else:
                # A callback of its own for each: what one raises is reported, and the others run.
                entry.alarm.handle = loop.call_soon(entry.callback, context=entry.context)


def _nothing() -> None:
    return None


def _is_monotonic(loop: asyncio.AbstractEventLoop) -> bool:
    return getattr(loop.time, "__func__", None) is base_events.BaseEventLoop.time


_ports: weakref.WeakKeyDictionary[Any, _Port] = weakref.WeakKeyDictionary()
_ports_lock = threading.Lock()


def _port_of(loop: asyncio.AbstractEventLoop) -> _Port:
    port = _ports.get(loop)
    if port is None:
        made = _Port(loop)
        # Loops of other threads change the registry, too.
        with _ports_lock:
            port = _ports.setdefault(loop, made)
    return port
