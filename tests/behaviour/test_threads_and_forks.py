"""Calls from the wrong thread, forks with a running loop: reports or results, never a crash."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from .support import Loop, Recorder, python, run, run_in_thread, run_until, thread_running, transport_over, turn, until


def test_scheduling_from_the_wrong_thread_is_harmless(loop: Loop) -> None:
    """Outside debug mode stock asyncio does not notice; whatever is scheduled runs at the latest with the next wake."""
    seen: list[int] = []

    def other_thread() -> None:
        for number in range(200):
            loop.call_soon(seen.append, number)
        loop.call_later(0, seen.append, -1).cancel()

    async def main() -> None:
        await loop.run_in_executor(None, other_thread)
        await until(lambda: len(seen) == 200)
        await loop.shutdown_default_executor()

    run(loop, main())
    assert seen == list(range(200))


def test_timers_from_the_wrong_thread_fire(loop: Loop) -> None:
    seen: list[str] = []
    run_in_thread(lambda: loop.call_later(0.001, seen.append, "fired"))
    run_until(loop, lambda: seen)
    assert seen == ["fired"]


@pytest.mark.pyloop_only("asyncio calls None if a handle is cancelled between its last look at it and the call")
def test_cancelling_from_other_threads_while_timers_expire_is_harmless(loop: Loop) -> None:
    fired: set[int] = set()
    start = loop.time()
    timers = [loop.call_at(start + number * 1e-5, fired.add, number) for number in range(2000)]
    begin = threading.Event()

    def cancel_all() -> None:
        begin.wait(20)
        for timer in timers:
            timer.cancel()

    with thread_running(cancel_all), thread_running(lambda: (begin.wait(20), [timer.cancelled() for timer in timers])):
        loop.call_soon(begin.set)
        run_until(loop, lambda: all(timer.cancelled() for timer in timers))
    count = len(fired)
    turn(loop, 3)
    assert len(fired) == count


def test_stopping_from_another_thread_takes_effect_with_the_next_wake(loop: Loop) -> None:
    started = threading.Event()

    def other_thread() -> None:
        started.wait(20)
        loop.stop()
        loop.call_soon_threadsafe(lambda: None)

    with thread_running(other_thread):
        loop.call_soon(started.set)
        loop.run_forever()
    assert not loop.is_running()


def test_threads_may_wake_a_loop_that_closes(loop: Loop) -> None:
    stop = threading.Event()
    surprises: list[BaseException] = []

    def pester() -> None:
        while not stop.is_set():
            try:
                loop.call_soon_threadsafe(int)
            except RuntimeError as error:
                if "Event loop is closed" not in str(error):
                    surprises.append(error)
                return
            except BaseException as error:
                surprises.append(error)
                return

    with thread_running(pester), thread_running(pester):
        for _ in range(20):
            turn(loop)
        loop.close()
        stop.set()
    assert surprises == []


def test_writing_from_another_thread_does_not_crash(loop: Loop) -> None:
    """What exactly happens is not defined; that the loop and the interpreter survive it is."""

    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):

            def misuse() -> list[str]:
                outcomes = []
                for call in (
                    lambda: transport.write(b"x" * 100),
                    transport.get_write_buffer_size,
                    transport.pause_reading,
                    transport.is_closing,
                    lambda: repr(transport),
                ):
                    try:
                        call()
                    except Exception as error:
                        outcomes.append(type(error).__name__)
                    else:
                        outcomes.append("done")
                return outcomes

            outcomes = await loop.run_in_executor(None, misuse)
            assert set(outcomes) <= {"done", "RuntimeError"}
        await loop.shutdown_default_executor()

    run(loop, main())
    turn(loop)


def test_many_threads_read_the_state(loop: Loop) -> None:
    async def main() -> None:
        def look() -> tuple[Any, ...]:
            return loop.is_running(), loop.is_closed(), loop.get_debug(), loop.time() > 0, "running=True" in repr(loop)

        for _ in range(20):
            assert await loop.run_in_executor(None, look) == (True, False, False, True, True)
        await loop.shutdown_default_executor()

    run(loop, main())


# Forks


def child_and_parent(loop_name: str, source: str) -> None:
    result = python(loop_name, "import os, sys\n" + source)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "parent ok" in result.stdout, result.stdout + result.stderr


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")


@needs_fork
def test_a_child_forked_in_a_running_loop_can_make_its_own(loop_name: str) -> None:
    source = """
async def child_main():
    await asyncio.sleep(0.001)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    server.close()
    await asyncio.sleep(0)

async def main():
    loop = asyncio.get_running_loop()
    fired = []
    loop.call_later(0.001, fired.append, "parent")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                own = new_loop()
                own.run_until_complete(child_main())
                own.close()
                code = 0 if not fired else 2
        finally:
            os._exit(code)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        await asyncio.sleep(0.001)
    assert os.waitstatus_to_exitcode(status) == 0, status
    await asyncio.sleep(0.002)
    assert fired == ["parent"]

loop = new_loop()
loop.run_until_complete(asyncio.wait_for(main(), 20))
loop.close()
print("parent ok")
"""
    child_and_parent(loop_name, source)


@needs_fork
def test_a_child_forked_between_runs_can_make_its_own(loop_name: str) -> None:
    source = """
loop = new_loop()
loop.run_until_complete(asyncio.sleep(0.001))
pid = os.fork()
if pid == 0:
    code = 1
    try:
        own = new_loop()
        own.run_until_complete(asyncio.sleep(0.001))
        own.close()
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.run_until_complete(asyncio.sleep(0.001))
loop.close()
print("parent ok")
"""
    child_and_parent(loop_name, source)


@needs_fork
def test_what_a_child_does_with_its_copy_of_the_loop_leaves_the_parent_alone(loop_name: str) -> None:
    """Dropping and closing the inherited loop must not unregister anything in the parent's poller."""
    source = """
import socket, gc
loop = new_loop()
left, right = socket.socketpair()
left.setblocking(False)
seen = []
loop.add_reader(left, lambda: (seen.append(left.recv(10)), loop.stop()))
loop.run_until_complete(asyncio.sleep(0))
pid = os.fork()
if pid == 0:
    del loop
    gc.collect()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
right.send(b"x")
loop.call_later(15, loop.stop)
loop.run_forever()
assert seen == [b"x"], seen
loop.remove_reader(left)
loop.close()
print("parent ok")
"""
    child_and_parent(loop_name, source)


def test_an_interpreter_that_ends_with_an_open_loop_ends_quietly(loop_name: str) -> None:
    source = """
loop = new_loop()
loop.call_later(3600, print)
loop.call_soon(print)
loop.run_until_complete(asyncio.sleep(0))
print("end")
"""
    result = python(loop_name, source)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("end\n")
    assert "Traceback" not in result.stderr


def test_an_interpreter_that_ends_with_a_loop_running_in_a_thread_ends(loop_name: str) -> None:
    source = """
import threading
loop = new_loop()
running = threading.Event()
loop.call_soon(running.set)
threading.Thread(target=loop.run_forever, daemon=True).start()
assert running.wait(20)
print("end")
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
