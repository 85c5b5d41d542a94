"""The rare turns in a transport's life: errors, warnings, connections that cannot be accepted."""

from __future__ import annotations

import errno
import socket
import warnings
import weakref
from asyncio import constants, trsock
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import PyLoop
    from ._pyloop import DatagramTransport, StreamTransport

# What accept() says when the process or the system has run out of something: it may have it again soon.
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


def transport_failed(
    loop: PyLoop,
    transport: StreamTransport,
    protocol: Any,
    error: BaseException,
    message: str,
) -> None:
    """Reports an error to the loop's exception handler."""
    loop.call_exception_handler(
        {
            "message": message,
            "exception": error,
            "transport": transport,
            "protocol": protocol,
        }
    )


def transport_debug(transport: StreamTransport, message: str, error: BaseException | None) -> None:
    """Logs an event of a transport, in debug mode."""
    if error is None:
        logger.debug("%r %s", transport, message)
    else:
        logger.debug("%r: %s", transport, message, exc_info=error)


def transport_unclosed(transport: StreamTransport) -> None:
    """Warns about a transport that nobody closed."""
    warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport, stacklevel=2)


class DatagramSocket(trsock.TransportSocket):
    """What `get_extra_info("socket")` of a datagram transport gives.

    Options hold for datagrams that are sent afterwards, not for those that still wait in the transport.
    """

    __slots__ = ("_transport",)

    def __init__(self, sock: socket.socket, transport: DatagramTransport) -> None:
        super().__init__(sock)
        self._transport = weakref.ref(transport)

    def setsockopt(self, *args: Any, **kwargs: Any) -> None:
        """`socket.socket.setsockopt()`, after what was sent before has left."""
        transport = self._transport()
        if transport is not None:
            transport._flush()
        super().setsockopt(*args, **kwargs)


def write_after_loss(count: int, message: str) -> None:
    """Warns a program that goes on writing to a lost connection."""
    if count >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
        logger.warning(message)


def socket_from_descriptor(fd: int) -> socket.socket:
    """A socket object that owns a descriptor accepted by the engine."""
    sock = socket.socket.__new__(socket.socket)
    try:
        sock.__init__(fileno=fd)  # type: ignore[misc]
        sock.setblocking(False)
    except BaseException:
        # The descriptor goes on to belong to the engine, which closes it: an interrupt must not close it twice.
        sock.detach()
        raise
    return sock


def closed_socket(family: int) -> trsock.TransportSocket:
    """A stream socket of the family, closed: what is left of a connection that is over."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        return trsock.TransportSocket(sock)


def accept_failed(loop: PyLoop, error: OSError, restart: tuple[Any, ...]) -> None:
    """Reports a failed accept(); out of resources, pauses the listener for a moment."""
    listening: socket.socket = restart[1]
    if error.errno not in _OUT_OF_RESOURCES:
        loop.call_exception_handler(
            {
                "message": "socket.accept() failed",
                "exception": error,
                "socket": trsock.TransportSocket(listening),
            }
        )
        return
    loop.call_exception_handler(
        {
            "message": "socket.accept() out of system resource",
            "exception": error,
            "socket": trsock.TransportSocket(listening),
        }
    )
    # The listener stays readable: without a pause the loop would spin on it.
    loop._pause_serving(listening)
    loop.call_later(constants.ACCEPT_RETRY_DELAY, _serve_again, loop, restart)


def _serve_again(loop: PyLoop, restart: tuple[Any, ...]) -> None:
    factory, listening, tls, server, backlog, tls_options = restart
    if listening.fileno() != -1:  # The server may have been closed during the pause.
        loop._start_serving(factory, listening, tls, server, backlog, *tls_options)


def accept_refused(loop: PyLoop, error: BaseException) -> None:
    """A connection whose protocol could not be made is dropped; debug mode says so."""
    if loop.get_debug():
        loop.call_exception_handler(
            {
                "message": "Error on transport creation for incoming connection",
                "exception": error,
            }
        )
