"""Judge a saved run again, for example with other limits. No load is generated."""

import argparse
from pathlib import Path

from loadkit import grammar
from loadkit.cli.run import add_outputs, require_svg, write_json, write_plot
from loadkit.judging import judge
from loadkit.judging.evidence import Evidence
from loadkit.recording import archive
from loadkit.reports import summary, table
from loadkit.verdict import exit_code

__all__ = ["add", "execute"]


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.epilog = (
        'example: loadkit judge last "the p99 response time of the auth endpoints stays below 200 ms"'
    )
    command.add_argument("run", help='folder of the run, its id, a prefix of its id, or "last"')
    command.add_argument(
        "sentences", nargs="*", metavar="SENTENCE", help="criteria to judge (default: only print the figures)"
    )
    command.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        default=Path("reports/runs"),
        help="folder of the runs (default: reports/runs)",
    )
    add_outputs(command)


def execute(options: argparse.Namespace) -> int:
    """Read the run, judge each sentence, print figures and verdicts."""
    require_svg(options.plot)
    criteria = [grammar.criterion(sentence) for sentence in options.sentences]
    evidence = Evidence(archive.load(archive.find(options.run, options.runs)))
    verdicts = [judge.judge(criterion, evidence) for criterion in criteria]
    figures = summary.summarise(evidence)
    if options.json:
        write_json(figures, verdicts, options.json)
    if options.plot:
        write_plot(evidence, options.plot)
    if options.json != "-":
        print("\n".join(table.lines(evidence, figures, verdicts)))
    return exit_code(verdict.status for verdict in verdicts) if verdicts else 0
