"""Subprocesses: spawning, pipes, signals, return codes; nothing is left behind, whoever ends first."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support import (
    Loop,
    LoopFactory,
    descriptor_names,
    open_descriptors,
    python,
    run,
    run_in_thread,
    turns,
    until,
)

CAT = ("cat",)
SLEEPER = ("sleep", "3600")
MEBIBYTE = 1 << 20


class Events(asyncio.SubprocessProtocol):
    """Records its callbacks."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.transport: Any = None
        self.received = {1: bytearray(), 2: bytearray()}
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append(("connection_made",))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.received[fd] += data

    def pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
        self.calls.append(("pipe_connection_lost", fd, exc))

    def process_exited(self) -> None:
        self.calls.append(("process_exited", self.transport.get_returncode()))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append(("connection_lost", exc))
        self.lost = True


def has_ended(pid: int) -> bool:
    """Whether there is no such process any more, not even a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def unwaited_children() -> list[int]:
    """Children of this process, ended or not, that nobody has waited for."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{task}/children") as listing:
            found.extend(int(pid) for pid in listing.read().split())
    return found


# Ends when it is told to.
TOLD = ("sh", "-c", "read word; exit 4")


@contextlib.contextmanager
def told_to_end() -> Iterator[tuple[int, Callable[[int], None]]]:
    """The standard input of a child, and what ends that child and returns before the loop has a chance to notice."""
    ours, theirs = os.pipe()

    def end(pid: int) -> None:
        os.write(theirs, b"now\n")
        # Until 3.11 asyncio has a thread that waits for the child, and may be first.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    try:
        yield ours, end
    finally:
        os.close(ours)
        os.close(theirs)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# Spawning and talking


def test_output_input_and_return_code(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('complaint'); sys.exit(3)",
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert await process.communicate(b"some words") == (b"SOME WORDS", b"complaint")
        assert process.returncode == 3
        assert await process.wait() == 3

    run(loop, main())


def test_a_shell_runs_a_command(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 7", stdout=PIPE, stderr=STDOUT)
        output, nothing = await process.communicate()
        assert (output, nothing, process.returncode) == (b"out\nerr\n", None, 7)

    run(loop, main())


def test_the_protocol_is_told_everything_in_order(loop: Loop) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Events, "sh", "-c", "printf out; printf err >&2; exit 5")
        assert protocol.calls[0] == ("connection_made",)
        await until(lambda: protocol.lost)
        assert protocol.received == {1: b"out", 2: b"err"}
        assert sorted(protocol.calls[1:-1], key=repr) == [
            ("pipe_connection_lost", 0, None),
            ("pipe_connection_lost", 1, None),
            ("pipe_connection_lost", 2, None),
            ("process_exited", 5),
        ]
        assert protocol.calls[-1] == ("connection_lost", None)
        transport.close()

    run(loop, main())


def test_what_a_transport_tells(loop: Loop) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Events, *CAT, stdout=None)
        assert isinstance(transport, asyncio.SubprocessTransport)
        process = transport.get_extra_info("subprocess")
        assert isinstance(process, subprocess.Popen)
        assert transport.get_pid() == process.pid
        assert transport.get_returncode() is None
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        assert transport.get_pipe_transport(1) is None
        assert isinstance(transport.get_pipe_transport(2), asyncio.ReadTransport)
        assert transport.get_protocol() is protocol
        assert not transport.is_closing()
        assert f"pid={process.pid} running stdin=<" in repr(transport)
        other = Events()
        other.transport = transport
        transport.set_protocol(other)
        transport.get_pipe_transport(0).close()
        await until(lambda: other.lost)
        assert transport.get_returncode() == process.returncode == 0
        transport.close()
        assert transport.is_closing()

    run(loop, main())


