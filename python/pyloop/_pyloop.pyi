"""The native half of pyloop; import `pyloop` instead."""

import asyncio
import contextvars
import socket
import ssl
from asyncio import constants, events, transports
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, Final, Literal, TypeAlias, TypeVar, final

from typing_extensions import Self, TypeVarTuple, Unpack

__all__ = [
    "DatagramTransport",
    "DriverPort",
    "Handle",
    "LoopCore",
    "ManagerHandle",
    "ReadPipeTransport",
    "SSLProtocol",
    "SSLTransport",
    "StreamTransport",
    "TimerHandle",
    "VirtualTime",
    "WritePipeTransport",
    "__version__",
    "_add_fast_methods",
    "_hold_loops",
    "_shares_contexts",
]

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")
_Context: TypeAlias = contextvars.Context | None
_Descriptor: TypeAlias = int | Any  # or an object with fileno()

# Of the distribution, as it is built in: asking the installed metadata costs a program 20 ms at its start.
__version__: Final[str]

# Whether callbacks of one batch can share a context snapshot on this interpreter; False costs time, nothing else.
_shares_contexts: Final[bool]

def _add_fast_methods(kind: type[LoopCore]) -> None:
    """Gives a class derived from `LoopCore` scheduling methods of its own, which the interpreter calls faster.

    Raises:
        TypeError: if it is not derived from `LoopCore`.
    """

def _hold_loops() -> None:
    """Keeps loops of other threads from coming back to an interpreter that ends; for `atexit`."""

@final
class Handle(events.Handle):
    """A callback that was scheduled with `call_soon()`; an `asyncio.Handle`.

    It lets go of callback and arguments when it has run or was cancelled. Programs make none themselves.
    """

    def cancel(self) -> None:
        """Cancels the callback and lets go of it and of its arguments at once.

        Does nothing if it was cancelled before. Any thread may call it.
        """

    def cancelled(self) -> bool:
        """Returns whether the callback was cancelled."""

    def get_context(self) -> contextvars.Context:
        """Returns the context that the callback runs in; None once it was cancelled or has run."""

@final
class TimerHandle(events.TimerHandle):
    """A callback that was scheduled with `call_later()` or `call_at()`; an `asyncio.TimerHandle`.

    Handles order by deadline. A cancelled one gives its memory back without waiting for the deadline.
    """

    def cancel(self) -> None:
        """Cancels the callback and lets go of it and of its arguments at once.

        Does nothing if it was cancelled before, or has run. Any thread may call it.
        """

    def cancelled(self) -> bool:
        """Returns whether the callback was cancelled."""

    def get_context(self) -> contextvars.Context:
        """Returns the context that the callback runs in; None once it was cancelled or has run."""

    def when(self) -> float:
        """Returns the deadline in seconds, on the clock of `loop.time()`."""

