"""The rare turns in the life of a TLS connection: arguments, `start_tls`, time-outs, warnings."""

from __future__ import annotations

import os
import warnings
from asyncio import StreamReaderProtocol, constants, protocols, sslproto
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from . import _compat
from ._transports import accept_refused

try:
    import ssl
except ImportError:  # pragma: no cover - an interpreter built without OpenSSL
    ssl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from ._loop import PyLoop
    from ._pyloop import SSLProtocol, SSLTransport

# For tests, and to tell a fault of one from a fault of the other: "openssl" calls the library underneath `ssl`,
# "memorybio" the methods of `ssl.SSLObject`, "stdlib" puts asyncio's own protocol in the place of ours.
_ENGINES = ("openssl", "memorybio", "stdlib")
_chosen = os.environ.get("PYLOOP_TLS") or _ENGINES[0]
if _chosen not in _ENGINES:
    raise ImportError(f"PYLOOP_TLS must be one of {', '.join(_ENGINES)}, not {_chosen}")


def engine() -> str:
    """What moves the data of TLS connections: the first engine, or the one that PYLOOP_TLS names."""
    return _chosen


def make_protocol(
    loop: PyLoop,
    app_protocol: Any,
    sslcontext: ssl.SSLContext | None,
    waiter: asyncio.Future[Any] | None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    call_connection_made: bool = True,
    accepted: bool = False,
    timeouts: Mapping[str, float | None],
) -> SSLProtocol | sslproto.SSLProtocol:
    """Makes the protocol that stands between a transport and an application's protocol.

    Raises:
        ValueError: for a time-out that is not positive; without a context on the server's side.
        RuntimeError: in an interpreter without the ssl module.
    """
    if ssl is None:
        raise RuntimeError("stdlib ssl module not available")
    if _chosen == "stdlib":
        if accepted:
            waiter = loop.create_future()
            waiter.add_done_callback(lambda done: _accepted(loop, done))
        return sslproto.SSLProtocol(
            loop,
            app_protocol,
            sslcontext,  # type: ignore[arg-type]
            waiter,  # type: ignore[arg-type]
            server_side,
            server_hostname,
            call_connection_made,
            **timeouts,  # type: ignore[arg-type]
        )
    handshake = _timeout("ssl_handshake_timeout", timeouts, constants.SSL_HANDSHAKE_TIMEOUT)
    shutdown = _timeout("ssl_shutdown_timeout", timeouts, _compat.SSL_SHUTDOWN_TIMEOUT)
    if not sslcontext:
        sslcontext = sslproto._create_transport_context(server_side, server_hostname)
    return loop._make_tls_protocol(
        app_protocol,
        sslcontext,
        waiter,
        server_side,
        None if server_side else server_hostname or None,
        call_connection_made,
        accepted,
        (handshake, shutdown),
    )


def _timeout(name: str, timeouts: Mapping[str, float | None], default: float) -> float:
    seconds = timeouts.get(name)
    if seconds is None:
        return default
    if seconds <= 0:
        raise ValueError(f"{name} should be a positive number, got {seconds}")
    return seconds


def _accepted(loop: PyLoop, done: asyncio.Future[Any]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        accept_refused(loop, error)


def accept(
    loop: PyLoop, factory: Callable[[], Any], sslcontext: ssl.SSLContext, options: tuple[float | None, ...]
) -> SSLProtocol | sslproto.SSLProtocol:
    """Makes the protocol of an accepted connection, with the time-outs that `create_server` was given."""
    timeouts = dict(zip(_compat.TLS_TIMEOUTS, options, strict=False))
    return make_protocol(loop, factory(), sslcontext, None, server_side=True, accepted=True, timeouts=timeouts)


async def start_tls(
    loop: PyLoop,
    transport: Any,
    protocol: Any,
    sslcontext: ssl.SSLContext,
    server_side: bool,
    server_hostname: str | None,
    timeouts: Mapping[str, float | None],
) -> Any:
    """Puts TLS between a transport and its protocol; returns the transport that the protocol is to use.

    Raises:
        TypeError: if the context or the transport is none that TLS can do with.
    """
    if ssl is None:
        raise RuntimeError("Python ssl module is not available")
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter = loop.create_future()
    tls = make_protocol(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side=server_side,
        server_hostname=server_hostname,
        call_connection_made=False,
        timeouts=timeouts,
    )
    # Nothing is to arrive before the handshake has begun.
    transport.pause_reading()
    transport.set_protocol(tls)
    steps = [loop.call_soon(tls.connection_made, transport)]
    if server_side and (early := _take_unread(protocol)):
        steps.append(loop.call_soon(_feed, tls, early))
    steps.append(loop.call_soon(transport.resume_reading))
    try:
        await waiter
    except BaseException:
        transport.close()
        for step in steps:
            step.cancel()
        # The waiter holds the exception, whose traceback holds this frame: let no cycle keep the transport.
        del waiter
        raise
    return tls._app_transport


def _take_unread(protocol: Any) -> bytes:
    """Takes from a stream's reader what arrived before `start_tls`: the greeting of a client that did not wait.

    It must not stay there either way: what came in the clear would be read as if it had come encrypted.
    """
    reader = getattr(protocol, "_stream_reader", None) if isinstance(protocol, StreamReaderProtocol) else None
    if reader is None:
        return b""
    unread = bytes(reader._buffer)
    reader._buffer.clear()
    return unread


def _feed(protocol: Any, data: bytes) -> None:
    if isinstance(protocol, protocols.BufferedProtocol):
        protocols._feed_data_to_buffered_proto(protocol, data)  # type: ignore[attr-defined]
    else:
        protocol.data_received(data)


def flow_limits(high: int | None, low: int | None, kibibytes: int) -> tuple[int, int]:
    """Completes water marks by asyncio's rules; returns (high, low) in bytes.

    Raises:
        ValueError: unless high >= low >= 0.
    """
    if high is None:
        high = kibibytes * 1024 if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return high, low


def handshake_timed_out(seconds: float) -> ConnectionAbortedError:
    """The error of a handshake that took too long."""
    return ConnectionAbortedError(f"SSL handshake is taking longer than {seconds} seconds: aborting the connection")


def log_debug(protocol: SSLProtocol, event: str) -> None:
    """Logs an event, in debug mode."""
    logger.debug("%r %s", protocol, event)


def log_error(protocol: SSLProtocol, message: str, error: BaseException) -> None:
    """Logs an error of the everyday kind, in debug mode."""
    logger.debug("%r: %s", protocol, message, exc_info=error)


def report(loop: PyLoop, protocol: SSLProtocol, transport: Any, error: BaseException, message: str) -> None:
    """Reports an error to the loop's exception handler."""
    loop.call_exception_handler({"message": message, "exception": error, "transport": transport, "protocol": protocol})


def warn_kept_open() -> None:
    """Warns a protocol that wants to go on writing after its peer's end."""
    logger.warning("returning true from eof_received() has no effect when using ssl")


def warn_lost_write(count: int) -> None:
    """Warns a program that goes on writing to a closed connection."""
    if count >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
        logger.warning("SSL connection is closed")


def warn_unclosed(transport: SSLTransport) -> None:
    """Warns about a transport that nobody closed."""
    warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport, stacklevel=2)
