"""State of `asyncio.BaseEventLoop` whose meaning moved to Rust has one owner.

The running interpreter's source is read: an inherited method that looks at such state would see what nobody keeps up to
date. It must be overridden, the state must be a property of the engine's, or it stands on a list here with the reason.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from asyncio import base_events
from collections.abc import Iterable

import pyloop

# What BaseEventLoop and the selector loop keep in Python and pyloop keeps in Rust.
MOVED = frozenset(
    {
        "_clock_resolution",
        "_closed",
        "_debug",
        "_internal_fds",
        "_process_events",
        "_ready",
        "_run_once",
        "_scheduled",
        "_selector",
        "_stopping",
        "_thread_id",
        "_timer_cancelled_count",
    }
)

# Attributes that inherited code may read, because reading them asks the engine.
ANSWERED_BY_THE_ENGINE = frozenset({"_closed", "_debug"})

# State that is pyloop's to keep in Python, under the old meaning.
KEPT = frozenset(
    {
        "__class__",
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_current_handle",  # set in debug mode, by `run_watched`
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_old_agen_hooks",
        "_task_factory",
    }
)

# Inherited methods that touch moved state all the same, and why nothing calls them.
REASONED = {
    "_add_callback": "called by `_process_events` of the selector and proactor loops, which pyloop is not",
    "_call_soon": "called by `call_soon` and `call_soon_threadsafe`, which the engine replaces",
    "_run_once": "called by `run_forever`, which `PyLoop` replaces",
    "_timer_handle_cancelled": "called by `asyncio.TimerHandle.cancel`, which `pyloop.TimerHandle` replaces",
}


def self_attributes(function: ast.AST) -> set[str]:
    """Names of the attributes of `self` in a function."""
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def methods_of(class_: type) -> dict[str, ast.AST]:
    """The methods of a class, as its source has them."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(class_))).body
    assert isinstance(tree, ast.ClassDef)
    return {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def inherited(class_: type, names: Iterable[str]) -> set[str]:
    """Those of the names that the class takes from asyncio as they are."""
    return {name for name in names if getattr(class_, name) is vars(base_events.BaseEventLoop).get(name)}


def faults(class_: type, base: type = base_events.BaseEventLoop) -> dict[str, set[str]]:
    """The inherited methods that touch state which they must not, with that state."""
    methods = methods_of(base)
    found = {}
    for name in inherited(class_, methods):
        touched = (self_attributes(methods[name]) & MOVED) - ANSWERED_BY_THE_ENGINE
        if touched:
            found[name] = touched
    return found


def test_no_inherited_method_touches_state_that_moved_to_rust() -> None:
    found = faults(pyloop.PyLoop)
    unexplained = {name: sorted(touched) for name, touched in found.items() if name not in REASONED}
    assert not unexplained, "override them in PyLoop, or give the reason in REASONED"


def test_every_reason_is_needed() -> None:
    here = set(methods_of(base_events.BaseEventLoop))
    assert {name for name in REASONED if name in here} <= set(faults(pyloop.PyLoop)), "a reason for what is no fault"


def test_no_other_inherited_method_calls_what_only_a_reason_excuses() -> None:
    methods = methods_of(base_events.BaseEventLoop)
    callers = {
        name: self_attributes(methods[name]) & set(REASONED)
        for name in inherited(pyloop.PyLoop, methods)
        if name not in REASONED and self_attributes(methods[name]) & set(REASONED)
    }
    # Called by `_handle_signal` of the selector loop, which `SignalMethods` replaces.
    callers.pop("_add_callback_signalsafe", None)
    assert callers == {}
    assert pyloop.TimerHandle.cancel is not asyncio.TimerHandle.cancel


def test_a_loop_that_overrides_nothing_is_noticed() -> None:
    class Bare(base_events.BaseEventLoop):
        pass

    found = faults(Bare)
    assert {"_run_once", "_call_soon", "call_at", "is_running", "stop"} <= set(found)


def test_every_state_of_the_running_version_is_accounted_for() -> None:
    # What a new CPython keeps in a loop is for somebody to decide about: moved, or kept.
    methods = methods_of(base_events.BaseEventLoop)
    state = {
        name
        for method in methods.values()
        for name in self_attributes(method)
        if name.startswith("_") and name not in methods
    }
    assert state - MOVED - KEPT == set()


def test_what_the_engine_answers_is_no_plain_attribute() -> None:
    for name in ANSWERED_BY_THE_ENGINE:
        descriptor = inspect.getattr_static(pyloop.PyLoop, name)
        assert inspect.isdatadescriptor(descriptor), name
        loop = pyloop.new_event_loop()
        try:
            assert name not in vars(loop)
        finally:
            loop.close()


def test_the_engine_answers_with_what_it_does() -> None:
    loop = pyloop.new_event_loop()
    try:
        loop.set_debug(True)
        assert loop._debug is True
        loop.set_debug(False)
        assert loop._debug is False
        assert loop._closed is False
    finally:
        loop.close()
    assert loop._closed is True


def test_the_loop_is_asyncios_own_kind() -> None:
    assert issubclass(pyloop.PyLoop, asyncio.BaseEventLoop)