@final
class StreamTransport(transports._FlowControlMixin):
    """A connection over a TCP or Unix socket; an `asyncio.Transport`.

    Data written in one callback leaves in one system call after it. Only the loop's thread may use a transport.
    Programs get theirs from `create_connection()`, `create_server()` and the like.
    """

    _start_tls_compatible: bool
    _sendfile_compatible: constants._SendfileMode

    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _protocol_paused(self) -> bool: ...
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends data, in order with all other writes; never blocks.

        What cannot be sent at once is kept, and the protocol told with `pause_writing()` when that is too much.

        Raises:
            TypeError: for anything but bytes, bytearray and memoryview.
            RuntimeError: after `write_eof()`, or from another thread.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Writes every item of an iterable of bytes-like objects; none if one of them is not.

        Raises:
            TypeError: for any other item.
            RuntimeError: after `write_eof()`, or from another thread.
        """

    def write_eof(self) -> None:
        """Closes the sending half after what was written; receiving goes on."""

    def can_write_eof(self) -> bool:
        """Returns True: stream sockets can be half closed."""

    def close(self) -> None:
        """Stops reading, sends what was written, then calls `connection_lost(None)`."""

    def abort(self) -> None:
        """Closes at once; what is not sent is lost."""

    def is_closing(self) -> bool:
        """Returns whether the transport is closing or closed."""

    def is_reading(self) -> bool:
        """Returns whether the protocol may be handed data."""

    def pause_reading(self) -> None:
        """Hands the protocol no data until `resume_reading()`. Does nothing if paused or closing."""

    def resume_reading(self) -> None:
        """Ends `pause_reading()`. Does nothing if not paused or closing."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands everything that happens from now on to another protocol."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol; None after `connection_lost()`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns what is known about the connection.

        Args:
            name: "socket" (an `asyncio.TransportSocket`), "sockname" or "peername".
            default: returned for any other name.
        """

    def get_write_buffer_size(self) -> int:
        """Returns the number of bytes that were written and not sent yet."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Returns the water marks as (low, high), in bytes."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the water marks: `pause_writing()` above high, `resume_writing()` at low or below.

        Args:
            high: bytes; None stands for four times low, or 64 KiB.
            low: bytes; None stands for a quarter of high.

        Raises:
            ValueError: unless high >= low >= 0.
        """

    def _force_close(self, exc: BaseException | None) -> None: ...
    def _call_connection_lost(self, exc: BaseException | None) -> None: ...
    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None: ...
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _when_writable(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...

@final
class ReadPipeTransport(transports.ReadTransport):
    """The reading end of a pipe, or a terminal; an `asyncio.ReadTransport`.

    Programs get theirs from `connect_read_pipe()` and from subprocesses. Only the loop's thread may use it.
    """

    _pipe: Any
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    def close(self) -> None:
        """Stops reading, then calls `connection_lost(None)` and closes the pipe object."""

    def is_closing(self) -> bool:
        """Returns whether the transport is closing or closed."""

    def is_reading(self) -> bool:
        """Returns whether the protocol may be handed data."""

    def pause_reading(self) -> None:
        """Hands the protocol no data until `resume_reading()`. Does nothing if paused or closing."""

    def resume_reading(self) -> None:
        """Ends `pause_reading()`. Does nothing if not paused or closing."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands everything that happens from now on to another protocol."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol; None after `connection_lost()`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns the pipe object for "pipe", default for any other name."""

    def _call_connection_lost(self, exc: BaseException | None) -> None: ...
    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None: ...

@final
class WritePipeTransport(transports._FlowControlMixin):
    """The writing end of a pipe, or a terminal; an `asyncio.WriteTransport`.

    Data leaves at once, as far as there is room. `connection_lost` is called when the reader is gone. Programs get
    theirs from `connect_write_pipe()` and from subprocesses. Only the loop's thread may use it.
    """

    _pipe: Any
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends data, in order with all other writes; never blocks. Does nothing while the transport is closing.

        Raises:
            AssertionError: for anything but bytes, bytearray and memoryview, as asyncio does.
            RuntimeError: from another thread.
        """

    def write_eof(self) -> None:
        """The same as `close()`."""

    def can_write_eof(self) -> bool:
        """Returns True."""

    def close(self) -> None:
        """Sends what was written, then calls `connection_lost(None)` and closes the pipe object."""

    def abort(self) -> None:
        """Closes at once; what is not sent is lost."""

    def is_closing(self) -> bool:
        """Returns whether the transport is closing or closed."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands everything that happens from now on to another protocol."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol; None after `connection_lost()`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns the pipe object for "pipe", default for any other name."""

    def get_write_buffer_size(self) -> int:
        """Returns the number of bytes that were written and not sent yet."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Returns the water marks as (low, high), in bytes."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the water marks, by the rules of `StreamTransport`.

        Raises:
            ValueError: unless high >= low >= 0.
        """

    def _call_connection_lost(self, exc: BaseException | None) -> None: ...
    def _start(self, waiter: asyncio.Future[Any] | None = None) -> None: ...

