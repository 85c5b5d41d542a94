"""The smallest program on pyloop."""

import asyncio

import pyloop


async def main() -> None:
    """Waits a thousandth of a second, and says on which loop."""
    await asyncio.sleep(0.001)
    print("hello from", type(asyncio.get_running_loop()).__name__)


pyloop.run(main())
