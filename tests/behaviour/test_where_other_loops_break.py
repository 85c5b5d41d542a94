"""What programs rely on and event loops other than asyncio's are known to break, each as a test of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from .support import (
    Loop,
    Recorder,
    open_descriptors,
    receive_exactly,
    run,
    run_until,
    socket_pair,
    transport_over,
    turns,
    until,
)

CAT = str(shutil.which("cat"))


class Process(asyncio.SubprocessProtocol):
    """Notes the output of a child and its end."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.exited = False
        self.lost = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output += data

    def process_exited(self) -> None:
        self.exited = True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True


@contextlib.asynccontextmanager
async def child(loop: Loop, *command: str, **options: Any) -> AsyncIterator[tuple[Any, Process]]:
    """A child process whose end is waited for."""
    transport, protocol = await loop.subprocess_exec(Process, *command, **options)
    try:
        yield transport, protocol
    finally:
        transport.close()
        await until(lambda: protocol.lost, "the end of the child")


# Classes.


def test_the_loop_is_an_abstract_event_loop(loop: Loop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)


def test_stream_transports_servers_and_handles_are_instances_of_asyncios_classes(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, _):
            assert isinstance(transport, asyncio.Transport)
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server, asyncio.Server)
        assert isinstance(server, asyncio.AbstractServer)
        server.close()
        await server.wait_closed()
        handle, timer = loop.call_soon(int), loop.call_later(3600, int)
        assert isinstance(handle, asyncio.Handle)
        assert isinstance(timer, asyncio.TimerHandle)
        assert not isinstance(handle, asyncio.TimerHandle)
        timer.cancel()

    run(loop, main())


def test_datagram_transports_are_instances_of_asyncios_class(loop: Loop) -> None:
    if isinstance(loop, asyncio.SelectorEventLoop) and sys.version_info < (3, 12):
        pytest.skip("asyncio's own is one from CPython 3.12 on")

    async def main() -> None:
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        assert isinstance(transport, asyncio.DatagramTransport)
        transport.close()
        await turns(2)

    run(loop, main())


def test_pipe_and_subprocess_transports_are_instances_of_asyncios_classes(loop: Loop) -> None:
    async def main() -> None:
        async with child(loop, CAT) as (transport, _):
            assert isinstance(transport, asyncio.SubprocessTransport)
            assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
            assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)

    run(loop, main())


# Attributes and methods that programs replace.


def test_methods_of_a_transport_can_be_assigned_and_attributes_added(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            sent: list[bytes] = []
            original = transport.write

            def write(data: bytes) -> None:
                sent.append(data)
                original(data)

            transport.write = write
            transport.note = "of a program's own"
            transport.write(b"counted")
            assert await receive_exactly(peer, 7) == b"counted"
            assert sent == [b"counted"]
            assert vars(transport)["note"] == "of a program's own"
            with mock.patch.object(transport, "close") as close:
                transport.close()
            close.assert_called_once_with()
            assert not transport.is_closing()

    run(loop, main())


def test_a_stream_writer_uses_a_replaced_method_of_its_transport(loop: Loop) -> None:
    async def main() -> None:
        ours, peer = socket_pair()
        reader, writer = await asyncio.open_connection(sock=ours)
        with peer, mock.patch.object(writer.transport, "write") as write:
            writer.write(b"not sent")
        write.assert_called_once_with(b"not sent")
        writer.close()
        await writer.wait_closed()
        assert reader is not None

    run(loop, main())


def test_methods_of_a_datagram_transport_can_be_assigned(loop: Loop) -> None:
    async def main() -> None:
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        with mock.patch.object(transport, "sendto") as sendto:
            transport.sendto(b"data", ("127.0.0.1", 9))
        sendto.assert_called_once_with(b"data", ("127.0.0.1", 9))
        transport.note = "of a program's own"  # type: ignore[attr-defined]
        assert vars(transport)["note"] == "of a program's own"
        transport.close()
        await turns(2)

    run(loop, main())


def test_methods_of_the_loop_can_be_patched(loop: Loop) -> None:
    async def main() -> None:
        with mock.patch.object(loop, "create_connection", side_effect=OSError("no network")) as create:
            with pytest.raises(OSError, match="no network"):
                await asyncio.open_connection("127.0.0.1", 1)
        assert create.call_count == 1

        with mock.patch.object(type(loop), "create_server", side_effect=OSError("no servers")):
            with pytest.raises(OSError, match="no servers"):
                await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)

        answered: asyncio.Future[int] = loop.create_future()
        answered.set_result(42)
        with mock.patch.object(loop, "run_in_executor", return_value=answered) as submit:
            assert await asyncio.to_thread(int) == 42
        assert submit.call_count == 1

        with mock.patch.object(loop, "create_future", wraps=loop.create_future) as future:
            await asyncio.sleep(0.001)
        assert future.call_count >= 1

        with mock.patch.object(loop, "call_soon", wraps=loop.call_soon) as soon:
            await asyncio.sleep(0)
        assert soon.call_count >= 0  # Tasks written in C may take another way; replacing it must do no harm.

        with mock.patch.object(loop, "create_task", wraps=loop.create_task) as create_task:
            await asyncio.create_task(asyncio.sleep(0))
        assert create_task.call_count == 1

    run(loop, main())


