"""Notices the end of children where the system has no process descriptors: one thread for the children of all loops.

The thread sleeps in the kernel until any child of the process has ended. It only looks: the status is left to the loop
whose child it is, so that the child's number stays its own until the loop knows.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from asyncio.log import logger
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._subprocesses import SubprocessMethods

    # Told on the loop's thread that the child has ended, with its status if that had to be read.
    _Notify = Callable[[int | None], None]

# Seconds between two looks while a child of somebody else's has ended and was not waited for: until it is, the kernel
# would report it at once, again and again.
_LOOK_AGAIN = 0.02

_CAN_PEEK = hasattr(os, "waitid")


class Reaper:
    """The thread, which lives as long as there is a child to watch, and what it watches. Any thread may use it."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """The beginning, also in a forked child, which has neither the thread nor these children."""
        self._lock = threading.Lock()
        # By process number. Guarded by the lock, as is the thread.
        self._children: dict[int, tuple[SubprocessMethods, _Notify]] = {}
        self._thread: threading.Thread | None = None

    def watch(self, loop: SubprocessMethods, pid: int, notify: _Notify) -> None:
        """Calls `notify` in the loop when the child has ended."""
        with self._lock:
            self._children[pid] = (loop, notify)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pyloop-reaper", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                pids = list(self._children)
                if not pids:
                    self._thread = None
                    return
            ended = [(pid, status) for pid in pids for gone, status in [_look(pid)] if gone]
            for pid, status in ended:
                with self._lock:
                    loop, notify = self._children.pop(pid)
                _tell(loop, pid, notify, status)
                # A thread that sleeps keeps no loop alive.
                del loop, notify
            if not ended:
                self._sleep()

    def _sleep(self) -> None:
        """Waits until a child of the process has ended."""
        if _CAN_PEEK:
            try:
                result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                return
            if result is not None and result.si_pid in self._children:
                return
        time.sleep(_LOOK_AGAIN)


def _look(pid: int) -> tuple[bool, int | None]:
    """Whether a child has ended; its status, where one cannot look without taking it."""
    try:
        if _CAN_PEEK:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None, None
        found, status = os.waitpid(pid, os.WNOHANG)
        return found == pid, status if found == pid else None
    except ChildProcessError:
        return True, None  # Somebody else has waited for it.


def _tell(loop: SubprocessMethods, pid: int, notify: _Notify, status: int | None) -> None:
    try:
        loop.call_soon_threadsafe(notify, status)
    except RuntimeError:
        # The loop is closed: nobody else waits for the child.
        logger.warning("Loop %r that handles pid %r is closed", loop, pid)
        if status is None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


REAPER = Reaper()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=REAPER._forget)
