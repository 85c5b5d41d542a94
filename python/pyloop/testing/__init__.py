"""For the tests of programs: a clock that moves by itself, and the loops that a suite can be run on.

`pyloop.testing.plugin` is a pytest plugin, which pytest finds by itself. Nothing else here imports pytest.
"""

from ._clock import VirtualClock
from ._loops import LOOP_FACTORIES

__all__ = ("LOOP_FACTORIES", "VirtualClock")