def test_large_amounts_in_both_directions(loop: Loop) -> None:
    data = bytes(range(256)) * (8 * MEBIBYTE // 256)

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(data)
        assert output == data
        assert process.returncode == 0

    run(loop, main())


def test_streams_to_and_from_a_child(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None and process.stdout is not None
        for number in range(50):
            process.stdin.write(b"%d\n" % number)
            await process.stdin.drain()
            assert await process.stdout.readline() == b"%d\n" % number
        process.stdin.close()
        await process.stdin.wait_closed()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0

    run(loop, main())


def test_a_child_that_ends_before_it_has_read(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        await process.communicate(bytes(4 * MEBIBYTE))
        assert process.returncode == 0
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        assert process.stdin is not None
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                process.stdin.write(bytes(MEBIBYTE))
                await process.stdin.drain()
        assert await process.wait() == 0

    run(loop, main())


# What Popen takes


def test_popen_arguments(loop: Loop, tmp_path: pathlib.Path) -> None:
    async def output(*args: Any, **options: Any) -> str:
        process = await asyncio.create_subprocess_exec(*args, stdout=PIPE, **options)
        data, _ = await process.communicate()
        assert process.returncode == 0
        return data.decode().strip()

    async def main() -> None:
        assert await output("pwd", cwd=tmp_path) == os.path.realpath(tmp_path)
        assert await output("sh", "-c", "echo $WORD", env={"WORD": "mouse", "PATH": os.environ["PATH"]}) == "mouse"
        assert await output("not the name", "-c", "echo yes", executable="/bin/sh") == "yes"
        code = "import os; print(os.getsid(0) == os.getpid())"
        assert await output(sys.executable, "-c", code, start_new_session=True) == "True"
        assert await output("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o27)) == "0027"
        ours, theirs = os.pipe()
        try:
            await output("sh", "-c", f"echo passed on >/dev/fd/{theirs}", pass_fds=(theirs,))
            assert os.read(ours, 100) == b"passed on\n"
            os.set_inheritable(theirs, True)
            await output("sh", "-c", f"echo kept open >/dev/fd/{theirs}", close_fds=False)
            assert os.read(ours, 100) == b"kept open\n"
            process = await asyncio.create_subprocess_exec("sh", "-c", f"echo no >/dev/fd/{theirs}", stderr=DEVNULL)
            assert await process.wait() != 0
        finally:
            os.close(ours)
            os.close(theirs)
        with open(tmp_path / "output", "wb") as file:
            process = await asyncio.create_subprocess_exec("echo", "to a file", stdout=file)
            assert await process.wait() == 0
        assert (tmp_path / "output").read_text() == "to a file\n"

    run(loop, main())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"universal_newlines": True}, "universal_newlines must be False"),
        ({"shell": True}, "shell must be False"),
        ({"bufsize": 1}, "bufsize must be 0"),
        ({"text": True}, "text must be False"),
        ({"encoding": "utf-8"}, "encoding must be None"),
        ({"errors": "strict"}, "errors must be None"),
    ],
)
def test_arguments_that_asyncio_refuses(loop: Loop, options: dict[str, Any], message: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=f"^{message}$"):
            await loop.subprocess_exec(Events, "true", **options)

    run(loop, main())


