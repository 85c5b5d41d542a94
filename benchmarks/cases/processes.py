"""Cases of subprocesses: what it costs to spawn one, and to take what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from benchmarks.measure import throughput
from benchmarks.model import Case, LoopFactory, Sample, Target, Workload, WrongResult, processor_time

SPAWNS = 200
MEBIBYTES = 256


def spawn(loop: asyncio.AbstractEventLoop) -> int:
    """One child after the other, from spawning it to its return code."""

    async def main() -> int:
        for _ in range(SPAWNS):
            process = await asyncio.create_subprocess_exec("/bin/true")
            if await process.wait() != 0:
                raise WrongResult("/bin/true failed")
        return SPAWNS

    return loop.run_until_complete(main())


class Counting(asyncio.SubprocessProtocol):
    """Counts what arrives, until the child is done."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.received = 0
        self._done = done

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._done.set_result(None)


def pipe(loop: asyncio.AbstractEventLoop) -> int:
    """A child that writes as fast as it can."""

    async def main() -> int:
        done = loop.create_future()
        size = MEBIBYTES << 20
        transport: Any
        transport, protocol = await loop.subprocess_exec(
            lambda: Counting(done), "head", "-c", str(size), "/dev/zero", stdin=None, stderr=None
        )
        await done
        transport.close()
        if protocol.received != size:
            raise WrongResult(f"{protocol.received} of {size} bytes arrived")
        return MEBIBYTES

    return loop.run_until_complete(main())


def _in_microseconds(workload: Workload) -> Callable[[LoopFactory], Sample]:
    measure = throughput(workload)

    def scaled(factory: LoopFactory) -> Sample:
        return Sample({key: value / 1e3 for key, value in measure(factory).values.items()})

    return scaled


CASES = (
    Case(
        "spawn",
        "/bin/true spawned and waited for, one after the other: own processor time of each",
        (processor_time(Target(peer=1), unit="us"),),
        _in_microseconds(spawn),
        io=True,
        quick=False,
    ),
    Case(
        "pipe",
        "a child that writes to its standard output: own processor time per MiB",
        (processor_time(Target(peer=1), unit="us"),),
        _in_microseconds(pipe),
        io=True,
        quick=False,
    ),
)
