"""`loadkit trace`: list criteria and last verdicts per requirement; fail if one is not judged."""

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
        default=Path("features/requirements.toml"),
        help="catalogue of requirements (default: features/requirements.toml)",
    )
    command.add_argument(
        "--results",
        type=Path,
        default=Path("reports"),
        help="folder of the last criteria.json (default: reports)",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the catalogue; return 2 if an id is unknown, or a criterion or proof is missing."""
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
