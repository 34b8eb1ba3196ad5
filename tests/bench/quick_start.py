"""What `loadkit run URL --for 3s` costs besides its load, and how soon that load begins.

The load is one user who pauses for a second: what is measured is the command, its worker's process included.
"""

import sys
import tempfile
import time
from pathlib import Path

from loadkit.recording import archive
from tests.bench.server import Server
from tests.bench.tools import Load, Tool, measured

__all__ = ["costs"]

_LOAD = ("--users", "{users}", "--for", "{seconds}s", "--ramp", "0", "--think", "1s..1s")
_SECONDS = 3


def costs(server: Server, log: Path) -> dict[str, float]:
    """Seconds of processor time of one command, all its processes together; and from its start to the load's."""
    with tempfile.TemporaryDirectory() as kept:
        command = (sys.executable, "-m", "loadkit.cli", "run", "{url}/", *_LOAD, "--out", kept)
        begun = time.time()
        spent = measured(
            Tool("loadkit run", command, ""), server.url, Load(1, _SECONDS), log, server.requests
        )
        run = archive.load(archive.find("last", Path(kept)))
    return {"cpu_seconds": spent.cpu_seconds, "begins_after": run.started - begun}