def test_a_patched_resolver_of_the_loop_is_used_by_connections(loop: Loop) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        async def getaddrinfo(host: Any, port: Any, **options: Any) -> Any:
            assert (host, port) == ("somewhere.invalid", 80)
            return answer

        with mock.patch.object(loop, "getaddrinfo", getaddrinfo):
            transport, _ = await loop.create_connection(Recorder, "somewhere.invalid", 80)
        assert transport.get_extra_info("peername") == address
        transport.close()
        server.close()
        await server.wait_closed()

    run(loop, main())


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("host", ["somewhere.invalid", "192.0.2.1"])
def test_a_patched_socket_getaddrinfo_is_asked(loop: Loop, host: str, debug: bool) -> None:
    loop.set_debug(debug)
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

    async def main() -> None:
        with mock.patch("socket.getaddrinfo", return_value=answer) as asked:
            assert await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM) == answer
        asked.assert_called_once_with(host, 80, 0, socket.SOCK_STREAM, 0, 0)

    run(loop, main())


def test_a_patched_socket_getaddrinfo_decides_where_connections_go(loop: Loop) -> None:
    async def main() -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]
        with mock.patch("socket.getaddrinfo", return_value=answer):
            transport, _ = await loop.create_connection(Recorder, "somewhere.invalid", 80)
        assert transport.get_extra_info("peername") == address
        transport.close()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_patched_socket_getnameinfo_is_asked(loop: Loop) -> None:
    async def main() -> None:
        with mock.patch("socket.getnameinfo", return_value=("name", "service")):
            assert await loop.getnameinfo(("127.0.0.1", 80)) == ("name", "service")
            numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            assert await loop.getnameinfo(("127.0.0.1", 80), numeric) == ("name", "service")

    run(loop, main())


# Signals and subprocesses.


def test_a_handler_for_sigchld_is_accepted_and_called(loop: Loop) -> None:
    heard: list[int] = []
    loop.add_signal_handler(signal.SIGCHLD, heard.append, signal.SIGCHLD)
    try:
        pid = os.posix_spawn(CAT, [CAT, os.devnull], {})
        run_until(loop, lambda: heard, "the signal of the child's end")
        assert os.waitpid(pid, 0) == (pid, 0)
    finally:
        assert loop.remove_signal_handler(signal.SIGCHLD)


def test_a_handler_for_sigchld_does_not_keep_children_from_being_waited_for(loop: Loop) -> None:
    heard: list[int] = []
    loop.add_signal_handler(signal.SIGCHLD, heard.append, signal.SIGCHLD)

    async def main() -> None:
        async with child(loop, sys.executable, "-c", "raise SystemExit(7)") as (transport, protocol):
            await until(lambda: protocol.exited, "the exit")
            assert transport.get_returncode() == 7
        await until(lambda: heard, "the signal")

    run(loop, main())
    assert loop.remove_signal_handler(signal.SIGCHLD)


