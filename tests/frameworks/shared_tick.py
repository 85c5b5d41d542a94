"""One machine of `test_timer_locks.py`: shares a periodic timer with others through Redis or PostgreSQL.

usage: shared_tick.py LOOP redis|postgresql PORT INTERVAL

Runs until it is killed; prints the key of each tick that it ran.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pyloop
from pyloop.timers import TimerFired, TimerScope

# The longest time that a lock outlives its holder, in seconds.
LOCK_SECONDS = 2.0


async def redis_locks(port: int) -> Callable[[str], Any]:
    import redis.asyncio

    client = redis.asyncio.Redis(host="127.0.0.1", port=port)
    await client.ping()
    return lambda key: client.lock(key, timeout=LOCK_SECONDS)


class AdvisoryLock:
    """A lock of the session: PostgreSQL gives it back when the connection ends, however that comes."""

    def __init__(self, connection: Any, turn: asyncio.Lock, key: str) -> None:
        self._connection = connection
        # A connection takes one query at a time.
        self._turn = turn
        self._key = key

    async def acquire(self, blocking: bool = False) -> bool:
        return await self._call("pg_try_advisory_lock")

    async def release(self) -> None:
        await self._call("pg_advisory_unlock")

    async def _call(self, function: str) -> bool:
        async with self._turn:
            return bool(await self._connection.fetchval(f"select {function}(hashtextextended($1, 0))", self._key))


async def postgresql_locks(port: int) -> Callable[[str], Any]:
    import asyncpg

    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres")
    turn = asyncio.Lock()
    return lambda key: AdvisoryLock(connection, turn, key)


async def main(kind: str, port: int, interval: float) -> None:
    locks = await (redis_locks(port) if kind == "redis" else postgresql_locks(port))
    current = ""

    def lock(key: str) -> Any:
        nonlocal current
        current = key
        return locks(key)

    def ran(fired: TimerFired) -> None:
        print(current, flush=True)

    async with TimerScope("machine", ran) as scope:
        scope.register_periodic("job", interval, lock=lock)
        print("ready", flush=True)
        await asyncio.Event().wait()


def run(loop_name: str, program: Awaitable[None]) -> None:
    loop = pyloop.new_event_loop() if loop_name == "pyloop" else asyncio.SelectorEventLoop()
    loop.run_until_complete(program)


if __name__ == "__main__":
    _, loop_name, kind, port, interval = sys.argv
    run(loop_name, main(kind, int(port), float(interval)))
