"""The commands that the pages show can be given as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from loadkit import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "features" / "README.md"]
SHOWN = [
    command.split("  #")[0].split(" | ")[0].strip()
    for page in PAGES
    for block in re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    for command in re.findall(r"^(?:\.venv/bin/)?loadkit (.*)", block, re.MULTILINE)
]


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_is_one_that_loadkit_takes(command):
    arguments = shlex.split(command)
    assert cli.parser(arguments).parse_args(arguments).execute


def test_there_are_such_commands():
    assert len(SHOWN) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_leads_to_is_there(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link
