"""Everything that an `ssl.SSLContext` can be told is honoured: certificates, names, protocols, sessions, callbacks."""

from __future__ import annotations

import asyncio
import ssl
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from .support import Loop, Recorder, run, turns, until
from .tls_support import NEW_TLS, Contexts, connection, make_contexts

pytestmark = NEW_TLS


@pytest.fixture
def contexts() -> Contexts:
    return make_contexts()


class Served(Recorder):
    """A server's connection that says hello, so that a client of TLS 1.3 knows that it was accepted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"hello")


async def meet(
    loop: Loop, server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[Any, Recorder, Served, Any]:
    """A client's transport and protocol, the server's protocol, and the server, after the greeting."""
    made: list[Served] = []

    def factory() -> Served:
        made.append(Served())
        return made[-1]

    listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=server)
    try:
        transport, protocol = await loop.create_connection(
            Recorder, *listening.sockets[0].getsockname(), ssl=client, server_hostname=name
        )
        await until(lambda: protocol.received == b"hello" or protocol.lost)
    except BaseException:
        await part(listening)
        raise
    return transport, protocol, made[0], listening


async def part(listening: Any, transport: Any = None, protocol: Recorder | None = None) -> None:
    if transport is not None:
        transport.close()
    if protocol is not None:
        await until(lambda: protocol.lost)
    await turns(10)
    listening.close()
    await listening.wait_closed()
    await turns(5)


def test_both_sides_know_the_others_certificate(loop: Loop, contexts: Contexts) -> None:
    contexts.server.verify_mode = ssl.CERT_REQUIRED
    contexts.authority.configure_trust(contexts.server)
    contexts.authority.issue_cert("client.invalid").configure_cert(contexts.client)

    async def main() -> None:
        transport, protocol, serving, listening = await meet(loop, contexts.server, contexts.client)
        names = serving.transport.get_extra_info("peercert")["subjectAltName"]
        assert ("DNS", "client.invalid") in names
        assert ("DNS", "localhost") in transport.get_extra_info("peercert")["subjectAltName"]
        await part(listening, transport, protocol)

    run(loop, main())


def test_a_client_without_a_certificate_is_refused(loop: Loop, contexts: Contexts) -> None:
    contexts.server.verify_mode = ssl.CERT_REQUIRED
    contexts.authority.configure_trust(contexts.server)

    async def main() -> None:
        listening = await loop.create_server(Served, "127.0.0.1", 0, ssl=contexts.server)
        protocol = Recorder()
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, *listening.sockets[0].getsockname(), ssl=contexts.client, server_hostname="localhost"
            )
        except OSError:
            pass  # TLS 1.2
        else:
            await until(lambda: protocol.lost)
            assert protocol.received == b""
            assert transport.is_closing()
        await part(listening)

    run(loop, main())


def test_the_server_chooses_by_the_name_that_the_client_wants(loop: Loop, contexts: Contexts) -> None:
    asked: list[Any] = []
    other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    contexts.authority.issue_cert("other.invalid").configure_cert(other)

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        asked.append((name, context is contexts.server))
        connection.context = other

    contexts.server.sni_callback = choose  # type: ignore[assignment]

    async def main() -> None:
        transport, protocol, _, listening = await meet(loop, contexts.server, contexts.client, "other.invalid")
        assert ("DNS", "other.invalid") in transport.get_extra_info("peercert")["subjectAltName"]
        await part(listening, transport, protocol)

    run(loop, main())
    assert asked == [("other.invalid", True)]


def test_a_name_that_the_callback_refuses_is_an_error(loop: Loop, contexts: Contexts) -> None:
    contexts.server.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE  # type: ignore[assignment]

    async def main() -> None:
        with pytest.raises(OSError):  # noqa: PT011 - an alert, or the reset of a server that does not send it
            await meet(loop, contexts.server, contexts.client)

    run(loop, main())


def test_both_sides_agree_on_a_protocol(loop: Loop, contexts: Contexts) -> None:
    contexts.server.set_alpn_protocols(["h2", "http/1.1"])
    contexts.client.set_alpn_protocols(["http/1.1"])

    async def main() -> None:
        transport, protocol, serving, listening = await meet(loop, contexts.server, contexts.client)
        for side in (transport, serving.transport):
            assert side.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await part(listening, transport, protocol)

    run(loop, main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_session_is_there_to_be_used_again(loop: Loop, contexts: Contexts, version: ssl.TLSVersion) -> None:
    contexts.client.minimum_version = contexts.client.maximum_version = version

    async def main() -> None:
        transport, protocol, _, listening = await meet(loop, contexts.server, contexts.client)
        ssl_object = transport.get_extra_info("ssl_object")
        assert ssl_object.version() == ("TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
        assert ssl_object.session is not None
        assert ssl_object.session.has_ticket
        session = ssl_object.session
        await part(listening, transport, protocol)

        # By hand: asyncio has no argument for it, but a class of the application's may set it.
        class Resuming(ssl.SSLObject):
            def do_handshake(self) -> None:
                if self.session is None:
                    self.session = session
                super().do_handshake()

        contexts.client.sslobject_class = Resuming
        transport, protocol, _, listening = await meet(loop, contexts.server, contexts.client)
        assert isinstance(transport.get_extra_info("ssl_object"), Resuming)
        assert transport.get_extra_info("ssl_object").session_reused
        await part(listening, transport, protocol)

    run(loop, main())


def test_keys_are_logged(loop: Loop, contexts: Contexts, tmp_path: Path) -> None:
    log = tmp_path / "keys"
    contexts.client.keylog_filename = str(log)

    async def main() -> None:
        transport, protocol, _, listening = await meet(loop, contexts.server, contexts.client)
        await part(listening, transport, protocol)

    run(loop, main())
    assert "CLIENT_" in log.read_text()


def test_a_class_of_the_applications_sees_every_call(loop: Loop, contexts: Contexts) -> None:
    calls: list[str] = []

    class Watching(ssl.SSLObject):
        def read(self, len: int = 1024, buffer: Any = None) -> Any:
            calls.append("read")
            return super().read(len, buffer) if buffer is not None else super().read(len)

        def write(self, data: Any) -> int:
            calls.append("write")
            return super().write(data)

        def do_handshake(self) -> None:
            calls.append("do_handshake")
            super().do_handshake()

        def unwrap(self) -> Any:
            calls.append("unwrap")
            return super().unwrap()

    contexts.client.sslobject_class = Watching

    async def main() -> None:
        transport, protocol, _, listening = await meet(loop, contexts.server, contexts.client)
        transport.write(b"x")
        await turns(2)
        await part(listening, transport, protocol)

    run(loop, main())
    assert {"read", "write", "do_handshake", "unwrap"} <= set(calls)


def test_extra_information_falls_through_to_the_socket(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        transport, protocol, serving, listening = await meet(loop, contexts.server, contexts.client)
        for side, context in ((transport, contexts.client), (serving.transport, contexts.server)):
            assert side.get_extra_info("sslcontext") is context
            assert side.get_extra_info("cipher") == side.get_extra_info("ssl_object").cipher()
            assert side.get_extra_info("compression") is None
            assert side.get_extra_info("socket").fileno() > 0
            assert side.get_extra_info("nothing") is None
            assert side.get_extra_info("nothing", "default") == "default"
        assert transport.get_extra_info("peername") == serving.transport.get_extra_info("sockname")
        assert serving.transport.get_extra_info("peercert") is None
        await part(listening, transport, protocol)
        assert transport.get_extra_info("sslcontext", "gone") in (contexts.client, "gone")

    run(loop, main())


def test_the_transport_is_an_ordinary_object(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        async with connection(contexts) as (transport, protocol, peer):
            assert isinstance(transport, asyncio.Transport)
            assert transport._start_tls_compatible
            assert weakref.ref(transport)() is transport
            transport.note = "mine"
            assert transport.__dict__["note"] == "mine"
            written: list[bytes] = []
            original = transport.write
            transport.write = lambda data: (written.append(data), original(data))
            protocol.transport.write(b"seen")
            assert await peer.receive(4) == b"seen"
            assert written == [b"seen"]
            assert "ransport" in repr(transport)

    run(loop, main())


def test_the_default_context_is_used_for_true(loop: Loop, contexts: Contexts) -> None:
    async def main() -> None:
        listening = await loop.create_server(Served, "127.0.0.1", 0, ssl=contexts.server)
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Recorder, *listening.sockets[0].getsockname(), ssl=True, server_hostname="localhost"
            )
        await part(listening)

    run(loop, main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.5])
def test_timeouts_must_be_positive(loop: Loop, contexts: Contexts, name: str, seconds: float) -> None:
    if sys.version_info < (3, 11) and name == "ssl_shutdown_timeout":
        pytest.skip("ssl_shutdown_timeout is new in CPython 3.11")

    async def main() -> None:
        listening = await loop.create_server(Served, "127.0.0.1", 0, ssl=contexts.server)
        plain, protocol = await loop.create_connection(Recorder, *listening.sockets[0].getsockname())
        with pytest.raises(ValueError, match=f"{name} should be a positive number, got {seconds}"):
            await loop.start_tls(plain, protocol, contexts.client, **{name: seconds})  # type: ignore[arg-type]
        plain.abort()
        await part(listening, plain, protocol)

    run(loop, main())
