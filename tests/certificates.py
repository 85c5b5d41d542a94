"""An authority for tests of TLS, made by the `openssl` command.

The usual package for it, trustme, needs one that cannot be built for free-threaded 3.13; there no TLS would be tried.
"""

from __future__ import annotations

import functools
import ipaddress
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest

# Extensions that `ssl.VERIFY_X509_STRICT`, a default from Python 3.13 on, asks for.
_SETTINGS = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alternatives}
"""


class Certificate:
    """A certificate and its key, as PEM."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self._pem = certificate + key

    def configure_cert(self, context: ssl.SSLContext) -> None:
        """Makes a context present this certificate."""
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(self._pem)
            file.flush()
            context.load_cert_chain(file.name)


class Authority:
    """Signs certificates that only those trust who were told to."""

    def __init__(self) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl command: no TLS can be tried")
        self._certificate, self._key = _sign("tests of pyloop", "authority")

    def issue_cert(self, *names: str) -> Certificate:
        """Returns a certificate for host names and addresses."""
        return Certificate(*_sign(names[0], "leaf", names, (self._certificate, self._key)))

    def configure_trust(self, context: ssl.SSLContext) -> None:
        """Makes a context trust whatever this authority signed."""
        context.load_verify_locations(cadata=self._certificate.decode())


def _sign(
    name: str, kind: str, names: tuple[str, ...] = ("unused",), by: tuple[bytes, bytes] | None = None
) -> tuple[bytes, bytes]:
    """Returns a new certificate and its key, signed by another one's or by itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = functools.partial(Path, folder)
        path("settings").write_text(_SETTINGS.format(name=name, alternatives=", ".join(map(_alternative, names))))
        _openssl(folder, "ecparam -name prime256v1 -genkey -noout -out key")
        _openssl(folder, "req -new -config settings -key key -out request")
        signer = "-signkey key"
        if by is not None:
            path("signer").write_bytes(by[0])
            path("signer-key").write_bytes(by[1])
            signer = "-CA signer -CAkey signer-key -CAcreateserial"
        _openssl(folder, f"x509 -req -in request {signer} -days 30 -extfile settings -extensions {kind} -out made")
        return path("made").read_bytes(), path("key").read_bytes()


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(folder: str, command: str) -> None:
    done = subprocess.run(
        ["openssl", *command.split()], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    assert done.returncode == 0, f"openssl {command}: {done.stdout.decode(errors='replace')}"
