"""Context variables: captured when a callback is scheduled, on every path into the loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from .support import (
    Loop,
    Recorder,
    listening_socket,
    run,
    run_until,
    socket_pair,
    thread_running,
    turn,
    turns,
    until,
)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def context_with(value: str) -> contextvars.Context:
    context = contextvars.Context()
    context.run(variable.set, value)
    return context


def schedule_soon(loop: Loop, callback: Callable[..., object], **keywords: Any) -> asyncio.Handle:
    return loop.call_soon(callback, **keywords)


def schedule_threadsafe(loop: Loop, callback: Callable[..., object], **keywords: Any) -> asyncio.Handle:
    return loop.call_soon_threadsafe(callback, **keywords)


def schedule_later(loop: Loop, callback: Callable[..., object], **keywords: Any) -> asyncio.Handle:
    return loop.call_later(0.0001, callback, **keywords)


def schedule_at(loop: Loop, callback: Callable[..., object], **keywords: Any) -> asyncio.Handle:
    return loop.call_at(loop.time(), callback, **keywords)


every_way = pytest.mark.parametrize(
    "schedule", [schedule_soon, schedule_threadsafe, schedule_later, schedule_at], ids=lambda way: way.__name__
)


@every_way
def test_the_context_is_captured_when_the_callback_is_scheduled(loop: Loop, schedule: Any) -> None:
    seen: list[str] = []

    def body() -> None:
        variable.set("when scheduled")
        schedule(loop, lambda: seen.append(variable.get()))
        variable.set("after scheduling")

    contextvars.copy_context().run(body)
    run_until(loop, lambda: seen)
    assert seen == ["when scheduled"]


@every_way
def test_an_explicit_context_is_used(loop: Loop, schedule: Any) -> None:
    seen: list[str] = []
    context = context_with("explicit")
    schedule(loop, lambda: (seen.append(variable.get()), variable.set("changed inside")), context=context)  # type: ignore[func-returns-value]
    run_until(loop, lambda: seen)
    assert seen == ["explicit"]
    assert context[variable] == "changed inside"
    assert variable.get() == "unset"


@every_way
def test_a_context_of_none_means_the_current_one(loop: Loop, schedule: Any) -> None:
    seen: list[str] = []
    context_with("current").run(lambda: schedule(loop, lambda: seen.append(variable.get()), context=None))
    run_until(loop, lambda: seen)
    assert seen == ["current"]


@every_way
def test_callbacks_cannot_change_the_context_of_each_other(loop: Loop, schedule: Any) -> None:
    seen: list[str] = []

    def callback() -> None:
        seen.append(variable.get())
        variable.set("leaked")

    schedule(loop, callback)
    schedule(loop, callback)
    run_until(loop, lambda: len(seen) == 2)
    assert seen == ["unset", "unset"]


@every_way
def test_an_exception_leaves_the_context_usable(loop: Loop, schedule: Any, reports: list[dict[str, Any]]) -> None:
    context = context_with("kept")

    def fail() -> None:
        raise ValueError("expected")

    schedule(loop, fail, context=context)
    run_until(loop, lambda: reports)
    assert context.run(variable.get) == "kept"


def test_a_context_that_is_being_run_cannot_be_entered_twice(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    context = contextvars.copy_context()
    seen: list[str] = []

    def nested() -> None:
        loop.call_soon(seen.append, "impossible", context=context)
        turn(loop)

    context.run(nested)
    assert seen == []
    assert "is already entered" in caplog.text
    caplog.clear()


def test_threadsafe_captures_the_context_of_the_calling_thread(loop: Loop) -> None:
    seen: list[str] = []

    def other_thread() -> None:
        variable.set("other thread")
        loop.call_soon_threadsafe(lambda: seen.append(variable.get()))

    with thread_running(other_thread):
        pass
    run_until(loop, lambda: seen)
    assert seen == ["other thread"]
    assert variable.get() == "unset"


def test_readers_and_writers_run_in_the_context_of_their_registration(loop: Loop) -> None:
    left, right = socket_pair()
    seen: list[str] = []

    def readable() -> None:
        seen.append("read " + variable.get())
        loop.remove_reader(left)

    def writable() -> None:
        seen.append("write " + variable.get())
        loop.remove_writer(left)

    context_with("reader").run(loop.add_reader, left, readable)
    context_with("writer").run(loop.add_writer, left, writable)
    right.send(b"x")
    run_until(loop, lambda: len(seen) == 2)
    left.close()
    right.close()
    assert sorted(seen) == ["read reader", "write writer"]


def test_signal_handlers_run_in_the_context_of_their_registration(loop: Loop) -> None:
    seen: list[str] = []
    context_with("signal").run(loop.add_signal_handler, signal.SIGUSR1, lambda: seen.append(variable.get()))
    os.kill(os.getpid(), signal.SIGUSR1)
    run_until(loop, lambda: seen)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == ["signal"]


def test_tasks_copy_the_context_and_keep_their_own(loop: Loop) -> None:
    async def child() -> str:
        seen = variable.get()
        variable.set("child")
        await asyncio.sleep(0)
        assert variable.get() == "child"
        return seen

    async def main() -> None:
        variable.set("parent")
        task = asyncio.ensure_future(child())
        variable.set("parent, later")
        assert await task == "parent"
        assert variable.get() == "parent, later"

    run(loop, main())


def test_done_callbacks_run_in_the_context_they_were_added_in(loop: Loop) -> None:
    seen: list[str] = []
    future = loop.create_future()
    context_with("added").run(future.add_done_callback, lambda _future: seen.append(variable.get()))
    future.add_done_callback(lambda _future: seen.append(variable.get()), context=context_with("given"))
    context_with("set").run(future.set_result, None)
    run_until(loop, lambda: len(seen) == 2)
    assert seen == ["added", "given"]


class ContextRecorder(Recorder):
    """Notes the variable at every callback."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.seen["connection_made"] = variable.get()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.seen["data_received"] = variable.get()

    def eof_received(self) -> bool | None:
        self.seen["eof_received"] = variable.get()
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.seen["connection_lost"] = variable.get()


