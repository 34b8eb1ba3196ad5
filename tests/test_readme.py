"""The pages are true: their links, paths, commands and sentences are those of the project."""

import ast
import re
import shlex
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest
from behave.configuration import setup_parser

from environments.local.faults import FAULTS
from loadkit import cli, grammar
from loadkit.verdict import EXIT_CODES
from steps.suite.runner import Options

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "features/README.md",
        "loadkit/README.md",
        "environments/README.md",
        "tests/bench/README.md",
        "tests/matrix/RESULTS.md",
    )
]
GENERATED = ("reports/", ".cache/")
"""Folders that commands make."""
TO_BE_WRITTEN = {"datadog.py", "drivers/NAME/"}
"""Files that a page asks its reader to write."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a page in a language; "" for those of the terminal."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for its_language, text in fenced if its_language == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def quoted(page: Path) -> list[str]:
    """What a page has in back quotes."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands_in(lines: Iterable[str]) -> set[tuple[str, ...]]:
    """Commands in the lines, each as its program and its arguments."""
    found = set()
    for line in lines:
        command = line.split("  #")[0].split(" | ")[0].strip()
        matched = re.match(
            r"(?:\w+=\S+ )?(?:\.venv/bin/)?(loadkit|behave|make|python -m tests\.bench) (.+)", command
        )
        if matched and "VERB" not in command:
            found.add((matched[1], *shlex.split(matched[2])))
    return found


SHOWN = commands_in(
    line for page in PAGES for block in blocks(page) for line in block.replace("\\\n", "").splitlines()
)
"""Commands in blocks, whole."""
MENTIONED = commands_in(text for page in PAGES for text in quoted(page)) - SHOWN
"""Commands in the text, which may leave arguments out."""


def require_target(name: str) -> None:
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE), name


@pytest.mark.parametrize("command", sorted(SHOWN), ids=" ".join)
def test_a_command_can_be_given_as_it_is_shown(command: tuple[str, ...]) -> None:
    program, *arguments = command
    match program:
        case "loadkit":
            assert cli.parser(arguments).parse_args(arguments).execute
        case "behave":
            options = setup_parser().parse_args(arguments)
            assert Options.of(dict(options.userdata_defines or ()))
        case "make":
            require_target(arguments[0])
        case _:
            offered = (ROOT / "tests/bench/__main__.py").read_text()
            assert all(f'"{name}"' in offered for name in arguments if name.startswith("--"))


@pytest.mark.parametrize("command", sorted(MENTIONED), ids=" ".join)
def test_a_command_that_is_mentioned_exists_and_so_do_its_options(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    program, name, *arguments = command
    match program:
        case "loadkit":
            with pytest.raises(SystemExit, match="0"):
                cli.parser([name]).parse_args([name, "--help"])
            offered = capsys.readouterr().out
            assert [each for each in arguments if each.startswith("--") and each not in offered] == []
        case "behave":
            assert setup_parser().parse_args([name, *arguments])
        case _:
            require_target(name)


def test_commands_of_each_program_are_shown() -> None:
    assert {program for program, *_ in SHOWN} == {"loadkit", "behave", "make", "python -m tests.bench"}


@each_page
def test_a_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, link


@each_page
def test_a_path_that_is_named_exists(page: Path) -> None:
    for text in quoted(page):
        is_path = re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)+/?|[\w.-]+/|\w+\.(py|toml|md)", text)
        if is_path and not text.startswith(GENERATED) and text not in TO_BE_WRITTEN:
            assert any((folder / text).exists() for folder in (page.parent, ROOT)), text


@each_page
def test_lines_of_prose_have_at_most_a_hundred_columns(page: Path) -> None:
    assert [line for line in prose(page).splitlines() if len(line) > 100 and line[0] not in "|!"] == []


def test_the_first_page_is_read_in_half_a_minute() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@each_page
def test_a_sentence_that_is_shown_can_be_read(page: Path) -> None:
    lines = [line.strip() for block in blocks(page, "gherkin") for line in block.splitlines()]
    for line in (*lines, *quoted(page)):
        matched = re.fullmatch(r"(?:Given|When|Then|And) (.+)", line)
        if matched:
            assert grammar.explain(matched[1]) is None, line


@each_page
def test_what_an_example_imports_is_there(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


def test_the_faults_that_are_listed_are_those_there_are() -> None:
    page = (ROOT / "environments/README.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == list(FAULTS)


def test_the_exit_codes_that_are_shown_are_those_of_the_verdicts() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| .+ \| (\d) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {verdict: int(code) for verdict, code in rows} == dict(EXIT_CODES)
