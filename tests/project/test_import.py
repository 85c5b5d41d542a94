"""Importing pyloop changes nothing; what the extension must know about the interpreter, it knows."""

from __future__ import annotations

import ast
import importlib.metadata
import pathlib
import subprocess
import sys
import sysconfig

import pyloop
import pytest
from pyloop import _pyloop

SECONDS = 60

# A fingerprint of everything in asyncio that a library could be tempted to replace, before and after the import.
WATCHED = """
import asyncio, asyncio.events as events, signal, sys, threading

def fingerprint():
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name == "asyncio" or name.startswith("asyncio."):
            for attribute, value in vars(module).items():
                found[name, attribute] = id(value)
                if isinstance(value, type) and value.__module__.startswith("asyncio"):
                    for member, what in vars(value).items():
                        if not member.startswith(("__abstractmethods__", "_abc_")):
                            found[name, attribute, member] = id(what)
    return found

import asyncio.unix_events, asyncio.sslproto
before = fingerprint()
state = (events._event_loop_policy, signal.getsignal(signal.SIGINT), threading.active_count(), sys.get_asyncgen_hooks())
import pyloop
after = fingerprint()
changed = [key for key in before if after.get(key) != before[key]]
assert not changed, changed
added = [key for key in after if key not in before and key[0] in {name for name, *_ in before}]
assert not added, added
assert state == (
    events._event_loop_policy, signal.getsignal(signal.SIGINT), threading.active_count(), sys.get_asyncgen_hooks()
)
assert events._event_loop_policy is None, "the import made asyncio choose a policy"
"""


def in_fresh_interpreter(source: str) -> None:
    """Runs a program; its complaints become the test's."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_touches_no_policy_and_patches_nothing() -> None:
    in_fresh_interpreter(WATCHED)


def test_the_fingerprint_notices_a_patched_class() -> None:
    patched = WATCHED.replace("import pyloop", "asyncio.BaseEventLoop.call_soon = lambda *arguments: None")
    with pytest.raises(AssertionError, match="call_soon"):
        in_fresh_interpreter(patched)


def test_the_fingerprint_notices_a_policy() -> None:
    policy = WATCHED.replace(
        "import pyloop", "import warnings; warnings.simplefilter('ignore'); asyncio.get_event_loop_policy()"
    )
    with pytest.raises(AssertionError):
        in_fresh_interpreter(policy)


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="contexts are shared under a GIL alone")
def test_contexts_are_shared_on_every_build_with_a_gil() -> None:
    # Were the layout of contexts not recognised, everything would work and cost twice as much.
    assert _pyloop._shares_contexts is True


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="a build with a GIL has it always")
def test_importing_leaves_the_gil_off() -> None:
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined, unused-ignore]


def test_the_version_is_that_of_the_distribution() -> None:
    assert pyloop.__version__ == importlib.metadata.version("pyloop-rs")


def test_importing_brings_in_little_that_asyncio_has_not() -> None:
    # Every program pays for it when it starts, and again in each full collection. Which modules differs between
    # versions: seven with their native halves on 3.13, and sixty when the version was asked of the distribution.
    in_fresh_interpreter("""
import asyncio, sys
before = set(sys.modules)
import pyloop
others = [name for name in set(sys.modules) - before if name.partition(".")[0] != "pyloop"]
assert len(others) <= 12, others
""")


def native_types() -> list[type]:
    """The types of the extension that say they are pyloop's own."""
    return [kind for kind in vars(_pyloop).values() if isinstance(kind, type) and kind.__module__ == "pyloop"]


def test_types_are_where_they_say_they_are() -> None:
    assert {pyloop.StreamTransport, pyloop.SSLTransport, pyloop.DatagramTransport} <= set(native_types())
    for kind in native_types():
        assert getattr(pyloop, kind.__name__) is kind
        assert kind.__name__ in pyloop.__all__


def test_types_have_the_docstrings_of_their_stubs() -> None:
    stubs = ast.parse(pathlib.Path(pyloop.__file__).with_name("_pyloop.pyi").read_text())
    told = {node.name: ast.get_docstring(node) for node in stubs.body if isinstance(node, ast.ClassDef)}
    for kind in native_types():
        assert kind.__doc__
        assert kind.__doc__ == told[kind.__name__]


def test_testing_is_imported_when_it_is_asked_for() -> None:
    in_fresh_interpreter(
        """
import pyloop, sys
assert "pyloop.testing" not in sys.modules
pyloop.PyLoop(clock=pyloop.testing.VirtualClock()).close()
try:
    pyloop.nothing
except AttributeError as error:
    assert str(error) == "module 'pyloop' has no attribute 'nothing'"
else:
    raise AssertionError
"""
    )