def test_children_may_inherit_every_descriptor(loop: Loop) -> None:
    """`close_fds=False`: what is inheritable stays open in the child."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)

    async def main() -> None:
        code = f"import os; os.write({writing}, b'inherited')"
        async with child(loop, sys.executable, "-c", code, close_fds=False) as (_, protocol):
            await until(lambda: protocol.exited, "the exit")
        assert os.read(reading, 100) == b"inherited"

    try:
        run(loop, main())
    finally:
        os.close(reading)
        os.close(writing)


def test_a_subprocess_transport_tells_the_popen_object(loop: Loop) -> None:
    async def main() -> None:
        async with child(loop, CAT) as (transport, _):
            popen = transport.get_extra_info("subprocess")
            assert popen.pid == transport.get_pid()
            assert popen.poll() is None

    run(loop, main())


# Protocols, tasks, handles, servers.


def test_every_transport_can_be_given_another_protocol(loop: Loop) -> None:
    async def main() -> None:
        async with transport_over(Recorder()) as (transport, peer):
            other = Recorder()
            other.calls.append("taken over")
            transport.set_protocol(other)
            assert transport.get_protocol() is other
            peer.send(b"for the other")
            await until(lambda: other.received == b"for the other")

    run(loop, main())


def test_datagram_transports_can_be_given_another_protocol(loop: Loop) -> None:
    class Hearing(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.heard: list[bytes] = []

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.heard.append(data)

    async def main() -> None:
        transport, first = await loop.create_datagram_endpoint(Hearing, ("127.0.0.1", 0))
        second = Hearing()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"for the second", transport.get_extra_info("sockname"))
            await until(lambda: second.heard == [b"for the second"])
        assert first.heard == []
        transport.close()
        await turns(2)

    run(loop, main())


def test_pipe_and_subprocess_transports_can_be_given_another_protocol(loop: Loop) -> None:
    async def main() -> None:
        async with child(loop, CAT) as (transport, first):
            second = Process()
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            transport.get_pipe_transport(0).write(b"said")
            await until(lambda: second.output == b"said")
            assert first.output == b""
            other = Recorder()
            other.calls.append("taken over")
            reader = transport.get_pipe_transport(1)
            own = reader.get_protocol()
            reader.set_protocol(other)
            transport.get_pipe_transport(0).write(b" again")
            await until(lambda: other.received == b" again")
            reader.set_protocol(own)
            transport.set_protocol(first)

    run(loop, main())


def _calls_of_a_factory(loop: Loop) -> list[tuple[str, list[str]]]:
    """The keywords that a task factory is called with, by the way the task was made."""
    calls: list[tuple[str, list[str]]] = []
    way = ""

    def factory(given: Loop, coroutine: Coroutine[Any, Any, Any], **keywords: Any) -> asyncio.Task[Any]:
        calls.append((way, sorted(keywords)))
        return asyncio.Task(coroutine, loop=given, **keywords)

    loop.set_task_factory(factory)

    async def main() -> None:
        nonlocal way
        way = "loop.create_task"
        await loop.create_task(asyncio.sleep(0))
        way = "loop.create_task with a name"
        await loop.create_task(asyncio.sleep(0), name="name")
        way = "asyncio.create_task"
        await asyncio.create_task(asyncio.sleep(0))
        way = "ensure_future"
        await asyncio.ensure_future(asyncio.sleep(0))
        way = "gather"
        await asyncio.gather(asyncio.sleep(0))
        if sys.version_info >= (3, 11):
            import contextvars

            way = "TaskGroup"
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            way = "context"
            await loop.create_task(asyncio.sleep(0), context=contextvars.copy_context())

    run(loop, main())
    loop.set_task_factory(None)
    return calls


def test_a_task_factory_is_called_with_the_keywords_that_asyncio_gives_it(loop: Loop) -> None:
    oracle = asyncio.SelectorEventLoop()
    try:
        expected = _calls_of_a_factory(oracle)
    finally:
        oracle.close()
    assert _calls_of_a_factory(loop) == expected


def test_a_task_factory_of_two_parameters_makes_plain_tasks(loop: Loop) -> None:
    """What older programs have: it knows no keywords, `eager_start` least of all."""
    loop.set_task_factory(lambda given, coroutine: asyncio.Task(coroutine, loop=given))

    async def main() -> None:
        assert await loop.create_task(asyncio.sleep(0, "made")) == "made"
        assert await asyncio.ensure_future(asyncio.sleep(0, "made")) == "made"
        assert await asyncio.gather(asyncio.sleep(0, "made")) == ["made"]

    run(loop, main())
    loop.set_task_factory(None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context is new in CPython 3.12")
def test_handles_tell_their_context(loop: Loop) -> None:
    import contextvars

    context = contextvars.copy_context()
    handle = loop.call_soon(int, context=context)
    timer = loop.call_later(3600, int, context=context)
    assert handle.get_context() is context  # type: ignore[attr-defined]
    assert timer.get_context() is context  # type: ignore[attr-defined]
    handle.cancel()
    timer.cancel()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.close_clients is new in CPython 3.13")
def test_servers_close_and_abort_their_clients(loop: Loop) -> None:
    async def main() -> None:
        for how in ("close_clients", "abort_clients"):
            server = await loop.create_server(Recorder, "127.0.0.1", 0)
            clients = [(await loop.create_connection(Recorder, *server.sockets[0].getsockname()))[1] for _ in range(3)]
            await until(lambda server=server: server._active_count if hasattr(server, "_active_count") else True)
            await turns(5)
            server.close()
            getattr(server, how)()
            await until(lambda clients=clients: all(client.lost for client in clients))
            await server.wait_closed()

    run(loop, main())


# Closing and debugging.


def test_closing_leaves_no_socket_behind(loop_factory: Any, tmp_path: Path) -> None:
    before = open_descriptors()
    loop = loop_factory()
    served: list[Recorder] = []

    def serve() -> Recorder:
        served.append(Recorder())
        return served[-1]

    async def main() -> None:
        server = await loop.create_server(serve, "127.0.0.1", 0)
        unix_server = await loop.create_unix_server(serve, str(tmp_path / "s"))
        for _ in range(5):
            transport, _ = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            unix_transport, _ = await loop.create_unix_connection(Recorder, str(tmp_path / "s"))
            transport.close()
            unix_transport.abort()
        await until(lambda: len(served) == 10 and all(protocol.lost for protocol in served))
        server.close()
        unix_server.close()
        await server.wait_closed()
        await unix_server.wait_closed()
        await turns(5)

    loop.run_until_complete(main())
    loop.close()
    assert open_descriptors() == before


def test_what_a_program_forgot_to_close_is_told_and_closed(loop_factory: Any) -> None:
    before = open_descriptors()

    def forget() -> None:
        ours, peer = socket_pair()
        loop = loop_factory()
        with peer:
            loop.run_until_complete(loop.create_connection(Recorder, sock=ours))
        loop.close()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        forget()
        gc.collect()
        assert any("unclosed transport" in str(warning.message) for warning in told)
        # The warnings hold what they are about.
        del told[:]
    gc.collect()
    assert open_descriptors() == before


def test_debug_mode_has_an_effect(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    assert loop.get_debug() is True
    with pytest.raises(TypeError, match="callable object was expected"):
        loop.call_soon(5)  # type: ignore[arg-type]
    loop.slow_callback_duration = 0.0
    loop.call_soon(int)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert "Executing" in caplog.text
    handle = loop.call_soon(int)
    assert "created at" in repr(handle)
    loop.set_debug(False)
    assert "created at" not in repr(loop.call_soon(int))
