"""Awaits Rust futures, and has one await coroutines, on the loop that is named: `python main.py [asyncio|pyloop]`."""

import asyncio
import contextvars
import sys

import pyloop
import rust_futures

REQUEST = contextvars.ContextVar("request", default="none")


async def work(number: int) -> str:
    """A coroutine that a Rust future awaits: it runs in the loop, in the context of the call."""
    await asyncio.sleep(0.001)
    return f"{REQUEST.get()} {number}"


async def refuse(number: int) -> None:
    """A coroutine that fails."""
    raise LookupError(f"no number {number}")


async def dropped() -> int:
    """Waits until tokio has dropped a future that was cancelled, which it does on a thread of its own."""
    while not rust_futures.dropped():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # The thread tells nobody.
    return rust_futures.dropped()


async def main() -> None:
    """Both directions, errors both ways, several at once, and cancelling."""
    loop = asyncio.get_running_loop()
    print("loop:", type(loop).__module__.partition(".")[0])

    print("a Rust future:", await rust_futures.delayed("a value", 0.01))
    REQUEST.set("request")
    print("a Rust future that awaits coroutines:", await rust_futures.in_turns(work, 3))
    try:
        await rust_futures.failing("said in Rust")
    except RuntimeError as error:
        print("an error of Rust:", error)
    try:
        await rust_futures.in_turns(refuse, 3)
    except LookupError as error:
        print("an error of Python, by way of Rust:", error)

    together = await asyncio.gather(*(rust_futures.delayed(number, 0.05) for number in range(50)))
    print("fifty at once, in order:", together == list(range(50)))

    try:
        await asyncio.wait_for(rust_futures.delayed("too late", 3600), 0.01)
    except asyncio.TimeoutError:
        print("given up, and dropped in Rust:", await asyncio.wait_for(dropped(), 20))


if __name__ == "__main__":
    factory = {"asyncio": asyncio.SelectorEventLoop, "pyloop": pyloop.new_event_loop}[(sys.argv[1:] or ["pyloop"])[0]]
    loop = factory()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