def test_programs_and_directories_that_do_not_exist(loop: Loop, tmp_path: pathlib.Path) -> None:
    absent = tmp_path / "absent"

    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await asyncio.create_subprocess_exec(str(absent), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert caught.value.filename == str(absent)
        with pytest.raises(FileNotFoundError) as caught:
            await asyncio.create_subprocess_exec("true", cwd=absent, stdin=PIPE)
        assert str(caught.value.filename) == str(absent)
        absent.write_text("no program")
        with pytest.raises(PermissionError):
            await asyncio.create_subprocess_exec(str(absent))
        with pytest.raises(subprocess.SubprocessError, match="preexec_fn"):
            await asyncio.create_subprocess_exec("true", preexec_fn=lambda: 1 / 0)
        process = await asyncio.create_subprocess_shell(str(tmp_path / "nowhere"), stderr=DEVNULL)
        assert await process.wait() == 127

    run(loop, turns())  # The first run makes what every run needs.
    before = open_descriptors()
    run(loop, main())
    gc.collect()
    assert open_descriptors() == before


# Ends


def test_signals(loop: Loop) -> None:
    async def main() -> None:
        for send, expected in (
            (lambda process: process.terminate(), -signal.SIGTERM),
            (lambda process: process.kill(), -signal.SIGKILL),
            (lambda process: process.send_signal(signal.SIGUSR1), -signal.SIGUSR1),
        ):
            process = await asyncio.create_subprocess_exec(*SLEEPER)
            assert process.returncode is None
            send(process)
            assert await process.wait() == expected

    run(loop, main())


def test_a_stopped_child_has_not_ended(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE)
        process.send_signal(signal.SIGSTOP)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x")
        await turns(10)
        assert process.returncode is None
        process.send_signal(signal.SIGCONT)
        assert await process.stdout.readexactly(1) == b"x"
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(loop, main())


def test_signals_after_the_end(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        await turns(5)
        for send in (process.terminate, process.kill, lambda: process.send_signal(signal.SIGINT)):
            with pytest.raises(ProcessLookupError):
                send()

    run(loop, main())


@pytest.mark.pyloop_only("until 3.12 asyncio's Popen takes the status before it sends a signal, and 255 is reported")
def test_signals_between_the_end_and_its_notice(loop: Loop) -> None:
    async def main() -> None:
        with told_to_end() as (stdin, end):
            process = await asyncio.create_subprocess_exec(*TOLD, stdin=stdin)
            end(process.pid)
            process.kill()
            assert await process.wait() == 4

    run(loop, main())


@pytest.mark.pyloop_only("until 3.13 asyncio sends the signal to whoever has the number by then")
def test_a_signal_never_reaches_a_stranger(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []

    async def main() -> None:
        # The grandchild keeps the pipe, and with it the transport, open.
        process = await asyncio.create_subprocess_exec("sh", "-c", "sleep 3600 & echo $!", stdout=PIPE)
        assert process.stdout is not None
        grandchild = int(await process.stdout.readline())
        try:
            await until(lambda: process.returncode is not None)
            monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
            process.kill()
            process.send_signal(signal.SIGTERM)
        finally:
            monkeypatch.undo()
            os.kill(grandchild, signal.SIGKILL)
        assert await process.wait() == 0
        assert await process.stdout.read() == b""
        await turns(5)

    run(loop, main())
    assert sent == []


def test_closing_kills_a_child_that_runs(loop: Loop) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Events, *SLEEPER)
        transport.close()
        transport.close()
        await until(lambda: protocol.lost)
        assert transport.get_returncode() == -signal.SIGKILL
        assert has_ended(transport.get_pid())

    run(loop, main())


@pytest.mark.pyloop_only("asyncio's close() takes the status of a child whose end it has not seen, and reports 255")
def test_closing_a_child_that_has_just_ended_keeps_its_return_code(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with told_to_end() as (stdin, end):
            transport, protocol = await loop.subprocess_exec(Events, *TOLD, stdin=stdin)
            end(transport.get_pid())
            transport.close()
            await until(lambda: protocol.lost)
            assert transport.get_returncode() == 4

    run(loop, main())
    assert caplog.messages == []


def test_a_status_that_somebody_else_has_taken(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Events, *CAT)
        os.kill(transport.get_pid(), signal.SIGKILL)
        os.waitpid(transport.get_pid(), 0)
        await until(lambda: protocol.lost)
        assert transport.get_returncode() == 255
        transport.close()
        await turns(5)

    # Until 3.11 asyncio waits in a thread, which may take the status first.
    if sys.version_info < (3, 12) and type(loop) is asyncio.SelectorEventLoop:
        pytest.skip("asyncio's own thread waits for the child as well")
    run(loop, main())
    assert any("will report returncode 255" in message for message in caplog.messages)


def test_many_may_wait_for_one_child(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE)
        assert process.stdin is not None
        waiting = [asyncio.ensure_future(process.wait()) for _ in range(20)]
        await turns(2)
        waiting[3].cancel()
        process.stdin.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results.pop(3), asyncio.CancelledError)
        assert results == [0] * 19

    run(loop, main())


def test_cancelling_while_a_child_is_spawned_ends_it(loop: Loop) -> None:
    spawned: list[int] = []
    popen = subprocess.Popen

    class Watched(popen):  # type: ignore[type-arg,valid-type,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            spawned.append(self.pid)

    async def main() -> None:
        for pipes in ({}, {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}):
            task = asyncio.ensure_future(asyncio.create_subprocess_exec(*SLEEPER, **pipes))  # type: ignore[arg-type]
            while not spawned:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert has_ended(spawned.pop())
            await turns(5)

    run(loop, turns())
    before = open_descriptors()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Watched)
        run(loop, main())
    gc.collect()
    assert open_descriptors() == before


def test_a_child_that_never_ends_hurts_nobody_else(loop: Loop) -> None:
    async def main() -> None:
        stubborn = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import time; time.sleep(3600)", stdin=PIPE, stdout=PIPE
        )
        assert stubborn.stdin is not None
        stubborn.stdin.write(bytes(MEBIBYTE))  # It never reads, either.
        for number in range(20):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {number}", stdout=PIPE)
            await process.communicate()
            assert process.returncode == number
        assert stubborn.returncode is None
        stubborn.kill()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await stubborn.communicate()
        assert await stubborn.wait() == -signal.SIGKILL

    run(loop, main())


