"""Faults that were found by trying to break the loop: each stays mended."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import weakref
from typing import Any

import pytest

from .support import Loop, LoopFactory, python, run, until

_BUSY_DAEMON = """
import threading

turning = threading.Event()

def run():
    loop = new_loop()
    def tick():
        turning.set()
        loop.call_later(0.0001, tick)
    loop.call_soon(tick)
    loop.run_forever()

threading.Thread(target=run, daemon=True).start()
turning.wait()
"""


class _Echoing(asyncio.Protocol):
    """Writes to another transport when its own may be written to again."""

    other: Any = None

    def resume_writing(self) -> None:
        self.other.write(b"from resume_writing")


@pytest.mark.pyloop_only("asyncio sends in write() itself: there is no flush to write during")
def test_bytes_written_by_resume_writing_are_sent_without_further_ado(loop: Loop) -> None:
    async def main() -> bytes:
        here, _far = socket.socketpair()
        there, reader = socket.socketpair()
        with _far, reader:
            for sock in (here, there, reader):
                sock.setblocking(False)
            first, protocol = await loop.create_connection(_Echoing, sock=here)
            second, _ = await loop.create_connection(asyncio.Protocol, sock=there)
            protocol.other = second
            first.write(b"x")
            first.set_write_buffer_limits(high=0)  # Pauses the protocol; the flush of this batch resumes it.
            received = await loop.sock_recv(reader, 100)
            first.close()
            second.close()
            await asyncio.sleep(0)
            return received

    assert run(loop, main()).startswith(b"from resume_writing")


def test_a_socket_closed_behind_its_transport_gets_no_bytes_to_its_successor(loop: Loop) -> None:
    async def main() -> None:
        mine, peer = socket.socketpair()
        mine.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
        await asyncio.sleep(0)
        number = mine.fileno()
        mine.close()
        pair = socket.socketpair()
        assert number in {sock.fileno() for sock in pair}, "the number is given out again"
        victim = pair[0] if pair[1].fileno() == number else pair[1]
        victim.setblocking(False)
        transport.write(b"secret")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            victim.recv(10)
        transport.abort()
        await asyncio.sleep(0)
        for sock in (*pair, peer):
            sock.close()

    run(loop, main())


def test_a_busy_loop_in_a_daemon_thread_does_not_abort_the_process(loop_name: str) -> None:
    finished = python(loop_name, _BUSY_DAEMON)
    assert finished.returncode == 0, finished.stderr


def test_a_loop_dropped_with_pending_callbacks_is_collected(loop_factory: LoopFactory) -> None:
    class Owner:
        def __init__(self) -> None:
            self.loop = loop_factory()
            self.loop.call_later(3600, self.callback)
            self.loop.call_soon(self.callback)
            self.loop.call_soon_threadsafe(self.callback)

        def callback(self) -> None: ...

    owner = Owner()
    gone = weakref.ref(owner)
    with pytest.warns(ResourceWarning):
        del owner
        gc.collect()
    assert gone() is None


def test_a_watcher_runs_once_for_one_readiness_in_a_long_batch(loop: Loop) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        calls: list[bytes] = []
        loop.add_reader(here, lambda: calls.append(here.recv(10)))
        there.send(b"once")
        done = loop.create_future()
        for _ in range(20_000):
            loop.call_soon(len, calls)
        loop.call_soon(done.set_result, None)
        run(loop, asyncio.wait_for(done, 20))
        run(loop, until(lambda: calls))
        loop.remove_reader(here)
    assert calls == [b"once"]


def test_closing_empties_every_handle_though_one_has_no_repr(loop_factory: LoopFactory) -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise ValueError("no repr")

        def __call__(self) -> None: ...

    loop = loop_factory()
    loop.set_debug(True)
    loop.call_soon(Unprintable())
    held = Unprintable()
    gone = weakref.ref(held)
    loop.call_soon(held)
    del held
    try:
        loop.close()
    except ValueError:
        assert type(loop).__module__.startswith("pyloop"), "asyncio's own loop does not look"
    del loop
    gc.collect()
    assert gone() is None
    assert sys.exc_info() == (None, None, None)
