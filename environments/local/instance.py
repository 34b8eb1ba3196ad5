"""An instance of the service as the supervisor controls it: a process and a pipe for commands.

The pipe works independently of the service's requests, the database and the cache.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from environments.local.errors import LocalError
from environments.local.layout import PROJECT, Layout
from environments.local.process import Program


class Instance:
    """One running instance. It chooses its port, and reports the port when it is ready."""

    def __init__(self, name: str, layout: Layout, directory: Path, settings: dict[str, Any]) -> None:
        """Prepare the instance; `directory` becomes its working directory."""
        self.name = name
        self.port = 0
        self.is_draining = False
        self.program = Program(
            name,
            [sys.executable, "-m", "environments.local.service"],
            layout.logs / f"{name}.log",
            directory,
            environment={
                "PYTHONPATH": str(PROJECT),
                "METRICS_SERVICE": json.dumps({**settings, "name": name}),
            },
        )
        self._answers = asyncio.StreamReader()
        self._order = asyncio.Lock()

    async def start(self) -> None:
        """Start the instance and wait until it accepts requests. Raises LocalError."""
        process = self.program.start(piped=True)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._answers), process.stdout
        )
        self.port = int((await self._answer(20.0))["port"])

    async def set_faults(self, faults: dict[str, dict[str, float]]) -> None:
        """Set all active faults of the instance, with their parameters. Raises LocalError."""
        async with self._order:
            process = self.program.process
            assert process is not None
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps({"faults": faults}).encode() + b"\n")
                process.stdin.flush()
            except BrokenPipeError:
                raise LocalError(f"{self.name} is dead") from None
            await self._answer(10.0)

    async def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                line = await self._answers.readline()
        except TimeoutError:
            raise LocalError(f"{self.name} does not answer: {self.program.last_log_line()}") from None
        if not line:
            raise LocalError(f"{self.name} died: {self.program.last_log_line()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def state(self) -> str:
        """`running`, `draining`, `frozen` or `dead`."""
        return "draining" if self.is_draining and self.program.is_alive else self.program.state

    def facts(self) -> dict[str, Any]:
        """The public facts of the instance."""
        url = f"http://127.0.0.1:{self.port}"
        return {"name": self.name, "url": url, "pid": self.program.pid, "state": self.state}