def test_many_children_at_once(loop: Loop) -> None:
    async def one(number: int) -> None:
        process = await asyncio.create_subprocess_shell(f"printf {number}; exit {number}", stdout=PIPE)
        output, _ = await process.communicate()
        assert (int(output), process.returncode) == (number, number)

    async def main() -> None:
        await asyncio.gather(*[one(number) for number in range(100)])

    run(loop, main())


@linux_only
def test_a_thousand_children_leave_nothing(loop: Loop) -> None:
    async def batch(count: int) -> None:
        processes = [await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE) for _ in range(count)]
        for process in processes:
            await process.communicate()
            assert process.returncode == 0

    async def main() -> None:
        for _ in range(50):
            await batch(20)

    run(loop, batch(2))
    gc.collect()
    before = open_descriptors(), threading.active_count(), unwaited_children()
    run(loop, main(), seconds=55)
    gc.collect()
    assert (open_descriptors(), threading.active_count(), unwaited_children()) == before


# Loops, threads, forks


def test_from_a_loop_in_another_thread(loop_factory: LoopFactory) -> None:
    async def body() -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(b"from a thread")
        return output, process.returncode

    def main() -> tuple[bytes, int | None]:
        loop = loop_factory()
        try:
            return loop.run_until_complete(body())
        finally:
            loop.close()

    for _ in range(3):
        assert run_in_thread(main) == (b"from a thread", 0)


