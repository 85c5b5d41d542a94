"""How a program comes by a pyloop loop, and that importing pyloop changes nothing."""

from __future__ import annotations

import asyncio
import sys

import pytest

from .support import python

# Policies are deprecated from CPython 3.14 on; who uses one there has accepted that.
POLICIES = "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"
has_runner = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner is new in CPython 3.11")


def output_of(source: str) -> str:
    result = python("pyloop", source, options=("-W", "error"))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


MAIN = """
async def main():
    await asyncio.sleep(0)
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
"""

PYLOOP_ONLY = pytest.mark.pyloop_only("there is nothing to import for stock asyncio")


@PYLOOP_ONLY
def test_importing_pyloop_touches_no_policy_and_patches_nothing(loop_name: str) -> None:
    source = """
import sys
def state():
    import asyncio, select, selectors, signal, socket, ssl, threading
    modules = [asyncio, *(m for name, m in sorted(sys.modules.items()) if name.startswith("asyncio.")),
               select, selectors, signal, socket, ssl, threading]
    seen = {}
    for module in modules:
        for name, value in vars(module).items():
            seen[module.__name__, name] = id(value)
            if isinstance(value, type):
                for attribute, inner in vars(value).items():
                    if attribute not in ("__abstractmethods__", "_abc_impl", "__weakref__", "__dict__"):
                        seen[module.__name__, name, attribute] = id(inner)
    seen["wakeup"] = signal.set_wakeup_fd(-1)
    seen["sigint"] = id(signal.getsignal(signal.SIGINT))
    seen["threads"] = threading.active_count()
    return seen
before = state()
import pyloop
after = state()
known = {key[0] for key in before}
changed = [key for key in before.keys() | after.keys() if key[0] in known and before.get(key) != after.get(key)]
print(sorted(str(key) for key in changed if "__warningregistry__" not in key))
"""
    result = python("asyncio", source, options=("-W", "error"))
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stdout + result.stderr


@PYLOOP_ONLY
def test_run_runs_a_coroutine_on_a_new_loop(loop_name: str) -> None:
    assert output_of(MAIN + "print(pyloop.run(main()))") == "pyloop"


@PYLOOP_ONLY
def test_run_closes_the_loop_and_cancels_what_is_left(loop_name: str) -> None:
    source = """
async def forever():
    try:
        await asyncio.sleep(3600)
    finally:
        print("cancelled")
async def main():
    global loop, task
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
pyloop.run(main())
print(loop.is_closed(), task.cancelled())
"""
    assert output_of(source).split() == ["cancelled", "True", "True"]


@PYLOOP_ONLY
def test_run_raises_what_the_coroutine_raises_and_refuses_a_running_loop(loop_name: str) -> None:
    source = """
async def fail():
    raise LookupError("from main")
try:
    pyloop.run(fail())
except LookupError as error:
    print(error)
async def nested():
    coroutine = fail()
    try:
        pyloop.run(coroutine)
    except RuntimeError:
        print("refused")
    finally:
        coroutine.close()
pyloop.run(nested())
try:
    pyloop.run(42)
except (TypeError, ValueError):
    print("refused too")
"""
    assert output_of(source).splitlines() == ["from main", "refused", "refused too"]


@PYLOOP_ONLY
def test_run_takes_debug(loop_name: str) -> None:
    source = """
async def main():
    return asyncio.get_running_loop().get_debug()
print(pyloop.run(main(), debug=True), pyloop.run(main(), debug=False), pyloop.run(main()))
"""
    assert output_of(source) == "True False False"


@PYLOOP_ONLY
def test_run_changes_no_policy(loop_name: str) -> None:
    source = (
        POLICIES
        + MAIN
        + """
before = asyncio.get_event_loop_policy()
pyloop.run(main())
print(asyncio.get_event_loop_policy() is before, type(asyncio.new_event_loop()).__module__.partition(".")[0])
warnings.simplefilter("ignore")
"""
    )
    assert output_of(source) == "True asyncio"


