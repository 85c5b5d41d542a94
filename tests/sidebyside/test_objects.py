"""The objects themselves: classes, attributes, weak references, copies, patched methods."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from .outcomes import outcome
from .specimens import SPECIMENS, TRANSPORTS, factories, on_a_loop

CLASSES: dict[str, tuple[type, ...]] = {
    "loop": (asyncio.AbstractEventLoop, asyncio.BaseEventLoop),
    "stream": (asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.BaseTransport),
    "tls": (asyncio.Transport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.BaseTransport),
    "datagram": (asyncio.DatagramTransport, asyncio.BaseTransport),
    "read pipe": (asyncio.ReadTransport, asyncio.BaseTransport),
    "write pipe": (asyncio.WriteTransport, asyncio.BaseTransport),
    "subprocess": (asyncio.SubprocessTransport, asyncio.BaseTransport),
    "server": (asyncio.Server, asyncio.AbstractServer),
    "handle": (asyncio.Handle,),
    "timer": (asyncio.TimerHandle, asyncio.Handle),
}

each_kind = pytest.mark.parametrize("kind", SPECIMENS)


def _on(loop_name: str, kind: str, look: Callable[[Any], Any]) -> Any:
    async def use(specimen: Any) -> Any:
        return look(specimen)

    return on_a_loop(factories()[loop_name], kind, use)


@each_kind
def test_it_is_an_instance_of_asyncios_classes(loop_name: str, kind: str) -> None:
    if loop_name == "asyncio" and kind == "datagram" and sys.version_info < (3, 12):
        pytest.skip("asyncio's datagram transport derives from the class for it from CPython 3.12 on")
    assert _on(loop_name, kind, lambda it: [base for base in CLASSES[kind] if not isinstance(it, base)]) == []


@each_kind
def test_it_can_be_referred_to_weakly_and_be_a_key(loop_name: str, kind: str) -> None:
    def look(specimen: Any) -> None:
        assert weakref.ref(specimen)() is specimen
        assert set(weakref.WeakSet([specimen])) == {specimen}
        assert {specimen: 1}[specimen] == 1
        assert specimen == specimen
        assert bool(specimen)

    _on(loop_name, kind, look)


@each_kind
def test_attributes_of_ones_own_are_kept_or_refused_alike(kind: str) -> None:
    async def use(specimen: Any) -> list[str]:
        def assign() -> Any:
            specimen.attribute_of_a_program = 5
            found = specimen.attribute_of_a_program, "attribute_of_a_program" in vars(specimen)
            del specimen.attribute_of_a_program
            return found, hasattr(specimen, "attribute_of_a_program")

        return [(await outcome(assign)).kind]

    made = factories()
    assert on_a_loop(made["pyloop"], kind, use) == on_a_loop(made["asyncio"], kind, use)


@each_kind
def test_it_cannot_be_pickled(loop_name: str, kind: str) -> None:
    def look(specimen: Any) -> None:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
                pickle.dumps(specimen, protocol)

    _on(loop_name, kind, look)


# The two others are asyncio's own classes on pyloop, too.
@pytest.mark.parametrize("kind", [kind for kind in SPECIMENS if kind not in ("subprocess", "server")])
@pytest.mark.pyloop_only("asyncio's are copied attribute by attribute: two objects that believe to own one descriptor")
def test_it_cannot_be_copied(loop_name: str, kind: str) -> None:
    def look(specimen: Any) -> None:
        with pytest.raises(TypeError):
            copy.copy(specimen)
        with pytest.raises(TypeError):
            copy.deepcopy(specimen)

    _on(loop_name, kind, look)


@pytest.mark.parametrize("kind", [*TRANSPORTS, "loop", "server"])
def test_every_public_method_can_be_replaced_and_put_back(loop_name: str, kind: str) -> None:
    def look(specimen: Any) -> None:
        for name in dir(specimen):
            if name.startswith("_") or not callable(getattr(specimen, name)):
                continue
            before = getattr(specimen, name)
            with mock.patch.object(specimen, name) as replacement:
                assert getattr(specimen, name) is replacement, name
            assert getattr(specimen, name) == before, name
            with mock.patch.object(type(specimen), name) as replacement:
                assert getattr(specimen, name) is replacement, name
            assert getattr(specimen, name) == before, name

    _on(loop_name, kind, look)


@pytest.mark.parametrize("kind", ["stream", "tls", "datagram", "write pipe"])
def test_a_replaced_write_is_what_programs_call(loop_name: str, kind: str) -> None:
    def look(transport: Any) -> None:
        name = "sendto" if kind == "datagram" else "write"
        sent: list[Any] = []
        setattr(transport, name, sent.append)
        getattr(transport, name)(b"data")
        assert sent == [b"data"]
        if kind != "datagram":
            transport.writelines([b"more"])  # of asyncio's stream transports on: on its own, or through write()
        delattr(transport, name)
        assert getattr(transport, name) != sent.append

    _on(loop_name, kind, look)


@each_kind
def test_its_repr_names_its_state(loop_name: str, kind: str) -> None:
    text = _on(loop_name, kind, repr)
    assert text.startswith("<") and text.endswith(">")
    words = {"loop": "running=True", "stream": "read=", "datagram": "read=", "subprocess": "running"}
    assert words.get(kind, "") in text


@pytest.mark.parametrize("kind", ["loop", "stream", "handle", "timer"])
def test_the_types_cannot_be_tricked_into_half_made_instances(kind: str) -> None:
    def look(specimen: Any) -> None:
        if kind == "loop":
            return
        with pytest.raises(TypeError):
            type(specimen)()
        with pytest.raises(TypeError):
            object.__new__(type(specimen))
        with pytest.raises(TypeError):
            type(specimen).__new__(type(specimen))

    _on("pyloop", kind, look)
