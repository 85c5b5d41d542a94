"""redis-py against a Redis server of its own: pipelines, publishing, blocking reads, locks; by TCP and Unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from .services import Redis, redis_server

pytest.importorskip("redis", reason="redis is not installed: install it to run these programs")

import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    """A server for the programs of this module."""
    with redis_server() as found:
        yield found


@pytest.fixture(params=["tcp", "unix"])
def client(request: pytest.FixtureRequest, server: Redis) -> Callable[[], redis.asyncio.Redis]:
    """Makes clients that connect one way or the other; a test that asks for it runs both ways."""
    if request.param == "unix":
        return lambda: redis.asyncio.Redis(unix_socket_path=str(server.path), socket_timeout=20)
    return lambda: redis.asyncio.Redis(host="127.0.0.1", port=server.port, socket_timeout=20)


Client = Callable[[], "redis.asyncio.Redis"]


def test_many_tasks_share_a_pool(run: Run, client: Client) -> None:
    async def program() -> None:
        async with client() as connection:
            await connection.flushall()

            async def use(number: int) -> Any:
                await connection.set(f"key {number}", number)
                await connection.incrby(f"key {number}", 100)
                return int(await connection.get(f"key {number}"))

            assert await asyncio.gather(*(use(number) for number in range(60))) == [n + 100 for n in range(60)]
            body = bytes(range(256)) * 8000  # 2 MB: more than any buffer on the way
            await connection.set("large", body)
            assert await connection.get("large") == body

    run(program())


def test_a_pipeline_answers_in_order(run: Run, client: Client) -> None:
    async def program() -> None:
        async with client() as connection:
            await connection.flushall()
            async with connection.pipeline(transaction=True) as pipe:
                for number in range(500):
                    pipe.rpush("list", number)
                pipe.lrange("list", 0, -1)
                answers = await pipe.execute()
            assert answers[:500] == list(range(1, 501))
            assert answers[500] == [b"%d" % number for number in range(500)]
            with pytest.raises(ResponseError):
                await connection.incr("list")
            assert await connection.ping()

    run(program())


def test_what_is_published_reaches_every_subscriber(run: Run, client: Client) -> None:
    async def program() -> None:
        async with client() as speaker, client() as hearer:
            subscriptions = [hearer.pubsub() for _ in range(3)]
            for subscription in subscriptions:
                await subscription.subscribe("news")
                assert (await subscription.get_message(timeout=20))["type"] == "subscribe"

            async def listen(subscription: Any) -> list[bytes]:
                heard: list[bytes] = []
                async for message in subscription.listen():
                    heard.append(message["data"])
                    if len(heard) == 50:
                        break
                return heard

            listening = [asyncio.ensure_future(listen(subscription)) for subscription in subscriptions]
            for number in range(50):
                assert await speaker.publish("news", number) == 3
            expected = [b"%d" % number for number in range(50)]
            assert await asyncio.gather(*listening) == [expected] * 3
            for subscription in subscriptions:
                await subscription.aclose()

    run(program())


def test_a_blocking_read_waits_for_its_element_and_may_be_cancelled(run: Run, client: Client) -> None:
    async def program() -> None:
        async with client() as connection:
            await connection.flushall()
            waiting = [asyncio.ensure_future(connection.blpop(["queue"], timeout=15)) for _ in range(5)]
            while (await connection.info("clients"))["blocked_clients"] < 5:
                await asyncio.sleep(0.001)
            given_up = waiting.pop()
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            while (await connection.info("clients"))["blocked_clients"] > 4:
                await asyncio.sleep(0.001)
            for number in range(4):
                await connection.rpush("queue", number)
            found = await asyncio.gather(*waiting)
            assert sorted(value for _, value in found) == [b"0", b"1", b"2", b"3"]

    run(program())


def test_a_lock_admits_one_at_a_time(run: Run, client: Client) -> None:
    async def program() -> None:
        async with client() as connection:
            await connection.flushall()
            inside = most = 0

            async def work() -> None:
                nonlocal inside, most
                async with connection.lock("lock", timeout=30, blocking_timeout=30, sleep=0.001):
                    inside += 1
                    most = max(most, inside)
                    await connection.ping()
                    inside -= 1

            await asyncio.gather(*(work() for _ in range(10)))
            assert most == 1

    run(program())


def test_a_connection_that_the_server_ends_is_an_error_and_is_made_again(run: Run, server: Redis) -> None:
    async def program() -> None:
        waiting = redis.asyncio.Redis(host="127.0.0.1", port=server.port, single_connection_client=True, retry=None)
        async with waiting, redis.asyncio.Redis(host="127.0.0.1", port=server.port) as killer:
            number = await waiting.client_id()
            blocked = asyncio.ensure_future(waiting.blpop(["nothing"], timeout=30))
            while (await killer.info("clients"))["blocked_clients"] < 1:
                await asyncio.sleep(0.001)
            assert await killer.client_kill_filter(_id=str(number)) == 1
            with pytest.raises(RedisConnectionError):
                await blocked
            assert await waiting.ping()

    run(program())