# asyncio (3.12 and 3.13) silences its own warning by `catch_warnings`, which all threads share: one may switch it on
# again for the other.
@pytest.mark.filterwarnings("ignore:'get_child_watcher' is deprecated:DeprecationWarning")
def test_two_threads_have_children_at_once(loop_factory: LoopFactory) -> None:
    codes: list[int] = []

    async def body(base: int) -> None:
        for number in range(10):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {base + number}")
            codes.append(await process.wait())

    def main(base: int) -> None:
        loop = loop_factory()
        try:
            loop.run_until_complete(body(base))
        finally:
            loop.close()

    threads = [threading.Thread(target=main, args=(base,)) for base in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(codes) == [*range(10), *range(100, 110)]


def test_a_loop_closed_while_a_child_lives(loop_factory: LoopFactory, loop_name: str) -> None:
    before = open_descriptors()
    loop = loop_factory()

    async def main() -> Any:
        return await asyncio.create_subprocess_exec(*SLEEPER)

    process = loop.run_until_complete(main())
    pid = process.pid
    loop.close()
    assert not has_ended(pid)
    if loop_name == "pyloop":
        assert open_descriptors() == before
    os.kill(pid, signal.SIGKILL)
    popen = process._transport.get_extra_info("subprocess")
    popen.wait()
    process._transport._returncode = popen.returncode
    process._transport.close()
    if loop_name == "asyncio" and sys.version_info < (3, 12):
        # Its thread finds the loop closed, and logs that.
        for thread in threading.enumerate():
            if thread.name.startswith("asyncio-waitpid"):
                thread.join(20)


def test_the_process_may_end_while_children_live(loop_name: str) -> None:
    done = python(
        loop_name,
        """
import subprocess
async def main():
    process = await asyncio.create_subprocess_exec("sleep", "3600", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    print(process.pid, flush=True)
    import os
    os._exit(0) if os.environ.get("ABRUPT") else None
    return process
loop = new_loop()
process = loop.run_until_complete(main())
process._transport.get_extra_info("subprocess").kill()
""",
        options=("-W", "ignore"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().isdigit()
    assert "Fatal" not in done.stderr and "panic" not in done.stderr


@pytest.mark.parametrize("closed", ["0", "1", "0, 1, 2"])
def test_with_closed_standard_streams(loop_name: str, closed: str, tmp_path: pathlib.Path) -> None:
    report = tmp_path / "report"
    done = python(
        loop_name,
        f"""
import os, sys
PIPE = asyncio.subprocess.PIPE
report = os.open({str(report)!r}, os.O_WRONLY | os.O_CREAT, 0o600)
report = os.dup2(report, 50)
for fd in ({closed},):
    os.close(fd)
async def main():
    process = await asyncio.create_subprocess_exec("sh", "-c", "cat; echo err >&2; exit 3", stdin=PIPE, stdout=PIPE,
        stderr=PIPE)
    output, errors = await process.communicate(b"in")
    os.write(report, repr((output, errors, process.returncode)).encode())
loop = new_loop()
loop.run_until_complete(main())
loop.close()
""",
    )
    assert report.read_text() == repr((b"in", b"err\n", 3)), done.stderr


def test_children_do_not_disturb_the_parents_signals(loop: Loop) -> None:
    """A child between fork and exec runs `preexec_fn` with what it has inherited, and must not use it."""
    seen: list[str] = []

    def in_child() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    async def main() -> None:
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "parent")
        try:
            process = await asyncio.create_subprocess_exec("true", preexec_fn=in_child)
            assert await process.wait() == 0
            await turns(10)
            assert seen == []
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: seen == ["parent"])
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    if sys.version_info < (3, 12) and type(loop) is asyncio.SelectorEventLoop:
        pytest.skip("asyncio lets a forked child wake the parent's loop until 3.11")
    run(loop, main())


def test_a_handler_for_sigchld_is_accepted(loop: Loop) -> None:
    seen: list[str] = []

    async def main() -> None:
        loop.add_signal_handler(signal.SIGCHLD, seen.append, "child")
        try:
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 9")
            assert await process.wait() == 9
            await until(lambda: seen)
        finally:
            assert loop.remove_signal_handler(signal.SIGCHLD)

    run(loop, main())


def test_debug_mode_speaks_of_children(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "asyncio")
    loop.set_debug(True)
    loop.slow_callback_duration = 60

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdout=PIPE)
        await process.communicate()

    run(loop, main())
    said = "\n".join(caplog.messages)
    for words in ("execute program 'true'", "process 'true' created: pid", "exited with return code 0"):
        assert words in said


