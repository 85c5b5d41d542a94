"""One deadline on any loop: the loop's own timers if it is a `PyLoop`, else the driver's."""

from __future__ import annotations

import contextvars
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from pyloop._pyloop import DriverPort, LoopCore

if TYPE_CHECKING:
    import asyncio
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


class _PortAlarm:
    __slots__ = ("_number", "_port")

    def __init__(self, port: _Port, number: int) -> None:
        self._port = port
        self._number = number

    def cancel(self) -> None:
        self._port.disarm(self._number)


class _Port:
    """The driver's way into a loop that is not ours: a descriptor that the loop watches while deadlines are armed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak, since the registry of ports must not keep loops alive; strong in the reader while something is armed.
        self._loop = weakref.ref(loop)
        self._native = DriverPort()
        self._armed: dict[int, tuple[float, Callable[[], object], contextvars.Context]] = {}
        self._watched = False

    def arm(self, when: float, callback: Callable[[], object]) -> _PortAlarm:
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise RuntimeError("Event loop is closed")
        if not self._watched:
            loop.add_reader(self._native.fileno(), self._due, loop)
            self._watched = True
        return _PortAlarm(self, self._file(loop, when, callback, contextvars.copy_context()))

    def _file(
        self,
        loop: asyncio.AbstractEventLoop,
        when: float,
        callback: Callable[[], object],
        context: contextvars.Context,
    ) -> int:
        number = self._native.arm(max(0.0, when - loop.time()))
        self._armed[number] = when, callback, context
        return number

    def disarm(self, number: int) -> None:
        if self._armed.pop(number, None) is not None:
            self._native.disarm(number)

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for number in self._native.take_due():
            armed = self._armed.pop(number, None)
            if armed is None:
                continue  # Cancelled after it was told.
            when, callback, context = armed
            if when > now:
                # The loop's clock is coarser than the driver's, or another one.
                self._file(loop, when, callback, context)
            else:
                # A callback of its own for each: what one raises is reported, and the others run.
                loop.call_soon(callback, context=context)
        if not self._armed:
            loop.remove_reader(self._native.fileno())
            self._watched = False


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
