"""A suite of its own in a passing folder, and behave as people call it there, on a testbed that puts no load on."""

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["HOOKS", "LOCAL", "QUICK", "Project", "Said", "project"]

ROOT = Path(__file__).parent.parent

HOOKS = f"""
from pathlib import Path
from steps.suite import runner
from tests.fake_testbed import FakeTestbed
runner.Testbed = FakeTestbed
exec(Path({str(ROOT / "environment.py")!r}).read_text())
"""
JOURNEYS = """
from loadkit.journey import journey

@journey("browse")
async def browse(user):
    await user.get("/shop/items")
"""
LOCAL = """
base = "http://127.0.0.1:1"
journeys = "shop"
load_allowed = true
max_users = 1000
ramp = 0
hold = 30
[levels]
peak = 200
[groups]
shop = ["* /shop/*"]
[mixes]
default = [{ journey = "browse", share = 1 }]
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What behave left behind."""

    code: int
    out: str
    err: str
    testbed: list[str]
    criteria: dict[str, tuple[str, str]]
    """By "line sentence": status and reason."""

    @property
    def loads(self) -> list[str]:
        return [line.removeprefix("run ") for line in self.testbed if line.startswith("run ")]


class Project:
    """A suite of its own in a passing folder, with the steps of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "steps").symlink_to(ROOT / "steps")
        self.write("environment.py", HOOKS)
        self.write("shop.py", JOURNEYS)
        self.write("environments/local.toml", LOCAL)
        self.write("pyproject.toml", (ROOT / "pyproject.toml").read_text())
        self.order()

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def order(self, **orders: object) -> None:
        self.write("orders.json", json.dumps(orders))

    def feature(self, scenarios: str, name: str = "shop") -> None:
        self.write(f"features/{name}.feature", f"Feature: Shop\n{textwrap.dedent(scenarios)}")

    def behave(self, *arguments: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "behave", "--no-color", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        log, criteria = self.root / "testbed.log", self.root / "reports" / "criteria.json"
        return Said(
            done.returncode,
            done.stdout,
            done.stderr,
            log.read_text().splitlines() if log.exists() else [],
            {
                f"{each['line']} {each['sentence']}": (each["verdict"]["status"], each["verdict"]["reason"])
                for each in (json.loads(criteria.read_text())["criteria"] if criteria.exists() else [])
            },
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


QUICK = """
  Scenario: Quick
    Given 100 concurrent users
    Then p95 stays below 500 ms
    And the error rate of the shop endpoints is below 1%
"""
