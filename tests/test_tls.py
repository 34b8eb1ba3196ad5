"""The HTTP driver over TLS: a certificate is verified, and a failure says so."""

import asyncio
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
import uvloop

from loadkit.drivers.base import TransportError
from loadkit.drivers.http.driver import HttpDriver
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.tls import context_of
from loadkit.engine.uptime import require_answer
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.target import Target
from tests.bad_servers import always_says, asked, in_a_thread, listening, says

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


def ask_over(behaviour, tls: ssl.SSLContext | None, host: str, ca_file: Path, times: int = 1, **shown: str):
    async def main():
        async with listening(behaviour, tls=tls) as server:
            driver = HttpDriver(Target("t", f"https://{host}:{server.port}", ca_file=str(ca_file), **shown))
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


def test_a_cookie_that_asks_for_tls_is_sent_over_it(ours):
    seen = []

    async def sets_a_cookie(server, reader, writer):
        while True:
            seen.append(await asked(server, reader))
            writer.write(OK.replace(b"\r\n", b"\r\nSet-Cookie: a=1; Path=/; Secure\r\n", 1))
            await writer.drain()

    ask_over(sets_a_cookie, served_with(*ours), "localhost", ours[0], times=2)
    assert [b"\r\ncookie: a=1\r\n" in request for request in seen] == [False, True]


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


# --- a client that says who it is


def asking_for_certificates_of(authority: Path, pem: Path, key: Path) -> ssl.SSLContext:
    context = served_with(pem, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    return context


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("client"), "client")


def test_a_service_that_asks_for_a_certificate_is_shown_the_clients(ours, client):
    tls = asking_for_certificates_of(client[0], *ours)
    found, _ = ask_over(
        always_says(OK), tls, "localhost", ours[0], cert_file=str(client[0]), key_file=str(client[1])
    )
    assert found == [b"hi"]


def test_certificate_and_key_may_stand_in_one_file(ours, client, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(client[0].read_bytes() + client[1].read_bytes())
    tls = asking_for_certificates_of(client[0], *ours)
    assert ask_over(always_says(OK), tls, "localhost", ours[0], cert_file=str(both))[0] == [b"hi"]


def test_without_a_certificate_such_a_service_answers_nothing(ours, client):
    tls = asking_for_certificates_of(client[0], *ours)
    with pytest.raises(TransportError, match=r"tls|reset|closed"):
        ask_over(always_says(OK), tls, "localhost", ours[0])


def test_the_probe_and_the_look_before_the_load_show_it_too(ours, client):
    tls = asking_for_certificates_of(client[0], *ours)
    with in_a_thread(always_says(OK), tls=tls) as server:
        target = Target(
            "t", f"https://localhost:{server.port}", ready="/readyz", ca_file=str(ours[0]),
            cert_file=str(client[0]), key_file=str(client[1]),
        )  # fmt: skip
        require_answer(target)
        with pytest.raises(UnreachableError, match="does not answer"):
            require_answer(replace(target, cert_file="", key_file=""))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca_file": "absent.pem"}, r"cannot read the certificate authority in absent.pem: No such file"),
        ({"cert_file": "absent.pem"}, r"cannot use the client certificate in absent.pem: No such file"),
        ({"cert_file": "CERT"}, r"cannot use the client certificate in .*: .*; expected PEM files"),
        ({"cert_file": "CERT", "key_file": "OTHER"}, r"key values mismatch; expected PEM files"),
        ({"cert_file": "CERT", "key_file": "LOCKED"}, r"the key in .* is encrypted, .* without a passphrase"),
    ],
    ids=["no authority", "no certificate", "no key in it", "another key", "a passphrase"],
)
def test_a_file_that_cannot_be_used_is_one_line(ours, client, tmp_path, files, said):
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", client[1], "-out", locked, "-passout", "pass:x"], check=True
    )
    names = {"CERT": str(client[0]), "OTHER": str(ours[1]), "LOCKED": str(locked)}
    with pytest.raises(ConfigurationError, match=said) as caught:
        context_of(Target("t", "https://x", **{key: names.get(file, file) for key, file in files.items()}))
    assert "\n" not in str(caught.value)
