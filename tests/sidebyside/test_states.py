"""Right calls in the wrong state: a closed loop, a running one, another thread, transports at stages of their end."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from .differences import DIFFERENT_STAGES
from .outcomes import Outcome, outcome
from .specimens import SPECIMENS, TRANSPORTS, Loop, Silent, factories, on_a_loop


async def _coroutine() -> str:
    return "result"


def _closed_future(loop: Loop) -> Any:
    return asyncio.Future(loop=loop)


# Calls that a loop which is open and does not run would take.
CALLS: dict[str, Callable[[Loop, socket.socket], Any]] = {
    "add_reader": lambda loop, sock: loop.add_reader(sock, print),
    "add_signal_handler": lambda loop, sock: loop.add_signal_handler(signal.SIGUSR1, print),
    "add_writer": lambda loop, sock: loop.add_writer(sock, print),
    "call_at": lambda loop, sock: loop.call_at(0, print),
    "call_exception_handler": lambda loop, sock: loop.call_exception_handler({"message": "as a test"}),
    "call_later": lambda loop, sock: loop.call_later(0, int),
    "call_soon": lambda loop, sock: loop.call_soon(int),
    "call_soon_threadsafe": lambda loop, sock: loop.call_soon_threadsafe(int),
    "close": lambda loop, sock: loop.close(),
    "create_future": lambda loop, sock: loop.create_future(),
    "create_task": lambda loop, sock: _drop(loop.create_task, _coroutine()),
    "get_debug": lambda loop, sock: loop.get_debug(),
    "get_exception_handler": lambda loop, sock: loop.get_exception_handler() is not None,
    "get_task_factory": lambda loop, sock: loop.get_task_factory(),
    "is_closed": lambda loop, sock: loop.is_closed(),
    "is_running": lambda loop, sock: loop.is_running(),
    "remove_reader": lambda loop, sock: loop.remove_reader(sock),
    "remove_signal_handler": lambda loop, sock: loop.remove_signal_handler(signal.SIGUSR1),
    "remove_writer": lambda loop, sock: loop.remove_writer(sock),
    "run_forever": lambda loop, sock: loop.run_forever(),
    "run_in_executor": lambda loop, sock: loop.run_in_executor(None, int),
    "run_until_complete": lambda loop, sock: _drop(loop.run_until_complete, _coroutine()),
    "run_until_complete of a future": lambda loop, sock: loop.run_until_complete(_closed_future(loop)),
    "set_debug": lambda loop, sock: loop.set_debug(False),
    "set_exception_handler": lambda loop, sock: loop.set_exception_handler(lambda _loop, _context: None),
    "set_task_factory": lambda loop, sock: loop.set_task_factory(None),
    "stop": lambda loop, sock: loop.stop(),
    "time": lambda loop, sock: loop.time() > 0,
}

# Coroutines, stepped on another loop than the one that they are asked of.
COROUTINES: dict[str, Callable[[Loop, socket.socket], Any]] = {
    "connect_accepted_socket": lambda loop, sock: loop.connect_accepted_socket(Silent, sock),
    "connect_read_pipe": lambda loop, sock: loop.connect_read_pipe(Silent, sock),
    "connect_write_pipe": lambda loop, sock: loop.connect_write_pipe(Silent, sock),
    "create_connection": lambda loop, sock: loop.create_connection(Silent, sock=sock),
    "create_datagram_endpoint": lambda loop, sock: loop.create_datagram_endpoint(Silent, ("127.0.0.1", 0)),
    "create_server": lambda loop, sock: loop.create_server(Silent, "127.0.0.1", 0),
    "getaddrinfo": lambda loop, sock: loop.getaddrinfo("localhost", "no such service"),
    "getnameinfo": lambda loop, sock: loop.getnameinfo(("localhost", 80)),
    "shutdown_asyncgens": lambda loop, sock: loop.shutdown_asyncgens(),
    "shutdown_default_executor": lambda loop, sock: loop.shutdown_default_executor(),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, "nowhere"),
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "subprocess_exec": lambda loop, sock: loop.subprocess_exec(Silent, "no such program"),
    # Without pipes: asyncio leaves them, and the child's watcher holds them for as long as it pleases.
    "subprocess_shell": lambda loop, sock: loop.subprocess_shell(
        Silent, "exit 0", stdin=None, stdout=None, stderr=None
    ),
}


def _drop(call: Callable[[Any], Any], coroutine: Any) -> Any:
    """A coroutine that was refused is not left to warn that nobody awaited it."""
    try:
        return call(coroutine)
    finally:
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    return ours, peer


def _ask(call: Callable[[], Any]) -> Outcome:
    """The outcome of a call that needs no loop to be driven."""
    try:
        value = call()
        if inspect.iscoroutine(value):
            value.close()
            return Outcome("a coroutine")
    except Exception as error:
        return Outcome(error=error)
    return Outcome(value)


def _step(coroutine: Any) -> Outcome:
    """What a coroutine of a loop that does not run comes to in its first step."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return Outcome(done.value)
    except Exception as error:
        return Outcome(error=error)
    coroutine.close()
    return Outcome("waits")


def _reap() -> None:
    """Lets go of children that nobody waited for: `subprocess` keeps them, and their pipes, until they have ended."""
    active: list[Any] = subprocess._active  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while active:
        assert time.monotonic() < deadline, "a child goes on"
        subprocess._cleanup()  # type: ignore[attr-defined]
        time.sleep(0.001)


def _new_loop(factory: Callable[[], Loop]) -> Loop:
    loop = factory()
    loop.set_exception_handler(lambda _loop, _context: None)
    return loop


