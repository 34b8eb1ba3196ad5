"""The local nginx that every tool loads."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

__all__ = ["Server", "nginx"]

_CONFIGURATION = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location = /count {{ stub_status; }}
    location /file/ {{ default_type application/json; alias {folder}/; }}
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""
_BODY = '{"id": 17, "name": "cpu.load", "values": [0.25, 0.5, 0.75], "tenant": "acme", "at": "2026-01-01T00:00:00Z"}'


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load."""

    url: str

    def requests(self) -> int:
        """How many requests it has answered since its start, this one included."""
        return int(httpx.get(f"{self.url}/count").text.split("\n")[2].split()[2])


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Server]:
    """Start it on a free loopback port; it is gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, body=_BODY))
    process = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        server = Server(f"http://127.0.0.1:{port}")
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):
                server.requests()
                break
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait()
