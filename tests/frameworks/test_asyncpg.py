"""asyncpg against a PostgreSQL server of its own: queries, transactions, notifications, copying, cancelling, TLS."""

from __future__ import annotations

import asyncio
import io
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from .conftest import Certificates
from .services import PostgreSQL, postgresql

pytest.importorskip("asyncpg", reason="asyncpg is not installed: install it to run these programs")

import asyncpg

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[PostgreSQL]:
    """A server for the programs of this module."""
    with postgresql(certificates.certificate, certificates.key) as found:
        yield found


def _way_in(server: PostgreSQL, way: str, certificates: Certificates) -> dict[str, Any]:
    """The arguments that connect over TCP, TLS or a Unix socket."""
    common: dict[str, Any] = {"port": server.port, "user": "postgres", "database": "postgres", "timeout": 20}
    if way == "unix":
        return {**common, "host": str(server.folder)}
    if way == "tls":
        return {**common, "host": "127.0.0.1", "ssl": certificates.client_context()}
    return {**common, "host": "127.0.0.1", "ssl": False}


@pytest.fixture(params=["tcp", "tls", "unix"])
def way_in(request: pytest.FixtureRequest, server: PostgreSQL, certificates: Certificates) -> dict[str, Any]:
    """How to connect; a test that asks for it runs each way."""
    return _way_in(server, request.param, certificates)


def test_many_queries_share_a_pool(run: Run, way_in: dict[str, Any]) -> None:
    async def program() -> None:
        async with asyncpg.create_pool(**way_in, min_size=2, max_size=4) as pool:

            async def ask(number: int) -> Any:
                async with pool.acquire() as connection:
                    return await connection.fetchval("SELECT $1::int * 2", number)

            assert await asyncio.gather(*(ask(number) for number in range(100))) == [2 * n for n in range(100)]
            rows = await pool.fetch("SELECT n, repeat('x', n) AS text FROM generate_series(1, 3000) AS n")
            assert [len(row["text"]) for row in rows] == list(range(1, 3001))

    run(program())


def test_a_transaction_that_fails_leaves_nothing(run: Run, way_in: dict[str, Any]) -> None:
    async def program() -> None:
        connection = await asyncpg.connect(**way_in)
        try:
            await connection.execute("CREATE TEMPORARY TABLE items (id int PRIMARY KEY, name text)")
            async with connection.transaction():
                await connection.executemany(
                    "INSERT INTO items VALUES ($1, $2)", [(number, f"item {number}") for number in range(500)]
                )
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await connection.execute("DELETE FROM items WHERE id < 100")
                    await connection.execute("INSERT INTO items VALUES (400, 'again')")
            assert await connection.fetchval("SELECT count(*) FROM items") == 500
            async with connection.transaction():
                names = [row["name"] async for row in connection.cursor("SELECT name FROM items ORDER BY id")]
            assert names == [f"item {number}" for number in range(500)]
        finally:
            await connection.close()

    run(program())


def test_megabytes_are_copied_in_and_out(run: Run, way_in: dict[str, Any], loop_name: str) -> None:
    if loop_name == "asyncio" and sys.version_info < (3, 11) and isinstance(way_in.get("ssl"), ssl.SSLContext):
        pytest.skip("asyncio's TLS of CPython 3.10 hands data out while reading is paused, which asyncpg fails on")
    records = [(number, "abcdefghij" * 50) for number in range(6000)]  # 3 MB: more than any buffer on the way

    async def program() -> None:
        connection = await asyncpg.connect(**way_in)
        try:
            await connection.execute("CREATE TEMPORARY TABLE copied (id int, body text)")
            assert await connection.copy_records_to_table("copied", records=records) == "COPY 6000"
            found = io.BytesIO()
            await connection.copy_from_query("SELECT id, body FROM copied ORDER BY id", output=found, format="csv")
            assert found.getvalue() == b"".join(b"%d,%s\n" % (number, body.encode()) for number, body in records)
        finally:
            await connection.close()

    run(program())


def test_notifications_reach_a_listener(run: Run, way_in: dict[str, Any]) -> None:
    async def program() -> None:
        listener, speaker = await asyncpg.connect(**way_in), await asyncpg.connect(**way_in)
        heard: asyncio.Queue[str] = asyncio.Queue()
        try:
            await listener.add_listener("news", lambda _connection, _pid, _channel, payload: heard.put_nowait(payload))
            for number in range(20):
                await speaker.execute("SELECT pg_notify('news', $1)", f"message {number}")
            assert [await heard.get() for _ in range(20)] == [f"message {number}" for number in range(20)]
        finally:
            await speaker.close()
            await listener.close()

    run(program())


def test_a_query_that_is_given_up_is_cancelled_at_the_server(run: Run, way_in: dict[str, Any]) -> None:
    async def program() -> None:
        connection = await asyncpg.connect(**way_in)
        try:
            with pytest.raises(asyncio.TimeoutError):
                await connection.execute("SELECT pg_sleep(60)", timeout=0.05)
            assert await connection.fetchval("SELECT 'usable again'") == "usable again"
            task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await connection.fetchval("SELECT 'and again'") == "and again"
        finally:
            await connection.close()

    run(program())


def test_an_advisory_lock_is_handed_over(run: Run, server: PostgreSQL, certificates: Certificates) -> None:
    arguments = _way_in(server, "tcp", certificates)

    async def program() -> None:
        first, second = await asyncpg.connect(**arguments), await asyncpg.connect(**arguments)
        try:
            await first.execute("SELECT pg_advisory_lock(7)")
            waiting = asyncio.ensure_future(second.execute("SELECT pg_advisory_lock(7)"))
            assert await first.fetchval("SELECT pg_try_advisory_lock(7)") is True
            assert not waiting.done()
            await first.close()  # Gives up both of its holds.
            await waiting
        finally:
            await second.close()

    run(program())


def test_errors_of_the_server_and_of_the_connection_are_told_apart(
    run: Run, server: PostgreSQL, certificates: Certificates
) -> None:
    arguments = _way_in(server, "tcp", certificates)

    async def program() -> None:
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(**{**arguments, "database": "nowhere"})
        with pytest.raises(FileNotFoundError):
            await asyncpg.connect(**{**arguments, "host": str(server.folder / "missing")})
        victim, killer = await asyncpg.connect(**arguments), await asyncpg.connect(**arguments)
        sleeping = asyncio.ensure_future(victim.execute("SELECT pg_sleep(60)"))
        assert await killer.fetchval("SELECT pg_terminate_backend($1)", victim.get_server_pid()) is True
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
            await sleeping
        await victim.close()
        await killer.close()

    run(program())
