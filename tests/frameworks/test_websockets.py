"""websockets as server and as client: many messages, large ones, pings, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from .conftest import Certificates

pytest.importorskip("websockets.asyncio.server", reason="websockets >= 13 is not installed: install it to run these")

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

Run = Callable[[Awaitable[Any]], Any]

LARGE = b"\x5a" * (1 << 20)


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "break":
            await connection.close(1011, "asked to")
        else:
            await connection.send(message)


@contextlib.asynccontextmanager
async def _serving(tls: Certificates | None) -> AsyncIterator[str]:
    """Serves on a free port and yields the address."""
    context = tls.server_context() if tls else None
    async with serve(_echo, "127.0.0.1", 0, ssl=context, max_size=2 * len(LARGE)) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://{'localhost' if tls else '127.0.0.1'}:{port}"


def _connect(address: str, tls: Certificates | None) -> connect:
    # The environment's proxies are no business of these tests.
    extra: dict[str, Any] = {"ssl": tls.client_context(), "family": 2} if tls else {}
    return connect(address, max_size=2 * len(LARGE), proxy=None, **extra)


def test_messages_come_back_in_order_on_many_connections(run: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        async with _serving(tls) as address:

            async def converse(number: int) -> None:
                async with _connect(address, tls) as connection:
                    for message in range(50):
                        await connection.send(f"{number}:{message}")
                    assert [await connection.recv() for _ in range(50)] == [f"{number}:{m}" for m in range(50)]

            await asyncio.gather(*map(converse, range(10)))

    run(program())


def test_a_large_message_and_a_ping_share_a_connection(run: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        async with _serving(tls) as address, _connect(address, tls) as connection:
            await connection.send(LARGE)
            pong = await connection.ping()
            assert await connection.recv() == LARGE
            assert await pong >= 0

    run(program())


def test_an_error_code_reaches_the_peer(run: Run, tls: Certificates | None) -> None:
    async def program() -> None:
        async with _serving(tls) as address, _connect(address, tls) as connection:
            await connection.send("break")
            with pytest.raises(ConnectionClosedError):
                await connection.recv()
            assert (connection.close_code, connection.close_reason) == (1011, "asked to")

    run(program())
