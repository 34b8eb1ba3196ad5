"""`python -m steps.suite.scenarios [features]`: all scenarios with tags and criteria as JSON."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from behave.parser import ParserError

from loadkit.errors import ConfigurationError
from steps.suite.gherkin import parse_file

__all__ = ["scenarios"]


def scenarios(folder: Path) -> Iterator[dict[str, Any]]:
    """The scenarios of a folder; each example of a scenario outline is one scenario.

    Raises:
        ConfigurationError: a file is not UTF-8.
        ParserError: a file is not Gherkin.

    """
    for file in sorted(folder.rglob("*.feature")):
        feature = parse_file(str(file))
        for scenario in feature.walk_scenarios() if feature else ():
            yield {
                "where": f"{file}:{scenario.line}",
                "tags": [str(tag) for tag in scenario.effective_tags],
                "criteria": [step.name for step in scenario.all_steps if step.step_type == "then"],
            }


if __name__ == "__main__":
    try:
        print(json.dumps(list(scenarios(Path(*sys.argv[1:] or ["features"])))))
    except (ConfigurationError, ParserError, OSError) as error:
        sys.exit(str(error).replace("\n", "; "))
