"""The whole suite at sign-off durations, by the sum of its own dry run."""

import subprocess
import sys
from pathlib import Path

from loadkit.environment import environment

ROOT = Path(__file__).parents[1]


def test_the_suite_takes_less_than_two_hours_by_its_own_sum():
    """The dry run ends with 2 above the environment's `max_minutes`."""
    assert environment.load("local", ROOT).settings.max_minutes <= 120
    said = subprocess.run(
        [sys.executable, "-m", "behave", "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert " in total on local; no load was started" in said.stdout
