"""A timer of a scope: what was registered, and how far its present turn is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import contextvars

    from ._alarms import Alarm
    from ._locks import Kept
    from ._messages import TimerRegistration
    from ._schedule import Schedule


class Timer:
    """A registered timer. Unregistered, it is `dead`: nothing of it is handed over any more."""

    __slots__ = (
        "alarm",
        "asked",
        "busy",
        "context",
        "dead",
        "kept",
        "number",
        "registration",
        "remaining",
        "reserved",
        "schedule",
        "since",
        "undelivered",
        "warned",
    )

    def __init__(self, registration: TimerRegistration, schedule: Schedule, context: contextvars.Context) -> None:
        self.registration = registration
        self.schedule = schedule
        self.context = context
        self.alarm: Alarm | None = None
        self.dead = False
        # Seconds until the next firing, of a paused timer; None of one that is not paused.
        self.remaining: float | None = None
        # When the firing was due that waited when the timer was paused: resuming moves the schedule.
        self.since: float | None = None
        # The mailbox's coroutine runs: whatever happens to the timer meanwhile, its next turn begins after that.
        self.busy = False
        # What waits for a lock or for room in a queue: a task that finds itself here no more was called off.
        self.undelivered: asyncio.Task[None] | None = None
        # Of a periodic timer with a lock: the number of the next common tick, that of the last one which is over or for
        # whose lock was asked, and that of the one whose lock we have.
        self.number: int | None = None
        self.asked: int | None = None
        self.reserved: int | None = None
        # The lock that was had last.
        self.kept: Kept | None = None
        # It was said that its locks end too early.
        self.warned = False

    @property
    def once(self) -> bool:
        return self.registration.interval is None

    @property
    def rests(self) -> bool:
        """Whether the timer's time goes on, and nothing brings its next turn yet."""
        return not self.dead and self.remaining is None and self.alarm is None

    def call_off(self) -> None:
        """Forgets the turn that has begun."""
        self.reserved = None
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None
        if self.undelivered is not None:
            # A task of a closed loop is never told.
            if not self.undelivered.get_loop().is_closed():
                self.undelivered.cancel()
            self.undelivered = None
