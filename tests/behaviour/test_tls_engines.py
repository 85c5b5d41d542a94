"""Every engine passes the tests of TLS: those that are not the default are tried in processes of their own."""

from __future__ import annotations

import ctypes
import os
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from .support import Loop, Recorder, run, until
from .tls_support import connection, make_contexts, require_openssl

FILES = ("test_tls.py", "test_tls_endings.py", "test_tls_flow.py", "test_tls_settings.py", "test_tls_layers.py")


def run_with(engine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYLOOP_TLS": engine},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.mark.pyloop_only("asyncio has one engine")
@pytest.mark.skipif(
    not hasattr(sys.modules["_ssl"], "__file__") or bool(os.environ.get("PYLOOP_TLS")),
    reason="OpenSSL is part of this interpreter, or another engine was asked for",
)
def test_openssl_is_called_directly_where_nothing_speaks_against_it(loop: Loop) -> None:
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    contexts = make_contexts()

    class Derived(ssl.SSLObject):
        pass

    async def main() -> None:
        async with connection(contexts) as (transport, _, _peer):
            assert transport._ssl_protocol._engine == ("memorybio" if free_threaded else "openssl")
        contexts.client.sslobject_class = Derived
        async with connection(contexts) as (transport, _, _peer):
            assert transport._ssl_protocol._engine == "memorybio"

    run(loop, main())


@pytest.mark.pyloop_only("asyncio fails as soon as anything has left an error in OpenSSL's queue")
@pytest.mark.skipif(not hasattr(sys.modules["_ssl"], "__file__"), reason="OpenSSL is part of this interpreter")
def test_errors_that_others_leave_in_the_queue_of_openssl_do_no_harm(loop: Loop) -> None:
    library = ctypes.CDLL(sys.modules["_ssl"].__file__)
    if not hasattr(library, "d2i_X509"):
        pytest.skip("this interpreter's OpenSSL shows no functions")
    library.d2i_X509.restype = ctypes.c_void_p
    library.d2i_X509.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_long]
    library.ERR_peek_error.restype = ctypes.c_ulong

    class Careless(Recorder):
        """Leaves an error in the queue whenever it is called."""

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            assert not library.d2i_X509(None, ctypes.byref(ctypes.c_char_p(b"no certificate")), 14)
            assert library.ERR_peek_error() != 0
            self.transport.write(data)

    async def main() -> None:
        contexts = make_contexts()
        await require_openssl(contexts)
        server = await loop.create_server(Careless, "127.0.0.1", 0, ssl=contexts.server)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
        )
        sent = b""
        for size in (1, 100, 30_000, 1):
            message: Any = bytes(size)
            transport.write(message)
            sent += message
            await until(lambda: protocol.lost or len(protocol.received) == len(sent))
            assert not protocol.lost
        transport.close()
        await until(lambda: protocol.lost)
        server.close()
        await server.wait_closed()
        assert protocol.lost_with is None

    run(loop, main())


def test_the_engine_of_memory_bios_passes_the_same_tests() -> None:
    files = [str(Path(__file__).with_name(name)) for name in FILES]
    done = run_with("memorybio", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-k", "pyloop", *files)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_standard_librarys_protocol_can_be_had() -> None:
    source = "import pyloop._tls; print(pyloop._tls.engine())"
    assert run_with("stdlib", "-c", source).stdout == "stdlib\n"


def test_an_engine_that_is_not_known_is_an_error() -> None:
    done = run_with("rot13", "-c", "import pyloop")
    assert done.returncode != 0
    assert "PYLOOP_TLS must be one of openssl, memorybio, stdlib, not rot13" in done.stderr
