"""What keeps a virtual clock from jumping: the threads and children that the loop waits for.

On the system's clock none of this does anything.
"""

from __future__ import annotations

import contextlib
import sys
from asyncio import base_events
from typing import TYPE_CHECKING, TypeVar

from ._pyloop import LoopCore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from typing_extensions import TypeVarTuple, Unpack

    _T = TypeVar("_T")
    _Arguments = TypeVarTuple("_Arguments")


class ClockMethods(LoopCore, base_events.BaseEventLoop):
    """Methods of the base class that hand work to other threads, and hold the clock until it is back."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Arguments]], _T], *args: Unpack[_Arguments]
    ) -> asyncio.Future[_T]:
        """Calls `func(*args)` in a thread (or process) of the executor, None for the loop's own.

        Raises:
            RuntimeError: if the loop is closed, or its own executor was shut down.
            TypeError: in debug mode, for a coroutine or anything that is not callable.
        """
        future = super().run_in_executor(executor, func, *args)
        if self.clock is not None:
            # Until the result is here; a future that was cancelled is waited for by nobody.
            self.clock._hold()
            future.add_done_callback(self.clock._release)
        return future

    # The thread that joins the executor's is in no executor. Its time-out (300 s in `asyncio.run`) would end at once.

    if sys.version_info >= (3, 12):

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            """Waits for the threads of the loop's own executor to end, and takes no more work for it.

            Args:
                timeout: seconds, after which it warns and goes on; None stands for ever.
            """
            with self._held():
                await super().shutdown_default_executor(timeout)

    else:

        async def shutdown_default_executor(self) -> None:
            """Waits for the threads of the loop's own executor to end, and takes no more work for it."""
            with self._held():
                await super().shutdown_default_executor()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Holds a virtual clock."""
        clock = self.clock
        if clock is None:
            yield
            return
        clock._hold()
        try:
            yield
        finally:
            clock._release()
