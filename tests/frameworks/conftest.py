"""What the programs share: certificates of an authority that lives for one run, and a bounded way to run them."""

from __future__ import annotations

import asyncio
import pathlib
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

Result = TypeVar("Result")

# Each program takes well under a second on an idle machine.
PROGRAM_SECONDS = 40.0


@dataclass(frozen=True)
class Certificates:
    """A server's certificate for `localhost`, and what a client needs to trust it."""

    certificate: pathlib.Path
    key: pathlib.Path
    authority: pathlib.Path

    def server_context(self) -> ssl.SSLContext:
        """Returns a context that presents the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Returns a context that trusts the authority, and nothing else, and checks host names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authority)
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate for `localhost` by an authority made for this run."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed: no TLS can be tried")
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    found = Certificates(folder / "server.pem", folder / "server.key", folder / "authority.pem")
    server.private_key_pem.write_to_path(found.key)
    for index, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(found.certificate, append=index > 0)
    authority.cert_pem.write_to_path(found.authority)
    return found


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Certificates | None:
    """The certificates of an encrypted exchange; `None` for a plain one. A test that asks for it runs both ways."""
    if request.param == "plain":
        return None
    found: Certificates = request.getfixturevalue("certificates")
    return found


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Awaitable[Any]], Any]:
    """Runs a program to its end on the loop under test, within a bound, and lets its async generators finish."""

    def run_program(program: Awaitable[Result]) -> Result:
        try:
            return loop.run_until_complete(asyncio.wait_for(program, PROGRAM_SECONDS))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())

    return run_program


if sys.version_info < (3, 11):

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """There a TLS transport of asyncio's own that its peer ended warns even so, on any loop."""
        for item in items:
            if "frameworks" in item.path.parts:
                item.add_marker(
                    pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
                )
