"""`TimerManager`: many named timers with one stream of events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyloop._pyloop import ManagerHandle

from ._alarms import told
from ._errors import InvalidRegistration, ManagerClosed
from ._messages import TimerExpired
from ._schedule import Seconds, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self


class TimerManager:
    """Many named timers, set, replaced and cancelled by name, with one stream of events.

        async with TimerManager("sessions") as sessions:
            await sessions.set_timer("anna", 30.0)
            async for event in sessions:
                print(event.name, "has been idle")

    The timers are the Rust engine's; any loop and any thread may use one manager. Replacing or cancelling a timer is
    final: no event of an earlier incarnation is received afterwards, even if it had expired by then. Each event is
    received once. In a forked child the manager is closed: make another there.

    Args:
        name: Of the manager, for logs.
        heartbeat_interval: A tolerance in seconds. Zero expires each timer exactly; otherwise those that are due within
            one such time expire together at its end, never early.
        command_buffer_size: How many commands may wait to be carried out. The awaiting forms wait for a place.
        event_buffer_size: How many expired timers may wait to be received. Further ones wait in the wheel; none is
            lost.

    Raises:
        InvalidRegistration: for a tolerance that is negative or NaN, a buffer of less than one place, or a name with
            lone surrogates.
        OSError: if the system refuses the driver's thread.
    """

    def __init__(
        self,
        name: str = "timers",
        heartbeat_interval: Seconds = 0.0,
        command_buffer_size: int = 1024,
        event_buffer_size: int = 1024,
    ) -> None:
        if command_buffer_size < 1 or event_buffer_size < 1:
            raise InvalidRegistration("a buffer must have at least one place")
        tolerance = to_seconds(heartbeat_interval, "heartbeat_interval", positive=False)
        if isinstance(name, str):
            _check_text(name)
        self._name = name
        self._native = ManagerHandle(name, tolerance, command_buffer_size, event_buffer_size)

    @property
    def name(self) -> str:
        """The manager's name."""
        return self._name

    def __len__(self) -> int:
        """The number of timers that are set, those included whose event waits to be received."""
        return len(self._native)

    def __bool__(self) -> bool:
        # Not its length: a manager without timers is one all the same.
        return True

    def __repr__(self) -> str:
        state = "closed" if self.is_closed() else f"{len(self)} timers"
        return f"<{type(self).__name__} {self._name!r} {state}>"

    def is_closed(self) -> bool:
        """Returns whether commands are refused."""
        return self._native.is_closed()

    # Commands.

    async def set_timer(self, name: str, duration: Seconds) -> None:
        """Sets a timer to expire in so many seconds, or replaces the one of this name.

        Raises:
            ManagerClosed: if the manager is closed.
            InvalidRegistration: for a name that is empty or has lone surrogates, a negative or NaN duration.
        """
        seconds = _checked(name, duration)
        await self._send(lambda: self._native.try_set(name, seconds))

    def try_set_timer(self, name: str, duration: Seconds) -> None:
        """`set_timer()` without waiting.

        Raises:
            asyncio.QueueFull: if the command buffer has no place.
            ManagerClosed, InvalidRegistration: as `set_timer()`.
        """
        seconds = _checked(name, duration)
        self._try(self._native.try_set(name, seconds))

    async def cancel_timer(self, name: str) -> None:
        """Cancels the timer of this name, if there is one.

        Raises:
            ManagerClosed: if the manager is closed.
            InvalidRegistration: for a name that is empty or has lone surrogates.
        """
        _checked(name, 0)
        await self._send(lambda: self._native.try_cancel(name))

    def try_cancel_timer(self, name: str) -> None:
        """`cancel_timer()` without waiting.

        Raises:
            asyncio.QueueFull: if the command buffer has no place.
            ManagerClosed, InvalidRegistration: as `cancel_timer()`.
        """
        _checked(name, 0)
        self._try(self._native.try_cancel(name))

    async def cancel_all_timers(self) -> None:
        """Cancels all timers, however many.

        Raises:
            ManagerClosed: if the manager is closed.
        """
        await self._send(self._native.try_cancel_all)

    def try_cancel_all_timers(self) -> None:
        """`cancel_all_timers()` without waiting.

        Raises:
            asyncio.QueueFull: if the command buffer has no place.
            ManagerClosed: if the manager is closed.
        """
        self._try(self._native.try_cancel_all())

    async def shutdown(self) -> None:
        """Ends the manager after the commands before this one.

        Events of timers that are due by then are still received.

        Raises:
            ManagerClosed: if it was shut down before.
        """
        await self._send(self._native.try_shutdown)

    def try_shutdown(self) -> None:
        """`shutdown()` without waiting.

        Raises:
            asyncio.QueueFull: if the command buffer has no place.
            ManagerClosed: if it was shut down before.
        """
        self._try(self._native.try_shutdown())

    async def _send(self, attempt: Callable[[], bool | None]) -> None:
        while (accepted := attempt()) is False:
            await told(self._native.tell_of_place)
        if accepted is None:
            raise self._closed()

    def _try(self, accepted: bool | None) -> None:
        if accepted is None:
            raise self._closed()
        if not accepted:
            raise asyncio.QueueFull

    def _closed(self) -> ManagerClosed:
        if self._native.is_inherited():
            return ManagerClosed(f"the timer manager {self._name!r} is the parent's, and this process its fork")
        return ManagerClosed(f"the timer manager {self._name!r} is closed")

    # Events.

    async def recv_event(self) -> TimerExpired | None:
        """Waits for the next event; None once the manager is closed and all events are received.

        A call that is cancelled has taken nothing.

        Raises:
            ManagerClosed: in a forked child of the process that made the manager.
        """
        while (name := self._native.try_recv()) is None:
            try:
                await told(self._native.tell_of_event)
            except BaseException:
                # It may have been this call that was told of an event.
                self._native.tell_next_receiver()
                raise
        if name is not False:
            return TimerExpired(name)
        if self._native.is_inherited():
            raise self._closed()
        return None

    def try_recv_event(self) -> TimerExpired:
        """Takes the next event without waiting.

        Raises:
            asyncio.QueueEmpty: if no timer has expired.
            ManagerClosed: if the manager is closed and all events are received.
        """
        name = self._native.try_recv()
        if name is None:
            raise asyncio.QueueEmpty
        if name is False:
            raise self._closed()
        return TimerExpired(name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TimerExpired:
        event = await self.recv_event()
        if event is None:
            raise StopAsyncIteration
        return event

    # As a context.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Needs no place in the command buffer, and so no waiting that a cancellation could cut short.
        self._native.stop()


def _checked(name: str, duration: Seconds) -> float:
    if not isinstance(name, str) or not name:
        raise InvalidRegistration(f"the name of a timer must be text and not empty, not {name!r}")
    _check_text(name)
    return to_seconds(duration, "duration", positive=False)


def _check_text(name: str) -> None:
    if name.isascii():
        return
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidRegistration(f"a name must be encodable: {error}") from None
