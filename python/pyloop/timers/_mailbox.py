"""Where the firings of a scope go: a queue, a callback, or the scope's own iterator."""

from __future__ import annotations

import asyncio
import inspect
import queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._messages import TimerFired

# So many messages in a queue without a bound of its own are a slow owner's: no more are added until it has read some.
MOST_UNREAD = 1024


class QueueMailbox:
    """Puts firings into an `asyncio.Queue`, or whatever has those of its methods that are used here."""

    METHODS = ("full", "maxsize", "put", "put_nowait", "qsize")

    def __init__(self, mailbox: asyncio.Queue[Any]) -> None:
        self._queue = mailbox

    def has_room(self) -> bool:
        """Whether a message can be handed over now."""
        return not self._queue.full() and (self.is_bounded() or self._queue.qsize() < MOST_UNREAD)

    def is_bounded(self) -> bool:
        """Whether `put()` waits until the queue has room."""
        return self._queue.maxsize > 0

    async def put(self, fired: TimerFired) -> None:
        """Hands a message over once there is room. Cancelled, it has handed over nothing."""
        await self._queue.put(fired)

    def deliver(self, fired: TimerFired) -> Awaitable[object] | None:
        """Hands a message over; there is room."""
        self._queue.put_nowait(fired)
        return None


class CallbackMailbox:
    """Calls a function with each firing; one that makes a coroutine is awaited before the timer's next firing."""

    def __init__(self, callback: Callable[[TimerFired], Any]) -> None:
        self._callback = callback

    def has_room(self) -> bool:
        """Always."""
        return True

    def deliver(self, fired: TimerFired) -> Awaitable[object] | None:
        """Calls the function; returns what remains to be awaited."""
        result = self._callback(fired)
        return result if inspect.isawaitable(result) else None


def mailbox_of(given: Any) -> QueueMailbox | CallbackMailbox | None:
    """The mailbox for what was given to a scope; None for its own iterator.

    Raises:
        TypeError: for what is neither a queue nor callable.
    """
    if given is None:
        return None
    if isinstance(given, (queue.Queue, queue.SimpleQueue)):
        raise TypeError(f"a mailbox is an asyncio.Queue or callable; {given!r} would block the loop")
    if all(hasattr(given, name) for name in QueueMailbox.METHODS):
        return QueueMailbox(given)
    if callable(given):
        return CallbackMailbox(given)
    raise TypeError(f"a mailbox is an asyncio.Queue or callable, not {given!r}")