@final
class DatagramTransport(transports.Transport, transports.DatagramTransport):
    """An endpoint for datagrams, such as UDP; an `asyncio.DatagramTransport`.

    Datagrams sent in one callback leave together after it; a first answer inside of `datagram_received` leaves at
    once. Only the loop's thread may use a transport. Programs get theirs from `create_datagram_endpoint()`.
    """

    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _sock(self) -> socket.socket | None: ...
    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Sends a datagram, in order with all others; never blocks.

        Errors of the system go to the protocol's `error_received()`, before this returns if the datagram leaves at
        once. What cannot be sent at once is kept, and the protocol told with `pause_writing()` when that is too much.
        An empty datagram is sent from Python 3.13 on, and ignored before.

        Args:
            data: the datagram.
            addr: whom to send it to, in the form of the `socket` module; None stands for the endpoint's `remote_addr`.

        Raises:
            TypeError: for anything but bytes, bytearray and memoryview.
            ValueError: for an address that is not the endpoint's `remote_addr`, if it has one.
            RuntimeError: from another thread.
        """

    def close(self) -> None:
        """Stops receiving, sends what waits, then calls `connection_lost(None)`."""

    def abort(self) -> None:
        """Closes at once; what is not sent is lost."""

    def is_closing(self) -> bool:
        """Returns whether the transport is closing or closed."""

    def is_reading(self) -> bool:
        """Returns whether the protocol may be handed datagrams."""

    def pause_reading(self) -> None:
        """Hands the protocol no datagram until `resume_reading()`. Does nothing if paused or closing."""

    def resume_reading(self) -> None:
        """Ends `pause_reading()`. Does nothing if not paused or closing."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands everything that happens from now on to another protocol."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol; None after `connection_lost()`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns what is known about the endpoint.

        Args:
            name: "socket" (an `asyncio.TransportSocket`), "sockname" or "peername".
            default: returned for any other name.
        """

    def get_write_buffer_size(self) -> int:
        """Returns the bytes of all datagrams that were not sent yet; from Python 3.13 on with 8 for each."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Returns the water marks as (low, high), in bytes."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the water marks: `pause_writing()` above high, `resume_writing()` at low or below.

        Args:
            high: bytes; None stands for four times low, or 64 KiB.
            low: bytes; None stands for a quarter of high.

        Raises:
            ValueError: unless high >= low >= 0.
        """

    def _call_connection_lost(self, exc: BaseException | None, /) -> None: ...
    def _start(self, waiter: asyncio.Future[Any] | None = None, /) -> None: ...
    def _deliver(self) -> None: ...
    def _flush(self) -> None: ...

@final
class SSLTransport(transports._FlowControlMixin):
    """A TLS connection over another transport; an `asyncio.Transport`.

    Data written in one callback share records, and over a stream transport a system call. Only the loop's thread may
    use a transport. Programs get theirs from `create_connection(ssl=...)`, `create_server(ssl=...)` and `start_tls()`.
    """

    _start_tls_compatible: bool
    _sendfile_compatible: Any

    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _ssl_protocol(self) -> SSLProtocol: ...
    @property
    def _extra(self) -> dict[str, Any]: ...
    @property
    def _protocol_paused(self) -> bool: ...
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypts and sends data, in order with all other writes; never blocks.

        Raises:
            TypeError: for anything but bytes, bytearray and memoryview.
            RuntimeError: from another thread.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Writes every item of an iterable of bytes-like objects; none if one of them is not.

        Raises:
            TypeError: for any other item.
            RuntimeError: from another thread.
        """

    def write_eof(self) -> None:
        """Raises NotImplementedError: TLS knows no half close."""

    def can_write_eof(self) -> bool:
        """Returns False: TLS knows no half close."""

    def close(self) -> None:
        """Sends what was written, announces the end, waits for the peer's, then calls `connection_lost(None)`.

        The peer has `ssl_shutdown_timeout` seconds; after that `connection_lost()` gets a `TimeoutError`.
        """

    def abort(self) -> None:
        """Closes at once, without an announcement; what is not sent is lost."""

    def is_closing(self) -> bool:
        """Returns whether the transport, or the one underneath, is closing or closed."""

    def is_reading(self) -> bool:
        """Returns whether the protocol may be handed data."""

    def pause_reading(self) -> None:
        """Hands the protocol no data until `resume_reading()`.

        The transport underneath is paused as well once `set_read_buffer_limits()`'s high mark is reached.
        """

    def resume_reading(self) -> None:
        """Ends `pause_reading()`. Does nothing if not paused."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hands everything that happens from now on to another protocol."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Returns the protocol; None after `connection_lost()`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns what is known about the connection.

        Args:
            name: "sslcontext"; after the handshake "ssl_object", "peercert", "cipher" and "compression"; any name of
                the transport underneath.
            default: returned for any other name.
        """

    def get_write_buffer_size(self) -> int:
        """Returns the number of bytes that were written and not handed to the transport underneath."""

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Returns the water marks as (low, high), in bytes."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the water marks: `pause_writing()` above high, `resume_writing()` at low or below.

        Args:
            high: bytes; None stands for four times low, or 512 KiB.
            low: bytes; None stands for a quarter of high.

        Raises:
            ValueError: unless high >= low >= 0.
        """

    def get_read_buffer_size(self) -> int:
        """Returns the number of bytes of records that have arrived and are not decrypted."""

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """Returns the marks of `set_read_buffer_limits()` as (low, high), in bytes."""

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the marks at which a paused connection pauses the transport underneath, and resumes it.

        Args:
            high: bytes; None stands for four times low, or 256 KiB.
            low: bytes; None stands for a quarter of high.

        Raises:
            ValueError: unless high >= low >= 0.
        """

    def _force_close(self, exc: BaseException | None) -> None: ...
    def _test__append_write_backlog(self, data: bytes) -> None: ...

