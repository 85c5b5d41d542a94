"""The event loop policy, for programs and frameworks that choose their loop through one.

Policies are deprecated from Python 3.14 on and gone in 3.16; prefer `pyloop.run()` or a `loop_factory`.
"""

from __future__ import annotations

import asyncio
from asyncio import unix_events

from ._loop import PyLoop


class EventLoopPolicy(unix_events._UnixDefaultEventLoopPolicy):
    """The interpreter's default policy, except that its loops are `PyLoop`s."""

    _loop_factory = PyLoop


def install() -> None:
    """Makes `PyLoop` the loop of everything that asks asyncio's policy for one.

    From Python 3.14 on asyncio warns that policies are deprecated.
    """
    asyncio.set_event_loop_policy(EventLoopPolicy())


def uninstall() -> None:
    """Goes back to asyncio's default policy, if the current one is pyloop's."""
    if isinstance(asyncio.get_event_loop_policy(), EventLoopPolicy):
        asyncio.set_event_loop_policy(None)