@PYLOOP_ONLY
def test_the_policy_makes_pyloops(loop_name: str) -> None:
    source = (
        POLICIES
        + MAIN
        + """
asyncio.set_event_loop_policy(pyloop.EventLoopPolicy())
print(asyncio.run(main()))
loop = asyncio.new_event_loop()
print(type(loop).__module__.partition(".")[0])
asyncio.set_event_loop(loop)
print(asyncio.get_event_loop() is loop)
loop.close()
"""
    )
    assert output_of(source).split() == ["pyloop", "pyloop", "True"]


@PYLOOP_ONLY
def test_install_and_uninstall(loop_name: str) -> None:
    source = (
        POLICIES
        + MAIN
        + """
pyloop.install()
print(asyncio.run(main()))
pyloop.install()
print(asyncio.run(main()))
pyloop.uninstall()
print(asyncio.run(main()))
pyloop.uninstall()
print(asyncio.run(main()))
"""
    )
    assert output_of(source).split() == ["pyloop", "pyloop", "asyncio", "asyncio"]


@PYLOOP_ONLY
def test_uninstall_leaves_the_policy_of_others_alone(loop_name: str) -> None:
    source = (
        POLICIES
        + """
warnings.simplefilter("ignore")
class Mine(type(asyncio.get_event_loop_policy())):
    pass
mine = Mine()
pyloop.install()
asyncio.set_event_loop_policy(mine)
pyloop.uninstall()
print(asyncio.get_event_loop_policy() is mine)
"""
    )
    assert output_of(source) == "True"


@has_runner
@PYLOOP_ONLY
def test_the_runner_takes_the_loop_factory(loop_name: str) -> None:
    source = (
        MAIN
        + """
with asyncio.Runner(loop_factory=pyloop.new_event_loop) as runner:
    print(runner.run(main()), runner.run(main()))
"""
    )
    assert output_of(source) == "pyloop pyloop"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="run(loop_factory=) is new in CPython 3.12")
@PYLOOP_ONLY
def test_asyncio_run_takes_the_loop_factory(loop_name: str) -> None:
    assert output_of(MAIN + "print(asyncio.run(main(), loop_factory=pyloop.new_event_loop))") == "pyloop"


@PYLOOP_ONLY
def test_the_loop_class_is_an_asyncio_loop(loop_name: str) -> None:
    import pyloop

    loop = pyloop.new_event_loop()
    try:
        assert isinstance(loop, pyloop.PyLoop)
        assert isinstance(loop, asyncio.BaseEventLoop)
        assert isinstance(pyloop.__version__, str)
    finally:
        loop.close()


@PYLOOP_ONLY
def test_the_class_can_be_derived_from(loop_name: str) -> None:
    import pyloop

    class Mine(pyloop.PyLoop):
        def call_soon(self, callback, *args, context=None):  # type: ignore[no-untyped-def, override]
            self.count = getattr(self, "count", 0) + 1
            return super().call_soon(callback, *args, context=context)

    loop = Mine()
    try:
        loop.run_until_complete(asyncio.sleep(0))
        assert loop.count > 0
    finally:
        loop.close()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio ps is new in CPython 3.14")
def test_asyncio_ps_sees_the_tasks(loop_name: str) -> None:
    source = """
import os, subprocess, sys
async def waiting_to_be_seen():
    await asyncio.get_running_loop().create_future()
async def main():
    task = asyncio.create_task(waiting_to_be_seen(), name="visible task")
    await asyncio.sleep(0)
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "asyncio", "ps", str(os.getpid())], capture_output=True, text=True)
    print(process.stdout + process.stderr)
    task.cancel()
with asyncio.Runner(loop_factory=new_loop) as runner:
    runner.run(main())
"""
    result = python(loop_name, source)
    assert result.returncode == 0, result.stderr
    if "ermission" in result.stdout:
        pytest.skip("this system does not let one process read another's memory")
    assert "visible task" in result.stdout, result.stdout + result.stderr


def test_the_running_loop_is_registered_for_everyone(loop_name: str) -> None:
    source = """
import asyncio.events
async def main():
    loop = asyncio.get_running_loop()
    assert loop is asyncio.events._get_running_loop() is asyncio.get_event_loop()
    print("same")
loop = new_loop()
loop.run_until_complete(main())
assert asyncio.events._get_running_loop() is None
loop.close()
"""
    result = python(loop_name, source)
    assert (result.returncode, result.stdout) == (0, "same\n"), result.stderr
