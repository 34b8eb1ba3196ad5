"""The HTTP driver over TLS: a certificate is verified, and a failure says so."""

import asyncio
import ssl
import subprocess
from pathlib import Path
from time import monotonic

import pytest
import uvloop

from loadkit.drivers.base import TransportError
from loadkit.drivers.headers import RequestHeaders
from loadkit.drivers.http import HttpDriver
from loadkit.target import Target
from tests.bad_servers import always_says, listening, says

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for localhost, and its key."""
    pem, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(key), "-out", str(pem), "-days", "2", "-subj", f"/CN={name}",
            "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return pem, key


def served_with(pem: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)
    return context


def ask_over(behaviour, tls: ssl.SSLContext | None, host: str, ca_file: Path, times: int = 1):
    async def main():
        async with listening(behaviour, tls=tls) as server:
            driver = HttpDriver(Target("t", f"https://{host}:{server.port}", ca_file=str(ca_file)))
            session = driver.session()
            found = []
            for _ in range(times):
                answer = await session.request("GET", "/", RequestHeaders({}), b"", None, monotonic() + 5)
                found.append(answer.content)
            session.close()
            # A close of TLS takes a turn of the loop or two.
            await asyncio.sleep(0.05)
            return found, server.connections

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(), 20))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"), "ours")


def test_a_verified_connection_is_kept_like_any_other(ours):
    assert ask_over(always_says(OK), served_with(*ours), "localhost", ours[0], times=3) == ([b"hi"] * 3, 1)


def test_an_answer_that_ends_with_a_tls_connection_is_whole(ours):
    assert ask_over(says(b"HTTP/1.1 200 OK\r\n\r\nhi"), served_with(*ours), "localhost", ours[0])[0] == [
        b"hi"
    ]


def test_an_unknown_authority_is_a_tls_failure(ours, tmp_path):
    other = certificate(tmp_path, "other")
    with pytest.raises(TransportError, match="tls"):
        ask_over(always_says(OK), served_with(*ours), "localhost", other[0])


def test_a_certificate_for_another_host_is_a_tls_failure(ours):
    with pytest.raises(TransportError, match="tls"):
        ask_over(always_says(OK), served_with(*ours), "127.0.0.1", ours[0])


def test_a_port_without_tls_is_a_tls_failure(ours):
    async def answers_anything(_server, reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    with pytest.raises(TransportError, match="tls"):
        ask_over(answers_anything, None, "localhost", ours[0])
