"""One object of every kind that a loop makes, alive and in use, on whichever loop is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from certificates import Authority

Loop = asyncio.AbstractEventLoop
Make = Callable[[Loop, contextlib.AsyncExitStack], Awaitable[Any]]


class Silent(asyncio.SubprocessProtocol, asyncio.Protocol, asyncio.DatagramProtocol):  # type: ignore[misc]
    """A protocol of every kind, which does nothing."""


async def _the_loop(loop: Loop, _stack: contextlib.AsyncExitStack) -> Any:
    return loop


def _abort(transport: Any) -> None:
    # Stock asyncio fails when a transport is aborted that has finished closing.
    if not transport.is_closing():
        transport.abort() if hasattr(transport, "abort") else transport.close()


async def _stream(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    ours, peer = socket.socketpair()
    stack.callback(peer.close)
    transport, _ = await loop.create_connection(Silent, sock=ours)
    stack.callback(_abort, transport)
    return transport


async def _tls(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    server_context, client_context = tls_contexts()
    ours, theirs = socket.socketpair()
    accepting = asyncio.ensure_future(loop.connect_accepted_socket(Silent, theirs, ssl=server_context))
    transport, _ = await loop.create_connection(Silent, sock=ours, ssl=client_context, server_hostname="localhost")
    accepted, _ = await accepting
    stack.callback(_abort, accepted)
    stack.callback(_abort, transport)
    return transport


async def _datagram(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    transport, _ = await loop.create_datagram_endpoint(Silent, local_addr=("127.0.0.1", 0))
    stack.callback(_abort, transport)
    return transport


async def _or_close(pipe: Any, connect: Callable[..., Awaitable[Any]]) -> Any:
    """The transport of a pipe, which is closed if there is to be none."""
    try:
        return await connect(Silent, pipe)
    except BaseException:
        pipe.close()
        raise


async def _read_pipe(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    reading, writing = os.pipe()
    stack.callback(os.close, writing)
    transport, _ = await _or_close(os.fdopen(reading, "rb", 0), loop.connect_read_pipe)
    stack.callback(_abort, transport)
    return transport


async def _write_pipe(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    transport, _ = await _or_close(os.fdopen(writing, "wb", 0), loop.connect_write_pipe)
    stack.callback(_abort, transport)
    return transport


async def _subprocess(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    # It reads until the end of its input, which the transport holds.
    transport, _ = await loop.subprocess_exec(Silent, str(shutil.which("cat")))

    async def end() -> None:
        transport.set_protocol(Silent())  # Another one may be in no state to hear of the end.
        transport.close()
        await asyncio.wait_for(transport._wait(), 20)

    stack.push_async_callback(end)
    return transport


async def _server(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    server = await loop.create_server(Silent, "127.0.0.1", 0)

    async def end() -> None:
        server.close()
        await server.wait_closed()

    stack.push_async_callback(end)
    return server


async def _handle(loop: Loop, _stack: contextlib.AsyncExitStack) -> Any:
    return loop.call_soon(int)


async def _timer(loop: Loop, stack: contextlib.AsyncExitStack) -> Any:
    timer = loop.call_later(3600, int)
    stack.callback(timer.cancel)
    return timer


SPECIMENS: dict[str, Make] = {
    "loop": _the_loop,
    "stream": _stream,
    "tls": _tls,
    "datagram": _datagram,
    "read pipe": _read_pipe,
    "write pipe": _write_pipe,
    "subprocess": _subprocess,
    "server": _server,
    "handle": _handle,
    "timer": _timer,
}
TRANSPORTS = ("stream", "tls", "datagram", "read pipe", "write pipe", "subprocess")


_CONTEXTS: list[Any] = []


def tls_contexts() -> tuple[Any, Any]:
    """Contexts of a server called `localhost` and of a client that trusts it; made once."""
    if not _CONTEXTS:
        import ssl

        authority = Authority()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(server_context)
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(client_context)
        _CONTEXTS.extend((server_context, client_context))
    return _CONTEXTS[0], _CONTEXTS[1]


def factories() -> dict[str, Callable[[], Loop]]:
    """What makes a loop of each kind; stock asyncio, the oracle, comes first."""
    import pyloop

    return {"asyncio": asyncio.SelectorEventLoop, "pyloop": pyloop.new_event_loop}


def on_a_loop(factory: Callable[[], Loop], kind: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Makes a specimen on a new loop, uses it while the loop runs, and cleans up; returns what the use did."""

    async def main() -> Any:
        async with contextlib.AsyncExitStack() as stack:
            return await use(await SPECIMENS[kind](asyncio.get_running_loop(), stack))

    loop = factory()
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main())
    finally:
        if not loop.is_closed():
            for _ in range(4):
                loop.call_soon(loop.stop)
                loop.run_forever()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