def test_out_of_descriptors(loop: Loop) -> None:
    async def main() -> None:
        _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        in_use = max(map(int, descriptor_names()))
        taken: list[int] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 4, hard))
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(2))
            for spare in range(5):
                with pytest.raises(OSError, match="Too many open files"):
                    await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE, stderr=PIPE)
                if spare < 4:
                    os.close(taken.pop())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in taken:
                os.close(descriptor)
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
        await process.communicate()
        assert process.returncode == 0

    run(loop, turns())  # The first run makes what every run needs.
    before = open_descriptors()
    run(loop, main())
    gc.collect()
    # Until 3.10 Popen loses the pipes that it has made before it runs out.
    if sys.version_info >= (3, 11):
        assert open_descriptors() == before


# Child watchers and the reaper


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there are no child watchers any more")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["SafeChildWatcher", "ThreadedChildWatcher", "PidfdChildWatcher"])
def test_child_watchers_of_the_application(loop: Loop, name: str) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 6", stdout=PIPE)
        await process.communicate()
        assert process.returncode == 6
        process = await asyncio.create_subprocess_exec(*SLEEPER)
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    watcher = getattr(asyncio, name)()
    asyncio.set_child_watcher(watcher)
    watcher.attach_loop(loop)
    try:
        run(loop, main())
        watcher.attach_loop(None)
    finally:
        watcher.close()
        asyncio.set_child_watcher(None)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there are no child watchers any more")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_watcher_that_is_not_active_is_an_error(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="subprocess support is not installed"):
            await asyncio.create_subprocess_exec("true")

    asyncio.set_child_watcher(asyncio.SafeChildWatcher())
    try:
        run(loop, main())
    finally:
        asyncio.set_child_watcher(None)


@pytest.fixture
def no_process_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older kernel."""

    def refuse(_pid: int, _flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


ours_alone = pytest.mark.pyloop_only("without process descriptors asyncio has a thread per child, or fails")


@ours_alone
def test_without_process_descriptors_one_thread_serves_all(loop: Loop, no_process_descriptors: None) -> None:
    before = set(threading.enumerate())
    most = 0

    async def one(number: int) -> None:
        nonlocal most
        process = await asyncio.create_subprocess_shell(f"printf {number}; exit {number}", stdout=PIPE)
        most = max(most, len(set(threading.enumerate()) - before))
        output, _ = await process.communicate()
        assert (int(output), process.returncode) == (number, number)

    async def main() -> None:
        sleeper = await asyncio.create_subprocess_exec(*SLEEPER)
        await asyncio.gather(*[one(number) for number in range(50)])
        assert sleeper.returncode is None
        sleeper.kill()
        assert await sleeper.wait() == -signal.SIGKILL
        await until(lambda: set(threading.enumerate()) == before, "the thread's end")

    run(loop, main())
    assert most == 1


@ours_alone
def test_the_reaper_minds_other_peoples_children(loop: Loop, no_process_descriptors: None) -> None:
    async def main() -> None:
        # A zombie that the application has not waited for yet is in the way of every wait for any child.
        stranger = subprocess.Popen(["true"])
        os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 8")
        assert await process.wait() == 8
        assert stranger.wait() == 0

    run(loop, main())


@ours_alone
def test_a_loop_closed_under_the_reaper(
    loop_factory: LoopFactory, no_process_descriptors: None, caplog: pytest.LogCaptureFixture
) -> None:
    loop = loop_factory()

    async def spawn() -> Any:
        return await asyncio.create_subprocess_exec(*SLEEPER)

    process = loop.run_until_complete(spawn())
    loop.close()
    os.kill(process.pid, signal.SIGKILL)
    for thread in threading.enumerate():
        if thread.name == "pyloop-reaper":
            thread.join(20)
    assert has_ended(process.pid)
    assert any("that handles pid" in message for message in caplog.messages)
    popen = process._transport.get_extra_info("subprocess")
    popen.returncode = process._transport._returncode = -signal.SIGKILL
    process._transport.close()
