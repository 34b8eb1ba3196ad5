"""List all requirements with the criteria that judge them and their results.

The exit code is 2 if a requirement is not covered.
"""

import argparse
import json
import sys
from pathlib import Path

from loadkit.cli.project import run_command
from loadkit.errors import ConfigurationError
from loadkit.reports.results import FILE
from loadkit.reports.trace import JudgingScenario, requirements_of, trace, verdicts_of

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument(
        "--requirements",
        type=Path,
        metavar="FILE",
        default=Path("features/requirements.toml"),
        help="catalogue of requirements (default: features/requirements.toml)",
    )
    command.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        default=Path("reports"),
        help="folder of criteria.json (default: reports)",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the catalogue. Returns 2 for an unknown id or a missing requirement, level or group."""
    requirements = requirements_of(options.requirements)
    listed = run_command("scenarios", ["python", "-m", "steps.suite.scenarios"], capture=True)
    if listed.returncode:
        raise ConfigurationError("the features cannot be read")
    scenarios = [
        JudgingScenario(row["where"], frozenset(row["tags"]), tuple(row["criteria"]))
        for row in json.loads(listed.stdout)
    ]
    proofs = frozenset(each.proof for each in requirements if each.proof and Path(each.proof).exists())
    traced, problems = trace(requirements, scenarios, verdicts_of(options.results / FILE), proofs)
    for each in traced:
        print(each)
    sys.stdout.flush()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 2 if problems else 0
