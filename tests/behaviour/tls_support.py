"""What the tests of TLS share: certificates, and a peer whose every byte the test decides about."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from certificates import Authority

from .support import Recorder, socket_pair, turns, until

# asyncio's TLS was written anew for CPython 3.11. pyloop does what the new one does on every Python.
NEW_TLS = (
    [pytest.mark.pyloop_only("asyncio's TLS of CPython 3.10 is another, which 3.11 has replaced")]
    if sys.version_info < (3, 11)
    else []
)


class Contexts(NamedTuple):
    """The two sides' settings: the client trusts the authority that signed the server's certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    authority: Any


def make_contexts() -> Contexts:
    authority = Authority()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Contexts(server, client, authority)


class Peer:
    """The other end of a connection: TLS by hand, over a socket that does not block.

    Nothing happens unless the test asks for it: no answer to a close_notify, no reading.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
        )

    async def flush(self) -> None:
        """Sends the records that were made."""
        records = self.outgoing.read()
        if records:
            await asyncio.get_running_loop().sock_sendall(self.sock, records)

    async def step(self, operation: Any, *arguments: Any) -> Any:
        """Repeats an operation until what it needs has arrived, and sends what it makes."""
        while True:
            try:
                result = operation(*arguments)
            except ssl.SSLWantReadError:
                await self.flush()
                data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            else:
                await self.flush()
                return result

    async def handshake(self) -> None:
        await self.step(self.tls.do_handshake)

    async def send(self, data: bytes) -> None:
        await self.step(self.tls.write, data)

    def records(self, data: bytes) -> bytes:
        """Encrypts without sending."""
        self.tls.write(data)
        return self.outgoing.read()

    async def receive(self, count: int) -> bytes:
        """The next bytes of plaintext, that many."""
        received = bytearray()
        while len(received) < count:
            part = await self.step(self.tls.read, count - len(received))
            assert part, f"the stream ended after {len(received)} of {count} bytes"
            received += part
        return bytes(received)

    async def receive_end(self) -> bytes:
        """What arrives until the other side's close_notify."""
        received = bytearray()
        while True:
            try:
                part = await self.step(self.tls.read, 1 << 16)
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                return bytes(received)
            received += part

    def close_notify(self) -> bytes:
        """The record that announces the end."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


@contextlib.asynccontextmanager
async def connection(
    contexts: Contexts,
    protocol: Any = None,
    *,
    server_side: bool = False,
    sock: tuple[socket.socket, socket.socket] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Any, Any, Peer]]:
    """A TLS transport of the loop, its protocol, and the peer, after the handshake.

    The transport is aborted and the socket closed at the end, if the block has not done it.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = sock or socket_pair()
    protocol = Recorder() if protocol is None else protocol
    peer = Peer(theirs, contexts.client if server_side else contexts.server, server_side=not server_side)
    plain, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    if server_side:
        starting = loop.start_tls(plain, protocol, contexts.server, server_side=True, **options)
    else:
        starting = loop.start_tls(plain, protocol, contexts.client, server_hostname="localhost", **options)
    transport, _ = await asyncio.gather(starting, peer.handshake())
    assert transport is not None
    protocol.connection_made(transport)  # start_tls() leaves that to its caller
    try:
        yield transport, protocol, peer
    finally:
        theirs.close()
        if not transport.is_closing():
            transport.abort()
        await until(lambda: protocol.lost or transport.get_protocol() is None)
        await turns(3)


async def require_openssl(contexts: Contexts) -> None:
    """Skips the test if it is not pyloop that calls OpenSSL for connections with these settings."""
    async with connection(contexts) as (transport, _, _peer):
        engine = transport._ssl_protocol._engine
    if engine != "openssl":
        pytest.skip(f"the engine is {engine}, which goes through the interpreter's ssl module as asyncio does")
