"""TLS over TCP and Unix sockets: servers, clients, `start_tls`, and certificates that are refused."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import Loop, Recorder, receive_all, run, socket_pair, turns, until
from .tls_support import Contexts, make_contexts

if sys.version_info < (3, 11):
    # There a TLS transport that its peer ended, or whose handshake failed, warns even so.
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return make_contexts()


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


async def exchange(transport: Any, protocol: Recorder, amount: int = 10) -> None:
    data = bytes(range(256)) * (amount // 256 + 1)
    transport.write(data)
    await until(lambda: len(protocol.received) == len(data))
    assert protocol.received == data
    transport.close()
    await until(lambda: protocol.lost)
    assert protocol.lost_with is None


@pytest.mark.parametrize("amount", [10, 3_000_000], ids=["little", "much"])
def test_an_exchange_over_tls(loop: Loop, contexts: Contexts, amount: int) -> None:
    async def main() -> None:
        serving: list[Echo] = []

        def factory() -> Echo:
            serving.append(Echo())
            return serving[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts.server)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
        )
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("sslcontext") is contexts.client
        assert transport.get_extra_info("cipher")[0]
        assert transport.get_extra_info("peercert")["subjectAltName"]
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        assert transport.get_extra_info("peername") == server.sockets[0].getsockname()
        await exchange(transport, protocol, amount)
        await until(lambda: serving[0].lost)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_streams_over_tls(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=contexts.server)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=contexts.client)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await turns(5)

    run(loop, main())


def test_tls_over_a_unix_socket(loop: Loop, contexts: Contexts, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        server = await loop.create_unix_server(Echo, path, ssl=contexts.server)
        transport, protocol = await loop.create_unix_connection(
            Recorder, path, ssl=contexts.client, server_hostname="localhost"
        )
        await exchange(transport, protocol)
        await turns(5)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_start_tls_upgrades_a_connection(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, theirs = socket_pair()
        client_transport, client = await loop.create_connection(Recorder, sock=ours)
        server_transport, serving = await loop.create_connection(Echo, sock=theirs)
        client_transport.write(b"plain")
        await until(lambda: client.received == b"plain")
        client.received.clear()
        upgraded_server, upgraded_client = await asyncio.gather(
            loop.start_tls(server_transport, serving, contexts.server, server_side=True),
            loop.start_tls(client_transport, client, contexts.client, server_hostname="localhost"),
        )
        assert upgraded_client is not None
        assert upgraded_server is not None
        assert upgraded_client.get_extra_info("sslcontext") is contexts.client
        serving.transport = upgraded_server
        await exchange(upgraded_client, client, 100_000)
        await until(lambda: serving.lost)

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls is new in CPython 3.11")
def test_start_tls_of_streams(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(contexts.server)
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(contexts.client, server_hostname="localhost")
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await turns(5)

    run(loop, main())


@pytest.mark.pyloop_only("asyncio leaves the greeting with the reader until 3.14, and the handshake never ends")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls is new in CPython 3.11")
def test_a_greeting_that_was_read_before_start_tls_counts(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await until(lambda: reader._buffer)  # type: ignore[attr-defined]
            await writer.start_tls(contexts.server)
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(contexts.client, server_hostname="localhost")
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await turns(5)

    run(loop, main())


@pytest.mark.pyloop_only("asyncio leaves it with the reader until 3.14")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls is new in CPython 3.11")
def test_what_came_in_the_clear_is_not_read_as_if_encrypted(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ended: asyncio.Future[bytes] = loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            with pytest.raises(ssl.SSLError):
                await writer.start_tls(contexts.server)
            ended.set_result(bytes(reader._buffer))  # type: ignore[attr-defined]

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            peer.send(b"STARTTLS\nan order of somebody in between\n")
            assert await ended == b""
        server.close()
        await server.wait_closed()
        await turns(5)

    run(loop, main())


def test_a_certificate_of_an_unknown_authority_is_refused(loop: Loop, contexts: Contexts, reports: list[Any]) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=contexts.server)
        strict = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=strict, server_hostname="localhost"
            )
        await turns(10)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_certificate_for_another_name_is_refused(loop: Loop, contexts: Contexts, reports: list[Any]) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=contexts.server)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.invalid"):
            await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="other.invalid"
            )
        await turns(10)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_server_that_speaks_no_tls_is_an_error(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        with pytest.raises(ssl.SSLError):
            await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
            )
        await turns(10)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_client_that_speaks_no_tls_harms_nobody(loop: Loop, contexts: Contexts, reports: list[Any]) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=contexts.server)
        address = server.sockets[0].getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, address)
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            await receive_all(client)
        transport, protocol = await loop.create_connection(
            Recorder, *address, ssl=contexts.client, server_hostname="localhost"
        )
        await exchange(transport, protocol)
        await turns(5)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_handshake_that_takes_too_long_is_given_up(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, silent = socket_pair()
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
            await loop.create_connection(
                Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost", ssl_handshake_timeout=0.01
            )
        silent.close()
        await turns(3)

    run(loop, main())


def test_a_peer_that_closes_during_the_handshake_is_an_error(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        ours, peer = socket_pair()
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost")
        )
        await turns(3)
        peer.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError, ssl.SSLError)):
            await connecting
        await turns(3)

    run(loop, main())


async def tls_pair(loop: Loop, contexts: Contexts) -> tuple[Any, Recorder, Any, Recorder]:
    """A connection under TLS: the client's transport and protocol, and the server's."""
    ours, theirs = socket_pair()
    client_transport, client = await loop.create_connection(Recorder, sock=ours)
    server_transport, serving = await loop.create_connection(Recorder, sock=theirs)
    upgraded_server, upgraded_client = await asyncio.gather(
        loop.start_tls(server_transport, serving, contexts.server, server_side=True),
        loop.start_tls(client_transport, client, contexts.client, server_hostname="localhost"),
    )
    return upgraded_client, client, upgraded_server, serving


def test_a_file_is_read_and_sent_over_tls(loop: Loop, contexts: Contexts, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8000
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        transport, client, other, serving = await tls_pair(loop, contexts)
        with (tmp_path / "file").open("rb") as file:
            assert await loop.sendfile(transport, file) == len(data)
            assert file.tell() == len(data)
            assert await loop.sendfile(transport, file, 100, 50) == 50
            assert file.tell() == 150
            await until(lambda: len(serving.received) == len(data) + 50)
            assert serving.received == data + data[100:150]
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)
        transport.write(b"end")
        await until(lambda: serving.received.endswith(b"end"))
        transport.close()
        other.close()
        await until(lambda: client.lost and serving.lost)
        await loop.shutdown_default_executor()

    run(loop, main())
