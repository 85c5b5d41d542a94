"""asyncio's slot descriptors, used on pyloop's handles by hand: odd answers are allowed, a crash is not."""

from __future__ import annotations

import pytest

from .support import python

SOURCE = """
import gc, inspect, sys
VALUES = (None, True, False, (), (1, 2), print, "text", NotImplemented, Ellipsis, object(), [1])

def use(loop, handle):
    for attempt in (
        lambda: repr(handle), handle.cancelled, handle.get_context if hasattr(handle, "get_context") else repr,
        lambda: getattr(handle, "_callback", None), lambda: getattr(handle, "_args", None), lambda: hash(handle),
        lambda: handle == handle, lambda: getattr(handle, "when", repr)(), lambda: handle._run(),
    ):
        try:
            attempt()
        except SystemError:
            raise  # what the interpreter says when its own invariants are broken
        except Exception:
            pass

def schedules(loop):
    yield lambda: loop.call_soon(len, "abc")
    yield lambda: loop.call_soon(max, 1, 2, 3, 4, 5)
    yield lambda: loop.call_soon_threadsafe(len, "abc")
    yield lambda: loop.call_later(0, len, "abc")
    yield lambda: loop.call_later(3600, max, 1, 2, 3, 4)

def slots(kind):
    for base in kind.__mro__:
        for name in getattr(base, "__slots__", ()):
            member = vars(base).get(name)
            if inspect.ismemberdescriptor(member):
                yield member

def change(member, handle, value):
    try:
        if value is VALUES:
            member.__delete__(handle)
        else:
            member.__set__(handle, value)
    except (AttributeError, TypeError):
        pass

count = 0
for debug in (False, True):
    for kind in (asyncio.Handle, asyncio.TimerHandle):
        for member in slots(kind):
            for value in (*VALUES, VALUES):
                loop = new_loop()
                loop.set_exception_handler(lambda *_: None)
                loop.set_debug(debug)
                for schedule in schedules(loop):
                    handle = schedule()
                    if not isinstance(handle, kind):
                        continue
                    try:
                        member.__get__(handle)
                    except AttributeError:
                        pass
                    change(member, handle, value)
                    use(loop, handle)
                    count += 1
                    for after in ORDER:
                        try:
                            if after == "run":
                                loop.call_soon(loop.stop)
                                loop.run_forever()
                            elif after == "cancel":
                                handle.cancel()
                            else:
                                change(member, handle, value)
                        except SystemError:
                            raise
                        except Exception:
                            pass
                    use(loop, handle)
                    del handle
                try:
                    loop.close()
                except Exception:
                    pass
                del loop
    gc.collect()
print("survived", count > 500)
"""


@pytest.mark.pyloop_only("asyncio's handles are plain objects; what a program puts into their slots is what they run")
@pytest.mark.parametrize(
    "order", [("run", "change", "cancel"), ("cancel", "change", "run"), ("change", "run")], ids="-".join
)
def test_slots_that_are_changed_by_hand_crash_nothing(loop_name: str, order: tuple[str, ...]) -> None:
    finished = python(loop_name, f"ORDER = {order!r}\n{SOURCE}", options=("-X", "faulthandler", "-W", "ignore"))
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.endswith("survived True\n"), finished.stdout[-300:]