def _compare(answer: Callable[[Callable[[], Loop]], Outcome]) -> None:
    made = factories()
    stock, ours = answer(made["asyncio"]), answer(made["pyloop"])
    assert ours.agrees_with(stock), f"asyncio: {stock}; pyloop: {ours}"


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_loop_answers_alike(name: str) -> None:
    def answer(factory: Callable[[], Loop]) -> Outcome:
        ours, peer = _pair()
        with ours, peer:
            loop = _new_loop(factory)
            loop.close()
            return _ask(lambda: CALLS[name](loop, ours))

    _compare(answer)


@pytest.mark.filterwarnings(
    # asyncio makes some transports before it notices that the loop is closed, and leaves them.
    "ignore::ResourceWarning",
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("name", COROUTINES)
def test_coroutines_of_a_closed_loop_answer_alike(name: str) -> None:
    def answer(factory: Callable[[], Loop]) -> Outcome:
        ours, peer = _pair()
        with ours, peer:
            loop = _new_loop(factory)
            loop.close()
            found = _step(COROUTINES[name](loop, ours))
        del loop
        gc.collect()  # What was left warns now, and to this test.
        _reap()
        return found

    _compare(answer)


@pytest.mark.parametrize("name", CALLS)
def test_a_running_loop_answers_alike(name: str) -> None:
    def answer(factory: Callable[[], Loop]) -> Outcome:
        async def ask(loop: Loop) -> Outcome:
            ours, peer = _pair()
            with ours, peer:
                found = _ask(lambda: CALLS[name](loop, ours))
                loop.remove_reader(ours)
                loop.remove_writer(ours)
                if name == "stop":
                    loop.call_soon(loop.stop)
            return found

        loop = _new_loop(factory)
        try:
            task = loop.create_task(ask(loop))
            while not task.done():
                task.add_done_callback(lambda _: loop.stop())
                loop.run_forever()
            return task.result()
        finally:
            loop.close()
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    _compare(answer)


@pytest.mark.parametrize("name", ["run_forever", "run_until_complete", "close", "is_running", "call_soon_threadsafe"])
def test_another_thread_is_answered_alike_while_the_loop_runs(name: str) -> None:
    def answer(factory: Callable[[], Loop]) -> Outcome:
        found: list[Outcome] = []

        async def main() -> None:
            ours, peer = _pair()
            with ours, peer:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, lambda: found.append(_ask(lambda: CALLS[name](loop, ours))))

        loop = _new_loop(factory)
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        return found[0]

    _compare(answer)


def test_another_loop_of_the_same_thread_is_refused_alike() -> None:
    def answer(factory: Callable[[], Loop]) -> Outcome:
        outer, inner = _new_loop(factory), _new_loop(factory)
        try:

            async def main() -> Outcome:
                return _ask(inner.run_forever)

            return outer.run_until_complete(main())
        finally:
            outer.close()
            inner.close()

    _compare(answer)


# The life of a transport: what is done to it before every method is called.
STAGES: dict[str, list[str]] = {
    "open": [],
    "closing": ["close"],
    "closed twice": ["close", "close"],
    "paused": ["pause_reading"],
    "paused twice": ["pause_reading", "pause_reading"],
    "half closed": ["write_eof"],
    "aborted": ["abort"],
}
# With the arguments that they need. What ends a transport comes with the stages.
METHODS: dict[str, tuple[Any, ...]] = {
    "can_write_eof": (),
    "get_extra_info": ("no such thing", "default"),
    "get_pid": (),
    "get_protocol": (),
    "get_returncode": (),
    "get_write_buffer_limits": (),
    "get_write_buffer_size": (),
    "is_closing": (),
    "is_reading": (),
    "pause_reading": (),
    "resume_reading": (),
    "sendto": (b"data", None),
    "set_protocol": (Silent(),),
    "set_write_buffer_limits": (100, 10),
    "write": (b"data",),
    "writelines": ([b"some", b"data"],),
    # These change the stage for what comes after them.
    "write_eof": (),
    "close": (),
}


def _disagreements(kind: str, stage: str) -> dict[str, tuple[Outcome, Outcome]]:
    async def ask(transport: Any) -> dict[str, Outcome]:
        for step in STAGES[stage]:
            if hasattr(transport, step):
                await outcome(getattr(transport, step))  # TLS, for one, has no half close.
        found = {}
        for name, args in METHODS.items():
            if not hasattr(transport, name):
                continue
            found[name] = await outcome(lambda name=name, args=args: getattr(transport, name)(*args))  # type: ignore[misc]
            if name == "get_pid" and found[name].kind.isdigit():
                found[name] = Outcome("a number")
        return found

    made = factories()
    stock, ours = (on_a_loop(made[loop], kind, ask) for loop in ("asyncio", "pyloop"))
    assert stock.keys() == ours.keys()
    return {
        name: (stock[name], ours[name])
        for name in stock
        # What asyncio's transport has only got with a later Python may be there.
        if not ours[name].agrees_with(stock[name])
        and not stock[name].stumbled
        and stock[name].kind != "NotImplementedError"
    }


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_transport_answers_alike_at_every_stage(kind: str, stage: str) -> None:
    wrong = _disagreements(kind, stage)
    assert {name: answers for name, answers in wrong.items() if (kind, name) not in DIFFERENT_STAGES} == {}


def test_every_difference_at_some_stage_is_one() -> None:
    for kind in {kind for kind, _ in DIFFERENT_STAGES}:
        found = {(kind, name) for stage in STAGES for name in _disagreements(kind, stage)}
        assert {listed for listed in DIFFERENT_STAGES if listed[0] == kind} <= found


def test_there_is_a_specimen_of_every_transport() -> None:
    assert set(TRANSPORTS) < set(SPECIMENS)
    assert threading.current_thread() is threading.main_thread()
