"""Valkey (Redis): the service's cache and its channel between instances."""

from environments.local import binaries
from environments.local.layout import Layout
from environments.local.process import Program, accepts, start_listening


def url(port: int, secret: str) -> str:
    """The URL of the cache."""
    return f"redis://:{secret}@127.0.0.1:{port}/0"


async def start(layout: Layout) -> tuple[Program, int]:
    """Start an empty Valkey without persistence. Raises LocalError."""
    # The password is in a file, because every user of the machine can read command lines.
    configuration = layout.directory / "valkey.conf"
    configuration.touch(mode=0o600)

    def make(port: int) -> Program:
        configuration.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {layout.secret()}\nsave ''\nappendonly no\n"
            "maxmemory 256mb\nmaxmemory-policy volatile-lru\n"
        )
        command = [str(binaries.valkey()), str(configuration)]
        return Program("valkey", command, layout.logs / "valkey.log", layout.directory)

    return await start_listening(make, accepts)
