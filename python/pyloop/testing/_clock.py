"""`VirtualClock`: time that passes only when nothing else is to be done."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pyloop._pyloop import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self


class VirtualClock(VirtualTime):
    """A clock for `PyLoop(clock=...)` that jumps to the next deadline when the loop has nothing to do.

    `loop.time()`, `call_later`, `call_at`, `asyncio.sleep` and every time-out of the loop go by it, so that an hour of
    time-outs ends in milliseconds, in the order and at the times by `loop.time()` at which it would have ended.

    The loop is idle when nothing is ready, a look at its descriptors finds nothing, and no thread of an executor, name
    look-up or subprocess of this loop is in flight. What else may still come from outside, the loop cannot know: see
    `hold()`, `grace` and `autojump`.

    Attributes:
        autojump: whether an idle loop moves the clock to its next deadline by itself; without it only `advance()` and
            `jump()` do.
        grace: seconds of real time for which nothing may happen before the clock moves.
    """

    def __new__(cls, start: float = 0.0, *, autojump: bool = True, grace: float = 0.0) -> Self:
        return super().__new__(cls, start, autojump=autojump, grace=grace)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Stops the clock for the length of a `with` block: something is on its way that the loop cannot know of.

        Any thread may use it, and several at once. `advance()` waits for the end of the block.
        """
        self._hold()
        try:
            yield
        finally:
            self._release()

    def __repr__(self) -> str:
        state = ["autojump" if self.autojump else "moved by hand"]
        if self._holds:
            state.append("held")
        return f"<{type(self).__name__} {self.time():.9g} s, {', '.join(state)}>"
