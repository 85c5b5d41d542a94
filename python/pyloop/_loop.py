"""`PyLoop`: the engine joined with the running interpreter's `asyncio.BaseEventLoop`."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from asyncio import events, unix_events
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from ._clock import ClockMethods
from ._pyloop import LoopCore, VirtualTime, _add_fast_methods, _hold_loops
from ._sendfile import SendfileMethods
from ._signals import SignalMethods
from ._subprocesses import ClockHoldingTransport, SubprocessMethods
from ._tls import make_protocol, start_tls
from .timers import MissedTick, PeriodicHandle, call_every

if TYPE_CHECKING:
    import contextvars
    import socket
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from .testing import VirtualClock
    from .timers._schedule import Seconds


if sys.version_info < (3, 14):
    # Registered now, so that it runs after what the application registers: see the engine's core/exit.rs.
    atexit.register(_hold_loops)


def _inherited_attributes() -> tuple[str, ...]:
    """Names of the instance attributes that the running interpreter's `BaseEventLoop` makes, less those that we own."""
    example = asyncio.BaseEventLoop()
    try:
        return tuple(name for name in vars(example) if not hasattr(LoopCore, name))
    finally:
        example.close()


class PyLoop(SignalMethods, SendfileMethods, SubprocessMethods, ClockMethods):
    """An `asyncio.AbstractEventLoop` with its engine in Rust.

    Make one with `pyloop.new_event_loop()`, or let `pyloop.run()` do it. It belongs to the thread that runs it; from
    other threads only `call_soon_threadsafe()` and `asyncio.run_coroutine_threadsafe()` are for use, as with asyncio's
    loops.

    Callbacks run first in, first out; timers never run before their deadline by `time()`.

    Args:
        clock: what `time()` and all timers go by, for tests: a `pyloop.testing.VirtualClock`, of which each loop needs
            its own. None stands for `time.monotonic()`. The loop's `clock` shows it.

    Raises:
        OSError: if the system grants no descriptors for it.
        RuntimeError: if the clock is another loop's.
        TypeError: for any other object as a clock.
    """

    # As long as an instance's dictionary is not made, the interpreter looks up `loop.call_soon` without a search in it:
    # a tenth of an iteration (benchmarks/EXPERIMENTS.md). It is there all the same for what programs assign.
    __slots__ = (
        *_inherited_attributes(),
        "_exit_descriptors",
        "_old_agen_hooks",
        "_old_wakeup_fd",
        "_signal_handlers",
        "_signal_pair",
        "_subprocess_transport",
        "_unix_server_sockets",
    )

    if TYPE_CHECKING:
        # Of asyncio.BaseEventLoop, whose type stubs leave them out.
        _current_handle: asyncio.Handle | None

        def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...
        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...

    def run_forever(self) -> None:
        """Runs until `stop()` is called.

        Raises:
            RuntimeError: if the loop is closed or running, or another one runs in this thread.
            KeyboardInterrupt, SystemExit: of a callback; the loop can then be run again.
        """
        self._run_forever_setup()
        try:
            self._run()
        finally:
            self._run_forever_cleanup()

    def _run_forever_setup(self) -> None:
        """Prepares the thread for a run. Replaces what asyncio has under this name from 3.13 on."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self.get_debug())
        self._old_agen_hooks = sys.get_asyncgen_hooks()
        self._old_wakeup_fd = self._watch_signals()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        events._set_running_loop(self)

    def _run_forever_cleanup(self) -> None:
        """Undoes `_run_forever_setup`."""
        events._set_running_loop(None)
        self._set_coroutine_origin_tracking(False)
        sys.set_asyncgen_hooks(*self._old_agen_hooks)
        if self._old_wakeup_fd is not None:
            self._unwatch_signals(self._old_wakeup_fd)

    def close(self) -> None:
        """Lets go of all callbacks, timers, watchers and transports, and of the loop's descriptors.

        Idempotent. Does not wait for the default executor.

        Raises:
            RuntimeError: if the loop is running.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._close_signals()
        self._close_subprocesses()
        super().close()
        self._close()

    def set_debug(self, enabled: bool) -> None:
        """Turns debug mode on or off: checked calls, slow callbacks logged, coroutines that know their origin."""
        self._debug = bool(enabled)
        if self.is_running():
            self.call_soon_threadsafe(self._set_coroutine_origin_tracking, self._debug)

    def call_every(
        self,
        interval: Seconds,
        callback: Callable[..., object],
        *args: Any,
        first: Seconds | None = None,
        missed: MissedTick = MissedTick.BURST,
        context: contextvars.Context | None = None,
    ) -> PeriodicHandle:
        """Arranges for callback(*args) to run every `interval` seconds, without drift: `pyloop.timers.call_every()`.

        Raises:
            InvalidRegistration: for an interval that is not positive, a first time that is negative, or NaN.
            RuntimeError: if the loop is closed.
        """
        self._check_closed()
        return call_every(interval, callback, *args, first=first, missed=missed, context=context, loop=self)

    # TLS: which side, and for how long.

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **timeouts: Any,
    ) -> Any:
        tls = make_protocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            timeouts=timeouts,
        )
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Upgrades a connection to TLS; returns the transport that the protocol is to use from now on.

        Args:
            transport: one of this loop's, or any other with `_start_tls_compatible`.
            protocol: the application's, which the transport has now.
            sslcontext: settings and certificates.
            server_side: whether the peer begins the handshake.
            server_hostname: the name that the peer's certificate must be for; only for clients.
            ssl_handshake_timeout: seconds; None stands for 60.
            ssl_shutdown_timeout: seconds; None stands for 30.

        Raises:
            TypeError: for another kind of transport or context.
            ValueError: for a time-out that is not positive.
            ssl.SSLError: if the handshake fails.
            ConnectionError: if the peer closes, or the handshake takes too long.
        """
        timeouts = {"ssl_handshake_timeout": ssl_handshake_timeout, "ssl_shutdown_timeout": ssl_shutdown_timeout}
        return await start_tls(self, transport, protocol, sslcontext, server_side, server_hostname, timeouts)

    # Unix sockets: argument handling and clean-up are the running interpreter's own.

    _unix = unix_events._UnixSelectorEventLoop
    create_unix_connection = _unix.create_unix_connection
    create_unix_server = _unix.create_unix_server
    del _unix

    def __init__(self, *, clock: VirtualClock | None = None) -> None:
        super().__init__()
        # Unix server sockets whose path is removed with them, with the path's inode: filled by create_unix_server
        # (3.13).
        self._unix_server_sockets: dict[socket.socket, int] = {}
        if clock is not None:
            try:
                if not isinstance(clock, VirtualTime):
                    raise TypeError(f"clock must be a pyloop.testing.VirtualClock, not {clock!r}")
                self._use_clock(clock)
                self._subprocess_transport = ClockHoldingTransport
            except BaseException:
                self.close()
                raise

    def _stop_serving(self, sock: socket.socket) -> None:
        inode = self._unix_server_sockets.pop(sock, None)
        path = sock.getsockname() if inode is not None else None
        super()._stop_serving(sock)
        if path is None:
            return
        try:
            # Another server may have taken the path over meanwhile.
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %s", path, error)


# Once more on the class itself: the interpreter's specialised calls want methods of the very class of the instance.
_add_fast_methods(PyLoop)
