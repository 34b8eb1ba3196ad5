"""Suites in passing folders, with the steps of this one, run as people run them."""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.local_environment import eventually

ROOT = Path(__file__).parents[1]

ENVIRONMENT = """
base = "{base}"
journeys = "tests.sample_journeys.arriving"
load_allowed = true
max_users = 100
[accounts]
file = "accounts.json"
[levels]
peak = 5
[mixes]
default = [{{ journey = "work", share = 1 }}]
"""
PROMISES = ("the p95 response time is below 500 ms", "the error rate is below 1%")
LOAD = """
    Given 5 concurrent users
    And they arrive over 5 seconds
    And each user thinks for 0.05 to 0.1 seconds
    And the load holds for {hold} seconds
"""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def is_plain(self) -> bool:
        """Is it free of stack traces?"""
        return "Traceback" not in self.out + self.err


class Suite:
    """A project of its own: its environment file, its features, its reports."""

    def __init__(self, root: Path, variables: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.reports = root / "results"
        self.variables = {**os.environ, **(variables or {})}
        (root / "steps").symlink_to(ROOT / "steps")
        for name in ("environment.py", "pyproject.toml"):
            (root / name).write_text((ROOT / name).read_text())
        (root / "features").mkdir()

    def use_service(self, base: str, accounts: int = 5, more: str = "") -> None:
        """Point it at a service with so many accounts."""
        (self.root / "environments").mkdir(exist_ok=True)
        (self.root / "environments" / "local.toml").write_text(more + ENVIRONMENT.format(base=base))
        rows = [{"username": f"u{number}", "password": "PASSWORD-IN-PLAIN"} for number in range(accounts)]
        (self.root / "accounts.json").write_text(json.dumps(rows))

    def use_local(self) -> None:
        """Point it at the local environment."""
        (self.root / "environments").symlink_to(ROOT / "environments")

    def promise(self, *sentences: str, hold: float = 30, given: str = LOAD) -> None:
        """Have these judged on a small load."""
        judged = "\n    And ".join(sentences)
        text = f"Feature: Luck\n\n  Scenario: Bad\n{given.format(hold=hold)}    Then {judged}\n"
        (self.root / "features" / "luck.feature").write_text(text)

    def run(self, *, full: Path | None = None) -> Said:
        """Run behave to its end; `full` is a folder, under its reports, in which there is no space."""
        with self.started(full=full) as process:
            return said(process)

    @contextmanager
    def started(self, *, full: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
        """Behave in a session (process group) of its own, killed at the end if it still is there."""
        command = [sys.executable, "-m", "behave", "--no-color", "-D", f"reports={self.reports}"]
        if full is not None:
            full.mkdir(parents=True)
            mount = f'mount -t tmpfs -o size=4k,nr_inodes=1 none {full} && exec "$@"'
            command = ["unshare", "-Urm", "sh", "-c", mount, "sh", *command]
        with subprocess.Popen(
            command, cwd=self.root, env=self.variables, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def loadkit(self, *arguments: str) -> Said:
        """Run a command of loadkit's."""
        command = [sys.executable, "-m", "loadkit.cli", *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @property
    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Status and reason by sentence, as the results tell them."""
        results: dict[str, Any] = json.loads((self.reports / "criteria.json").read_text())
        return {
            each["sentence"]: (each["verdict"]["status"], each["verdict"]["reason"])
            for each in results["criteria"]
        }

    @property
    def kept_runs(self) -> list[str]:
        """The ids of the runs that were kept."""
        folder = self.reports / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def said(process: "subprocess.Popen[str]", seconds: float = 90.0) -> Said:
    """What a process says until it ends. It must not hang."""
    out, err = process.communicate(timeout=seconds)
    return Said(process.returncode, out, err)


def children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The workers of a run, and whatever else came of it."""
    return psutil.Process(process.pid).children(recursive=True)


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty if it has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def all_gone(processes: Collection[psutil.Process]) -> bool:
    """Do they all end? A local environment may take a quarter of a minute to stop in order."""
    return eventually(lambda: all(map(_is_gone, processes)))


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
