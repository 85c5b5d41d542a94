"""Servers of the system's packages, started for one run of the tests on free ports and stopped with it.

Nothing of the machine's own servers is touched: data lies in a temporary folder. PostgreSQL, which refuses to run as
root, runs as its package's user then.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from ports import free_port

# How long a server may take to answer, or to end, on a busy machine.
SERVER_SECONDS = 40.0

INSTALL = "scripts/install-system-packages.sh --servers installs it"


def program(name: str, *folders: str) -> str | None:
    """Returns the path of a program, from `PATH` or the last of the folders that match."""
    places = [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]
    for pattern in folders:
        places += sorted(glob.glob(pattern), reverse=True)
    return shutil.which(name, path=os.pathsep.join(places))


@contextlib.contextmanager
def running(
    command: list[str], answers: Callable[[], bool], folder: pathlib.Path, user: str | None = None
) -> Iterator[None]:
    """Runs a server, as another user if one is named, from its first answer to the end of the block.

    Raises:
        RuntimeError: if it ends, or does not answer in time; with what it said.
    """
    log = folder / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + SERVER_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer:\n{log.read_text(errors='replace')}")
            time.sleep(0.02)
        yield
    finally:
        # For both servers: end now, with what is open.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(SERVER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def server_folder(user: str | None) -> Iterator[pathlib.Path]:
    """A folder that the server's user can enter: pytest's own are closed to others. Short, for socket addresses."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pyloop-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class PostgreSQL:
    """Where a server is; its superuser `postgres` needs no password."""

    port: int
    folder: pathlib.Path


def unprivileged_user(name: str) -> str | None:
    """Returns the user to run a server as that refuses to be root; `None` for the current one."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        pytest.skip(f"there is no user {name} to run the server as: {INSTALL}")


@contextlib.contextmanager
def postgresql(certificate: pathlib.Path, key: pathlib.Path) -> Iterator[PostgreSQL]:
    """A PostgreSQL server that takes connections over TCP, with TLS or without, and over a Unix socket."""
    folders = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
    initdb, postgres, ready = (program(name, *folders) for name in ("initdb", "postgres", "pg_isready"))
    if not (initdb and postgres and ready):
        pytest.skip(f"no PostgreSQL server is installed: {INSTALL}")
    user = unprivileged_user("postgres")
    with server_folder(user) as folder:
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=SERVER_SECONDS,
        )
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            shutil.copy(source, data / name)
            os.chmod(data / name, 0o600)  # The server takes no key that others can read.
            if user is not None:
                shutil.chown(data / name, user)
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "ssl": "on",
        }
        command = [postgres, "-D", str(data), "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]

        def answers() -> bool:
            asked = subprocess.run([ready, "-q", "-h", "127.0.0.1", "-p", str(port)], timeout=SERVER_SECONDS)
            return asked.returncode == 0

        with running(command, answers, folder, user):
            yield PostgreSQL(port, folder)


@dataclass(frozen=True)
class Redis:
    """Where a server is."""

    port: int
    path: pathlib.Path


@contextlib.contextmanager
def redis_server() -> Iterator[Redis]:
    """A Redis server on a port and on a Unix socket, which keeps nothing."""
    server = program("redis-server") or program("valkey-server")
    if not server:
        pytest.skip(f"no Redis server is installed: {INSTALL}")
    with server_folder(None) as folder:
        port, path = free_port(), folder / "socket"
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "unixsocket": str(path),
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
        }
        command = [server]
        for name, value in settings.items():
            command += [f"--{name}", value]

        def answers() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as asking:
                    asking.sendall(b"PING\r\n")
                    return asking.recv(7) == b"+PONG\r\n"
            except OSError:
                return False

        with running(command, answers, folder):
            yield Redis(port, path)
