"""A TCP server that sends back every line, written with asyncio's own streams.

    python examples/echo_server.py --port 8888        then, elsewhere:  nc 127.0.0.1 8888

Nothing in it knows about pyloop except the call that runs it. Ctrl-C ends it.
"""

import argparse
import asyncio
import contextlib

import pyloop


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echoes one client's lines until it closes or says nothing for a minute."""
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        while line := await asyncio.wait_for(reader.readline(), timeout=60):
            writer.write(line)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def main(port: int) -> None:
    """Serves until it is cancelled."""
    server = await asyncio.start_server(converse, "127.0.0.1", port)
    host, bound = server.sockets[0].getsockname()[:2]
    print(f"listening on {host}:{bound}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose (default)")
    with contextlib.suppress(KeyboardInterrupt):
        pyloop.run(main(parser.parse_args().port))
