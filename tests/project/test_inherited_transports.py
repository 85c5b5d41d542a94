"""What the transports inherit from asyncio's classes works on state that the engine keeps.

asyncio's transport classes are half abstract: a method that is not overridden raises `NotImplementedError`, or reads an
attribute that only asyncio's own subclasses set. The running interpreter's source is read for both.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from asyncio import base_subprocess, transports
from types import FunctionType, MemberDescriptorType

import pyloop
import pytest

# Where transport classes take methods from that are not pyloop's.
_STANDARD = ("asyncio.transports", "asyncio.base_subprocess", "asyncio.sslproto")

# Inherited methods that may stay as they are, and why.
REASONED = {
    "__init__": "no instance is made by calling a transport type: the engine makes them whole",
    "_maybe_pause_protocol": "asyncio's own write paths call it; the engine counts for itself",
    "_maybe_resume_protocol": "as above",
    "_set_write_buffer_limits": "asyncio's constructors call it",
}

# Methods that asyncio's own type of this kind leaves unimplemented, too.
ABSTRACT_IN_ASYNCIO = {
    "DatagramTransport": {"write", "write_eof", "can_write_eof"},
    "WritePipeTransport": {"is_reading", "pause_reading", "resume_reading"},
}


def transport_types() -> list[type]:
    """Every transport type that the package knows, public or not."""
    from pyloop import _pyloop

    found = {
        value
        for module in (pyloop, _pyloop)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, asyncio.BaseTransport)
    }
    return sorted(found, key=lambda kind: kind.__name__)


def inherited_functions(kind: type) -> dict[str, FunctionType]:
    """The Python functions that a type takes from asyncio's classes."""
    found = {}
    for name in {name for base in kind.__mro__ for name in vars(base)}:
        value = inspect.getattr_static(kind, name)
        if isinstance(value, FunctionType) and value.__module__ in _STANDARD:
            found[name] = value
    return found


def _body(function: FunctionType) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def is_abstract(function: FunctionType) -> bool:
    """Whether all that a function does is to raise `NotImplementedError`."""
    return any(
        isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node) for node in ast.walk(_body(function))
    )


def attributes_of_self(function: FunctionType) -> set[str]:
    """The private attributes of `self` that a function looks at."""
    return {
        node.attr
        for node in ast.walk(_body(function))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr.startswith("_")
    }


def is_answered(kind: type, attribute: str) -> bool:
    """Whether a type has more for an attribute than one of asyncio's slots, which no constructor has filled."""
    found = inspect.getattr_static(kind, attribute, None)
    return found is not None and not isinstance(found, MemberDescriptorType)


each_type = pytest.mark.parametrize("kind", transport_types(), ids=lambda kind: kind.__name__)


def test_there_are_transport_types() -> None:
    assert pyloop.StreamTransport in transport_types()


@each_type
def test_no_method_is_left_abstract(kind: type) -> None:
    left = {name for name, function in inherited_functions(kind).items() if is_abstract(function)}
    assert left - ABSTRACT_IN_ASYNCIO.get(kind.__name__, set()) == set()


@each_type
def test_inherited_methods_read_what_the_engine_answers(kind: type) -> None:
    if base_subprocess.BaseSubprocessTransport in kind.__mro__:
        return  # It keeps its own state in Python, set by its own constructor, which runs.
    unanswered = {
        name: sorted(attribute for attribute in attributes_of_self(function) if not is_answered(kind, attribute))
        for name, function in inherited_functions(kind).items()
        if name not in REASONED
    }
    assert {name: attributes for name, attributes in unanswered.items() if attributes} == {}


def test_what_asyncio_leaves_abstract_is_noticed() -> None:
    class Bare(transports.Transport):
        pass

    left = {name for name, function in inherited_functions(Bare).items() if is_abstract(function)}
    assert {"write", "close", "pause_reading", "get_write_buffer_size"} <= left


def test_state_that_nobody_answers_is_noticed() -> None:
    class Bare(transports._FlowControlMixin):
        pass

    assert "_protocol_paused" in attributes_of_self(inherited_functions(Bare)["_maybe_resume_protocol"])
    assert not is_answered(Bare, "_protocol_paused")