def test_protocol_callbacks_see_the_context_of_create_connection(loop: Loop) -> None:
    async def main() -> None:
        ours, peer = socket_pair()
        variable.set("connecting")
        protocol = ContextRecorder()
        await loop.create_connection(lambda: protocol, sock=ours)
        variable.set("afterwards")
        peer.send(b"x")
        await until(lambda: protocol.received)
        peer.close()
        await until(lambda: protocol.lost)
        assert protocol.seen == dict.fromkeys(protocol.seen, "connecting")
        assert len(protocol.seen) == 4

    run(loop, main())


@pytest.mark.pyloop_only("asyncio runs connection_made in a copy of the context that the later methods run in")
def test_what_connection_made_sets_the_later_methods_see(loop: Loop) -> None:
    class Setting(ContextRecorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            variable.set("set by connection_made")

    async def main() -> None:
        ours, peer = socket_pair()
        variable.set("connecting")
        protocol = Setting()
        await loop.create_connection(lambda: protocol, sock=ours)
        peer.send(b"x")
        await until(lambda: protocol.received)
        peer.close()
        await until(lambda: protocol.lost)
        later = {name: value for name, value in protocol.seen.items() if name != "connection_made"}
        assert later == dict.fromkeys(("data_received", "eof_received", "connection_lost"), "set by connection_made")
        assert variable.get() == "connecting"

    run(loop, main())


def test_server_protocols_see_the_context_of_create_server(loop: Loop) -> None:
    async def main() -> None:
        protocols: list[ContextRecorder] = []

        def factory() -> ContextRecorder:
            protocols.append(ContextRecorder())
            protocols[-1].seen["factory"] = variable.get()
            return protocols[-1]

        variable.set("serving")
        listener = listening_socket()
        server = await loop.create_server(factory, sock=listener)
        variable.set("afterwards")
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"x")
        await until(lambda: protocols and protocols[0].received)
        writer.close()
        await writer.wait_closed()
        await until(lambda: protocols[0].lost)
        server.close()
        await server.wait_closed()
        assert protocols[0].seen == dict.fromkeys(protocols[0].seen, "serving")
        assert len(protocols[0].seen) == 5

    run(loop, main())


def test_executor_jobs_do_not_see_the_context_but_to_thread_does(loop: Loop) -> None:
    async def main() -> None:
        variable.set("here")
        assert await loop.run_in_executor(None, variable.get) == "unset"
        assert await asyncio.to_thread(variable.get) == "here"
        await loop.shutdown_default_executor()
        await turns()

    run(loop, main())
