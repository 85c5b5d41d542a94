"""Servers: addresses, starting and closing, and connections that go wrong at the start."""

from __future__ import annotations

import asyncio
import errno
import gc
import resource
import socket
import sys
from typing import Any

import pytest
from ports import free_port

from .support import Loop, Recorder, listening_socket, receive_exactly, run, turns, until

has_close_clients = pytest.mark.skipif(sys.version_info < (3, 13), reason="close_clients is new in CPython 3.13")


class Serving:
    """A protocol factory that remembers what it made."""

    def __init__(self) -> None:
        self.protocols: list[Recorder] = []

    def __call__(self) -> Recorder:
        self.protocols.append(Recorder())
        return self.protocols[-1]


async def connect(server: asyncio.AbstractServer) -> socket.socket:
    """A plain client socket connected to the server."""
    address = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    client = socket.socket(server.sockets[0].family)  # type: ignore[attr-defined]
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, address)
    except OSError:
        client.close()
        raise
    return client


def test_a_server_makes_a_protocol_per_connection(loop: Loop) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0)
        clients = [await connect(server) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        await until(lambda: sum(len(protocol.received) for protocol in serving.protocols) == 10)
        assert sorted(bytes(protocol.received) for protocol in serving.protocols) == [b"%d" % n for n in range(10)]
        for protocol in serving.protocols:
            assert protocol.transport.get_extra_info("peername") in [client.getsockname() for client in clients]
            protocol.transport.write(b"answer")
        for client in clients:
            assert await receive_exactly(client, 6) == b"answer"
            client.close()
        await until(lambda: all(protocol.lost for protocol in serving.protocols))
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_server_is_an_asyncio_server(loop: Loop) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.Server)
        assert server.get_loop() is loop
        assert server.is_serving()
        assert isinstance(server.sockets, tuple)
        assert "<Server sockets=" in repr(server)
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        await server.wait_closed()

    run(loop, main())


def test_a_server_listens_on_several_addresses(loop: Loop) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, ["127.0.0.1", "127.0.0.2"], free_port())
        assert sorted(one.getsockname()[0] for one in server.sockets) == ["127.0.0.1", "127.0.0.2"]
        for one in server.sockets:
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, one.getsockname())
            client.close()
        await until(lambda: len(serving.protocols) == 2 and all(protocol.lost for protocol in serving.protocols))
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()

    run(loop, main())


def test_a_given_socket_is_listened_on(loop: Loop) -> None:
    async def main() -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        serving = Serving()
        server = await loop.create_server(serving, sock=listener)
        (await connect(server)).close()
        await until(lambda: serving.protocols and serving.protocols[0].lost)
        server.close()
        await server.wait_closed()
        assert listener.fileno() == -1

    run(loop, main())


def test_serving_can_start_later(loop: Loop) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await connect(server)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        client = await connect(server)
        await until(lambda: serving.protocols)
        client.close()
        await until(lambda: serving.protocols[0].lost)
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_port_in_use_is_an_error_that_names_the_address(loop: Loop) -> None:
    async def main() -> None:
        with listening_socket() as listener:
            with pytest.raises(OSError, match=r"127\.0\.0\.1") as caught:
                await loop.create_server(Recorder, *listener.getsockname())
            assert caught.value.errno == errno.EADDRINUSE

    run(loop, main())


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
def test_a_port_can_be_shared_on_request(loop: Loop) -> None:
    async def main() -> None:
        one = await loop.create_server(Recorder, "127.0.0.1", 0, reuse_port=True)
        port = one.sockets[0].getsockname()[1]
        other = await loop.create_server(Recorder, "127.0.0.1", port, reuse_port=True)
        for server in (one, other):
            server.close()
            await server.wait_closed()

    run(loop, main())


@pytest.mark.parametrize(
    "arguments",
    [{}, {"host": "127.0.0.1", "port": 0, "sock": True}, {"host": "127.0.0.1", "port": 0, "ssl": True}],
    ids=["nothing", "both", "ssl flag"],
)
def test_contradictory_arguments_are_refused(loop: Loop, arguments: dict[str, Any]) -> None:
    async def main() -> None:
        with socket.socket() as spare:
            if "sock" in arguments:
                arguments["sock"] = spare
            with pytest.raises((ValueError, TypeError)):
                await loop.create_server(Recorder, **arguments)

    run(loop, main())


# Closing


