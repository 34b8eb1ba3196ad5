"""Where the environment keeps its files: one directory that can be thrown away."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """The files below the environment's directory. Downloaded programs are shared by all such directories."""

    directory: Path
    programs: Path

    @classmethod
    def current(cls) -> "Layout":
        """`.cache/local` of the project, or the directory that METRICS_LOCAL_DIR names."""
        cache = PROJECT / ".cache"
        directory = Path(os.environ.get("METRICS_LOCAL_DIR") or cache / "local").resolve()
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)  # it holds passwords, and sockets that give orders
        return cls(directory, cache / "programs")

    @property
    def logs(self) -> Path:
        """One log file per part."""
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        return logs

    @property
    def lock(self) -> Path:
        """Locked by the supervisor for as long as it lives: the one proof that it does."""
        return self.directory / "supervisor.lock"

    @property
    def socket(self) -> Path:
        """Where the supervisor takes orders."""
        return self.directory / "supervisor.sock"

    @property
    def accounts(self) -> Path:
        """The seeded accounts with their passwords, a JSON list."""
        return self.directory / "accounts.json"

    def secret(self) -> str:
        """The password of every part and the key of the service's tokens; drawn once per directory."""
        path = self.directory / "secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16))
        return path.read_text()


def write_json(path: Path, value: Any) -> None:
    """Write so that a reader sees the old content or the new, never a part of it."""
    draft = path.with_name(path.name + ".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(value))
    draft.replace(path)


def socket_address(path: Path, directory: int) -> str:
    """The address of a Unix socket, short enough (108 bytes) however deep the directory lies.

    `directory` is an open descriptor of the directory that holds the socket.
    """
    return f"/proc/self/fd/{directory}/{path.name}"
