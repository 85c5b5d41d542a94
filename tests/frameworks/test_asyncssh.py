"""asyncssh as server and client: commands, tunnels through tunnels, copies by SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("asyncssh", reason="asyncssh is not installed: install it to run these programs")

import asyncssh

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(scope="module")
def keys() -> tuple[Any, Any]:
    """A key of the host, and one of the user."""
    return asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")


class Door(asyncssh.SSHServer):
    """Lets the owner of the user's key in, and forwards to wherever it asks for."""

    def connection_requested(self, *_where: Any) -> bool:
        return True


async def _command(process: Any) -> None:
    """The shell of the server: echoes its input in capitals, counts it, or fails, as told."""
    if process.command == "fail":
        process.stderr.write("as asked\n")
        process.exit(3)
        return
    text = await process.stdin.read()
    process.stdout.write(text.upper() if process.command == "shout" else str(len(text)))
    await process.stdout.drain()
    process.exit(0)


@contextlib.asynccontextmanager
async def _serving(keys: tuple[Any, Any], **options: Any) -> AsyncIterator[int]:
    host_key, user_key = keys
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Door,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(user_key.export_public_key().decode()),
        process_factory=_command,
        **options,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def _client(keys: tuple[Any, Any], port: int, **options: Any) -> dict[str, Any]:
    host_key, user_key = keys
    trusted = asyncssh.import_known_hosts("* " + host_key.export_public_key().decode())
    common = {"username": "user", "client_keys": [user_key], "known_hosts": trusted, "config": None}
    return {"host": "127.0.0.1", "port": port, **common, **options}


def test_commands_answer_and_fail(run: Run, keys: tuple[Any, Any]) -> None:
    async def program() -> None:
        async with _serving(keys) as port, asyncssh.connect(**_client(keys, port)) as connection:
            asked = [connection.run("shout", input=f"word {number}") for number in range(20)]
            answers = await asyncio.gather(*asked)
            assert [answer.stdout for answer in answers] == [f"WORD {number}" for number in range(20)]
            # More than the window of a channel: both sides have to pause.
            counted = await connection.run("count", input="x" * 5_000_000)
            assert counted.stdout == "5000000"
            failed = await connection.run("fail")
            assert (failed.exit_status, failed.stderr) == (3, "as asked\n")

    run(program())


def test_a_wrong_key_is_refused(run: Run, keys: tuple[Any, Any]) -> None:
    async def program() -> None:
        stranger = asyncssh.generate_private_key("ssh-ed25519")
        async with _serving(keys) as port:
            with pytest.raises(asyncssh.PermissionDenied):
                await asyncssh.connect(**_client(keys, port, client_keys=[stranger]))
            with pytest.raises(asyncssh.HostKeyNotVerifiable):
                await asyncssh.connect(**_client(keys, port, known_hosts=asyncssh.import_known_hosts("")))

    run(program())


def test_a_connection_jumps_over_two_hosts(run: Run, keys: tuple[Any, Any]) -> None:
    """The transport of the second and third connection is a channel of the one before: none of the loop's own."""

    async def program() -> None:
        async with _serving(keys) as first, _serving(keys) as second, _serving(keys) as third:
            async with (
                asyncssh.connect(**_client(keys, first)) as outer,
                asyncssh.connect(**_client(keys, second, tunnel=outer)) as middle,
                asyncssh.connect(**_client(keys, third, tunnel=middle)) as inner,
            ):
                answer = await inner.run("shout", input="through two tunnels")
                assert answer.stdout == "THROUGH TWO TUNNELS"
                counted = await inner.run("count", input="x" * 1_000_000)
                assert counted.stdout == "1000000"

    run(program())


def test_a_forwarded_port_carries_a_stream_both_ways(run: Run, keys: tuple[Any, Any]) -> None:
    async def program() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
            writer.write_eof()
            writer.close()
            await writer.wait_closed()

        target = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with _serving(keys) as port, asyncssh.connect(**_client(keys, port)) as connection:
            forwarder = await connection.forward_local_port("127.0.0.1", 0, *target.sockets[0].getsockname())
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.get_port())
            payload = bytes(range(256)) * 8000

            async def send() -> None:
                writer.write(payload)
                await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            assert await reader.read() == payload
            await sending
            writer.close()
            await writer.wait_closed()
            forwarder.close()
            await forwarder.wait_closed()
        target.close()
        await target.wait_closed()

    run(program())


def test_files_are_copied_there_and_back(run: Run, keys: tuple[Any, Any], tmp_path: pathlib.Path) -> None:
    original, far, near = (tmp_path / name for name in ("original", "far", "near"))
    original.write_bytes(bytes(range(256)) * 20_000)  # 5 MB

    async def program() -> None:
        async with _serving(keys, sftp_factory=True, allow_scp=True) as port:
            async with asyncssh.connect(**_client(keys, port)) as connection:
                async with connection.start_sftp_client() as sftp:
                    await sftp.put(str(original), str(far))
                    await sftp.get(str(far), str(near))
                    assert sorted(await sftp.listdir(str(tmp_path))) == [".", "..", "far", "near", "original"]
                await asyncssh.scp(str(original), (connection, str(tmp_path / "scp")))

    run(program())
    assert near.read_bytes() == far.read_bytes() == (tmp_path / "scp").read_bytes() == original.read_bytes()