def test_after_close_nobody_connects_but_connections_stay(loop: Loop) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = await connect(server)
        await until(lambda: serving.protocols)
        server.close()
        server.close()
        with socket.socket() as late:
            late.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(late, address)
        serving.protocols[0].transport.write(b"still")
        assert await receive_exactly(client, 5) == b"still"
        client.close()
        await until(lambda: serving.protocols[0].lost)
        await server.wait_closed()

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 12, 1), reason="wait_closed waits for connections from CPython 3.12.1 on")
def test_wait_closed_waits_for_the_connections(loop: Loop) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0)
        client = await connect(server)
        await until(lambda: serving.protocols)
        waiting = asyncio.ensure_future(server.wait_closed())
        await turns(3)
        assert not waiting.done()
        server.close()
        await turns(3)
        assert not waiting.done()
        client.close()
        await waiting

    run(loop, main())


@has_close_clients
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_clients_can_be_closed_together(loop: Loop, how: str) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0)
        clients = [await connect(server) for _ in range(3)]
        await until(lambda: len(serving.protocols) == 3)
        server.close()
        getattr(server, how)()
        await server.wait_closed()
        await until(lambda: all(protocol.lost for protocol in serving.protocols))
        for client in clients:
            client.close()

    run(loop, main())


def test_serve_forever_serves_until_it_is_cancelled(loop: Loop) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0, start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await until(server.is_serving)
        client = await connect(server)
        await until(lambda: serving.protocols)
        client.close()
        await until(lambda: serving.protocols[0].lost)
        with pytest.raises(RuntimeError, match="already being awaited"):
            await server.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()

    run(loop, main())


def test_a_server_is_an_async_context_manager(loop: Loop) -> None:
    async def main() -> None:
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            assert server.is_serving()
        assert not server.is_serving()

    run(loop, main())


# Trouble at the start of a connection


# Stock asyncio leaves the accepted socket to its finalizer.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("debug", [False, True], ids=["normal", "debug"])
def test_a_factory_that_raises_is_told_in_debug_mode_and_the_server_goes_on(
    loop: Loop, reports: list[dict[str, Any]], debug: bool
) -> None:
    made: list[Recorder] = []
    loop.set_debug(debug)

    def factory() -> Recorder:
        made.append(Recorder())
        if len(made) == 1:
            raise ValueError("in the factory")
        return made[-1]

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        first = await connect(server)
        await until(lambda: made)
        second = await connect(server)
        second.send(b"x")
        await until(lambda: len(made) == 2 and made[1].received == b"x")
        first.close()
        second.close()
        await until(lambda: made[1].lost)
        server.close()
        gc.collect()
        await server.wait_closed()

    run(loop, main())
    messages = [context["message"] for context in reports if isinstance(context.get("exception"), ValueError)]
    assert messages == (["Error on transport creation for incoming connection"] if debug else [])
    # The tracebacks hold the socket, whose warning belongs to this test.
    reports.clear()
    gc.collect()


def test_a_connection_made_that_raises_is_reported_and_the_server_goes_on(
    loop: Loop, reports: list[dict[str, Any]]
) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ValueError("in connection_made")

    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder() if made else Failing())
        return made[-1]

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        first = await connect(server)
        await until(lambda: reports)
        second = await connect(server)
        await until(lambda: len(made) == 2 and made[1].calls)
        first.close()
        second.close()
        await until(lambda: made[1].lost)
        await turns(5)
        if not made[0].lost:
            made[0].transport.abort()
        await until(lambda: made[0].lost)
        server.close()
        await server.wait_closed()

    run(loop, main())
    assert str(reports[0]["exception"]) == "in connection_made"


@pytest.mark.skipif(sys.platform != "linux", reason="relies on how Linux counts descriptors")
def test_a_server_out_of_descriptors_serves_again_afterwards(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        serving = Serving()
        server = await loop.create_server(serving, "127.0.0.1", 0)
        client = socket.socket()
        client.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        hogs: list[socket.socket] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    hogs.append(socket.socket())
            await loop.sock_connect(client, server.sockets[0].getsockname())
            await until(lambda: reports, "the report of the failing accept")
            assert reports[0]["message"] == "socket.accept() out of system resource"
            assert reports[0]["exception"].errno == errno.EMFILE
            await turns(5)
            assert serving.protocols == []
        finally:
            for hog in hogs:
                hog.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.send(b"patient")
        await until(lambda: serving.protocols and serving.protocols[0].received == b"patient")
        client.close()
        await until(lambda: serving.protocols[0].lost)
        server.close()
        await server.wait_closed()

    run(loop, main())
