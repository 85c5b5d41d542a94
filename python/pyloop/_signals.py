"""Signals: they wake a parked loop, and run handlers as ordinary callbacks.

Python writes a signal's number to the process's wake-up descriptor. While a loop runs in the main thread that
descriptor is one end of a pipe of the loop's, whatever thread the signal was delivered to. Signals that come while the
pipe is full are lost: a pipe holds 65 536 numbers; a socket pair, asyncio's choice, fewer than three hundred.
"""

from __future__ import annotations

import contextvars
import errno
import io
import os
import signal
import sys
import threading
import warnings
from asyncio import base_events, coroutines
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from . import _compat
from ._pyloop import LoopCore

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import TypeVarTuple, Unpack

    _Arguments = TypeVarTuple("_Arguments")

_Handler = tuple[Any, tuple[Any, ...], contextvars.Context]


def _ignore(_signum: int, _frame: Any) -> None:
    """Makes Python write the signal's number to the wake-up descriptor, and do nothing else."""


# Bytes, one for each signal: what a pipe holds.
_READ_SIZE = 65536

# The descriptors of all loops that Python writes signals to.
_wakeup_descriptors: set[int] = set()


def _leave_parent_alone() -> None:
    """In a forked child: its signals must not wake the parent's loop, which has the other end of the descriptor."""
    previous = signal.set_wakeup_fd(-1)
    if previous not in _wakeup_descriptors:
        signal.set_wakeup_fd(previous)


if sys.version_info < (3, 12) and hasattr(os, "register_at_fork"):
    # Later asyncio does it.
    os.register_at_fork(after_in_child=_leave_parent_alone)


class SignalMethods(LoopCore, base_events.BaseEventLoop):
    """`add_signal_handler`, `remove_signal_handler`, and waking up for signals."""

    def __init__(self) -> None:
        super().__init__()
        self._signal_handlers: dict[int, _Handler] = {}
        # The end that Python writes to and the end that the loop reads; made for the first run in the main thread.
        self._signal_pair: tuple[io.FileIO, io.FileIO] | None = None

    def _wakeup_descriptor(self) -> int:
        if self._signal_pair is None:
            reader, writer = (io.FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
            os.set_blocking(reader.fileno(), False)
            os.set_blocking(writer.fileno(), False)
            self._add_reader(reader.fileno(), self._read_signals)
            self._signal_pair = (reader, writer)
            _wakeup_descriptors.add(writer.fileno())
        return self._signal_pair[1].fileno()

    def _watch_signals(self) -> int | None:
        """Begins to wake up for signals; returns the descriptor to restore, None outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.set_wakeup_fd(self._wakeup_descriptor(), warn_on_full_buffer=False)

    def _unwatch_signals(self, previous: int) -> None:
        # With handlers installed the descriptor stays: asyncio leaves it, too, and a later run wants the signals.
        if not self._signal_handlers:
            signal.set_wakeup_fd(previous)

    def _read_signals(self) -> None:
        if self._signal_pair is None:
            return
        # None if there is nothing after all.
        for signum in self._signal_pair[0].read(_READ_SIZE) or b"":
            self._handle_signal(signum)

    def _handle_signal(self, signum: int) -> None:
        found = self._signal_handlers.get(signum)
        if found is not None:
            callback, args, context = found
            self.call_soon(callback, *args, context=context)

    def _check_signal(self, sig: Any) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[_Arguments]], Any], *args: Unpack[_Arguments]
    ) -> None:
        """Runs `callback(*args)` in the loop whenever the signal arrives.

        Main thread only: the interpreter handles signals there.

        Raises:
            TypeError: if the callback is a coroutine or coroutine function, or `sig` no integer.
            ValueError: if there is no such signal.
            RuntimeError: outside of the main thread, or if the signal cannot be caught.
        """
        if coroutines.iscoroutine(callback) or _compat.is_coroutine_function(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        try:
            signal.set_wakeup_fd(self._wakeup_descriptor(), warn_on_full_buffer=False)
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from error
        self._signal_handlers[sig] = (callback, args, contextvars.copy_context())
        try:
            signal.signal(sig, _ignore)
            # System calls of other code go on after the signal.
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._release_wakeup_descriptor()
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from error
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Gives the signal its default effect again; whether there was a handler.

        Raises:
            TypeError: if `sig` is no integer.
            ValueError: if there is no such signal.
            RuntimeError: if the signal cannot be caught.
        """
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from error
            raise
        self._release_wakeup_descriptor()
        return True

    def _release_wakeup_descriptor(self) -> None:
        """Gives the descriptor up with the last handler; a running loop goes on to use it."""
        if self._signal_handlers or self.is_running():
            return
        try:
            signal.set_wakeup_fd(-1)
        except (ValueError, OSError) as error:
            logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _close_signals(self) -> None:
        """Removes every handler and closes the socket pair."""
        if sys.is_finalizing():
            if self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )
                self._signal_handlers.clear()
        else:
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
        if self._signal_pair is not None:
            reader, writer = self._signal_pair
            self._signal_pair = None
            self._remove_reader(reader.fileno())
            _wakeup_descriptors.discard(writer.fileno())
            reader.close()
            writer.close()