@final
class SSLProtocol(asyncio.Protocol):
    """The protocol between a transport and its `SSLTransport`. Programs make none themselves."""

    @property
    def _app_transport(self) -> SSLTransport: ...
    @property
    def _engine(self) -> str: ...
    def connection_made(self, transport: asyncio.BaseTransport, /) -> None:
        """Begins the handshake."""

    def data_received(self, data: bytes) -> None:
        """Takes in records."""

    def eof_received(self) -> bool:
        """The peer sends no more records; returns whether the transport is to stay open for writing."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport underneath is gone."""

    def pause_writing(self) -> None:
        """The transport underneath has no room."""

    def resume_writing(self) -> None:
        """The transport underneath has room again."""

    def _resume(self) -> None: ...
    def _check_handshake_timeout(self) -> None: ...
    def _check_shutdown_timeout(self) -> None: ...

class VirtualTime:
    """What `pyloop.testing.VirtualClock` is made of; see there.

    Args:
        start: the time that it shows first, in seconds.
        autojump: whether an idle loop moves it to its next deadline.
        grace: seconds of real time for which nothing may happen before it moves.

    Raises:
        ValueError: for a start or grace that is negative, NaN, infinite or beyond 584 years.
    """

    def __new__(cls, start: float = 0.0, *, autojump: bool = True, grace: float = 0.0) -> Self: ...
    autojump: bool
    @property
    def grace(self) -> float: ...
    @property
    def _holds(self) -> int: ...
    def time(self) -> float:
        """Returns the time in seconds, as `loop.time()` does. Any thread may call it."""

    def advance(self, seconds: float) -> asyncio.Future[None]:
        """Lets that much time pass as it would by itself: from deadline to deadline, each timer at its own time.

        The returned future is done when the time is over, and everything that was due by then, and what it led to, has
        run. Awaited or not, the clock moves when the loop is idle. Cancelling the future ends the advance where it is.

        Raises:
            ValueError: for a negative number, NaN or infinity.
            RuntimeError: if the clock has no loop, the loop is closed, or another thread runs it.
        """

    def jump(self, seconds: float) -> None:
        """Moves the clock at once, as if the process had been stopped for that long.

        What has become due runs in the next iteration, in the order of the deadlines, and sees the new time.

        Raises:
            ValueError: for a negative number, NaN or infinity.
            RuntimeError: if the clock has no loop, the loop is closed, or another thread runs it.
        """

    def _hold(self) -> None: ...
    def _release(self, _done: object = None) -> None: ...

