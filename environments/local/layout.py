"""The files of the environment, in one directory that can be deleted."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """The files in the environment's directory. All such directories share downloaded programs."""

    directory: Path
    programs: Path

    @classmethod
    def current(cls) -> "Layout":
        """`.cache/local` of the project, or the directory that METRICS_LOCAL_DIR names."""
        cache = PROJECT / ".cache"
        directory = Path(os.environ.get("METRICS_LOCAL_DIR") or cache / "local").resolve()
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)  # it contains passwords, and sockets that accept commands
        return cls(directory, cache / "programs")

    @property
    def logs(self) -> Path:
        """The directory with one log file per part."""
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        return logs

    @property
    def lock(self) -> Path:
        """The file that the running supervisor locks; the lock proves that it runs."""
        return self.directory / "supervisor.lock"

    @property
    def socket(self) -> Path:
        """The socket on which the supervisor accepts commands."""
        return self.directory / "supervisor.sock"

    @property
    def accounts(self) -> Path:
        """The seeded accounts with their passwords, as a JSON list."""
        return self.directory / "accounts.json"

    def secret(self) -> str:
        """The password of all parts and the key of the service's tokens; one per directory."""
        path = self.directory / "secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16))
        return path.read_text()


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader sees the old or the new content, never a part of it."""
    draft = path.with_name(path.name + ".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(value))
    draft.replace(path)


def socket_address(path: Path, directory: int) -> str:
    """The address of a Unix socket, within the limit of 108 bytes for any depth of the directory.

    `directory` is an open descriptor of the directory that contains the socket.
    """
    return f"/proc/self/fd/{directory}/{path.name}"