class LoopCore:
    """The engine of `pyloop.PyLoop`: ready queue, timers, descriptors. Not for direct use."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...

    # Lifecycle

    def stop(self) -> None:
        """Stops the loop after the batch that is running, or after the first one of the next run."""

    def is_running(self) -> bool:
        """Returns whether the loop is running."""

    def is_closed(self) -> bool:
        """Returns whether the loop was closed."""

    def get_debug(self) -> bool:
        """Returns whether debug mode is on."""

    @property
    def clock(self) -> VirtualTime | None:
        """The virtual clock that the loop was made with; None if it goes by `time.monotonic()`."""

    def _use_clock(self, clock: VirtualTime) -> None: ...

    # Scheduling

    def call_soon(
        self, callback: Callable[[Unpack[_Arguments]], object], *args: Unpack[_Arguments], context: _Context = None
    ) -> Handle:
        """Arranges for `callback(*args)` to run in the next iteration, after what was scheduled before.

        Args:
            context: the `contextvars.Context` to run in; None takes a copy of the current one, now.

        Raises:
            RuntimeError: if the loop is closed, or, in debug mode, from another thread than the loop's.
            TypeError: in debug mode, for a coroutine or anything that is not callable.
        """

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Arguments]], object], *args: Unpack[_Arguments], context: _Context = None
    ) -> Handle:
        """Like `call_soon()`, from any thread: wakes the loop if it waits for I/O.

        Callbacks of one thread run in the order in which it handed them in.

        Raises:
            RuntimeError: if the loop is closed.
            TypeError: in debug mode, for a coroutine or anything that is not callable.
        """

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: Unpack[_Arguments],
        context: _Context = None,
    ) -> TimerHandle:
        """Arranges for `callback(*args)` to run once, at least `delay` seconds from now.

        Timers that are due run in the order of their deadlines, equal ones in the order they were made. With infinity
        the callback never runs.

        Raises:
            ValueError: if delay is NaN.
            TypeError: if delay is no number; in debug mode, for a coroutine or anything that is not callable.
            RuntimeError: if the loop is closed or another thread runs it.
        """

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: Unpack[_Arguments],
        context: _Context = None,
    ) -> TimerHandle:
        """Like `call_later()`, with a deadline on the clock of `time()` in seconds. Raises what it raises."""

    def time(self) -> float:
        """Returns the loop's clock in seconds: `time.monotonic()`."""

    def create_future(self) -> asyncio.Future[Any]:
        """Makes an `asyncio.Future` that belongs to this loop."""

    def create_task(
        self,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: object = None,
        context: _Context = None,
        **kwargs: Any,
    ) -> asyncio.Task[_T]:
        """Schedules a coroutine as an `asyncio.Task`, or through the task factory if there is one.

        Args:
            coro: the coroutine.
            name: the task's name.
            context: the `contextvars.Context` of the task (from Python 3.11 on); None takes a copy of the current one.
            **kwargs: what else the running Python's own loops take: eager_start (3.14).

        Raises:
            RuntimeError: if the loop is closed.
            TypeError: if it is no coroutine.
        """

    # Descriptors

    def add_reader(
        self, fd: _Descriptor, callback: Callable[[Unpack[_Arguments]], Any], *args: Unpack[_Arguments]
    ) -> None:
        """Calls `callback(*args)` whenever a descriptor can be read, until `remove_reader()`.

        Args:
            fd: an integer, or an object with `fileno()`. A second call replaces the callback.

        Raises:
            ValueError: for what is no descriptor.
            RuntimeError: if a transport uses the descriptor, or the loop is closed.
            OSError: if the system cannot watch it, as with regular files.
        """

    def add_writer(
        self, fd: _Descriptor, callback: Callable[[Unpack[_Arguments]], Any], *args: Unpack[_Arguments]
    ) -> None:
        """Calls `callback(*args)` whenever a descriptor can be written. Raises what `add_reader()` raises."""

    def remove_reader(self, fd: _Descriptor) -> bool:
        """Stops watching a descriptor for reading; returns whether it was watched.

        Raises:
            ValueError: for what is no descriptor.
            RuntimeError: if a transport uses it.
        """

    def remove_writer(self, fd: _Descriptor) -> bool:
        """Stops watching a descriptor for writing; returns whether it was watched. Raises what `remove_reader` does."""

    # For PyLoop, and for asyncio's own code, which knows these names.

    @property
    def _closed(self) -> bool: ...
    @_closed.setter
    def _closed(self, value: bool) -> None: ...
    @property
    def _debug(self) -> bool: ...
    @_debug.setter
    def _debug(self, value: bool) -> None: ...
    def _run(self) -> None: ...
    def _close(self) -> None: ...
    def _check_closed(self) -> None: ...
    def _check_thread(self) -> None: ...
    def _write_to_self(self) -> None: ...
    def _add_reader(self, fd: _Descriptor, callback: Callable[..., Any], *args: Any) -> Handle: ...
    def _add_writer(self, fd: _Descriptor, callback: Callable[..., Any], *args: Any) -> Handle: ...
    def _remove_reader(self, fd: _Descriptor) -> bool: ...
    def _remove_writer(self, fd: _Descriptor) -> bool: ...
    def _ensure_fd_no_transport(self, fd: _Descriptor) -> None: ...
    def _try_recv(self, sock: socket.socket, nbytes: int, /) -> bytes | None: ...
    def _try_recv_into(self, sock: socket.socket, buf: Any, /) -> int | None: ...
    def _try_recvfrom(self, sock: socket.socket, bufsize: int, /) -> tuple[bytes, Any] | None: ...
    def _try_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int, /) -> tuple[int, Any] | None: ...
    def _try_accept(self, sock: socket.socket, /) -> tuple[socket.socket, Any] | None: ...
    def _try_send(self, sock: socket.socket, data: Any, rest: int | None = None, /) -> int: ...
    def _when_readable(self, fd: _Descriptor, /) -> asyncio.Future[None]: ...
    def _when_writable(self, fd: _Descriptor, /) -> asyncio.Future[None]: ...
    def _forget_wait(self, fd: int, future: asyncio.Future[None], /) -> None: ...
    def _make_tls_protocol(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[Any] | None,
        server_side: bool,
        server_hostname: str | None,
        call_connection_made: bool,
        accepted: bool,
        timeouts: tuple[float, float],
    ) -> SSLProtocol: ...
    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> StreamTransport: ...
    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport: ...
    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport: ...
    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport: ...
    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *tls: float | None,
    ) -> None: ...
    def _pause_serving(self, sock: socket.socket) -> None: ...
    def _stop_serving(self, sock: socket.socket) -> None: ...

@final
class DriverPort:
    """What the driver tells a loop, through a descriptor that the loop watches; `pyloop.timers` uses it."""

    def __new__(cls) -> Self: ...
    def fileno(self) -> int:
        """Returns the descriptor that is readable when something is due."""

    def arm(self, when: float) -> int:
        """Has the driver tell once `time.monotonic()` has reached `when`; returns the number under which it will.

        Raises:
            OSError: if the system refuses the driver's thread.
        """

    def disarm(self, number: int) -> None:
        """Lets go of what has this number; it may have been told already."""

    def take_due(self) -> list[int]:
        """Returns the numbers of what is due, in the order in which the driver told of it."""

@final
class ManagerHandle:
    """The native half of `pyloop.timers.TimerManager`. Commands return True, False without a place, None if closed."""

    def __new__(
        cls, name: str, heartbeat_interval: float, command_buffer_size: int, event_buffer_size: int
    ) -> Self: ...
    def __len__(self) -> int: ...
    def try_set(self, name: str, seconds: float) -> bool | None:
        """Sets or replaces a timer."""

    def try_cancel(self, name: str) -> bool | None:
        """Cancels a timer."""

    def try_cancel_all(self) -> bool | None:
        """Cancels all timers."""

    def try_shutdown(self) -> bool | None:
        """Ends the manager after the commands before."""

    def stop(self) -> None:
        """Ends the manager without waiting for a place."""

    def try_recv(self) -> str | Literal[False] | None:
        """Returns the name of a timer that has expired; None if there is none, False if there will be none."""

    def tell_of_event(self, port: DriverPort) -> int:
        """Has a port tell of an event, or of the end; returns the number under which it will. Not in a forked child.

        Raises:
            OSError: if the system refuses the driver's thread.
        """

    def tell_next_receiver(self) -> None:
        """Has another receiver look, in place of one that has given up."""

    def tell_of_place(self, port: DriverPort) -> int:
        """Has a port tell of a place in the command buffer, or of the end; as `tell_of_event()`."""

    def is_closed(self) -> bool:
        """Returns whether commands are refused."""

    def is_inherited(self) -> bool:
        """Returns whether this process is a forked child of the one that made the manager."""
